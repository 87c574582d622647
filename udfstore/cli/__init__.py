"""The command line. Beside `client.where` only this room and the server's configuration read the environment."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from udfstore.errors import CODES, Code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status. The base package alone is told what it lacks."""
    try:
        from udfstore.cli.app import run

        return run(list(sys.argv[1:] if argv is None else argv))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == __name__.partition(".")[0]:
            raise
        print(f"udfstore: {package} is not installed; run: pip install 'udfstore[server]'", file=sys.stderr)
        return CODES[Code.UNSUPPORTED].exit
