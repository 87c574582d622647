"""Records transcripts anew: `python -m tests.transcripts.record [FILE…]`, all of them without a name.

What the UDF sends is taken from the text of each file; a line with a bare `<` stands for whatever the host sends next.
A new store and server of their own answer each file, so that versions and revisions are those of a first run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.kit import ServerProcess
from udfstore.cli.replay import Player
from udfstore.client.link import connect
from udfstore.wire import codec
from udfstore.wire.transcript import END, Side, Step, Transcript, parse, render, same, step_of

HERE = Path(__file__).parent


def record(draft: Transcript, socket: Path) -> Transcript:
    """The draft with what a server answered, frame for frame."""
    answers: dict[int, Step] = {}
    for steps in draft.conversations:
        unsent: list[Step] = []
        with connect([socket]) as peer:
            player = Player(peer, Side.UDF, steps, draft.vary)
            for step in steps:
                if step.side is Side.UDF:
                    unsent.append(step)
                else:
                    player.send(unsent)
                    unsent = []
                    answers[step.line] = _next(player, step, draft.vary)
            player.send(unsent)
    return Transcript(tuple(answers.get(line.line, line) if isinstance(line, Step) else line for line in draft.lines))


def _next(player: Player, old: Step, vary: frozenset[str]) -> Step:
    """What comes next; as it was recorded before, where only what varies is new.

    Keepalives come when they like, so they are recorded only where the draft has one.
    """
    while True:
        envelope = player.maybe_next()
        if envelope is not None:
            alive = old.message is not None and old.message.WhichOneof("message") == "keepalive"
            if envelope.WhichOneof("message") == "keepalive" and not alive:
                continue
            known = old.message is not None and same(old.message, envelope, vary)
            return old if known else step_of(Side.HOST, old.line, codec.encode(envelope))
        if not player.receive():
            return Step(Side.HOST, old.line, END)


def main(names: list[str]) -> None:
    for path in map(Path, names) if names else sorted(HERE.glob("*.transcript")):
        with (
            tempfile.TemporaryDirectory(prefix="udfstore-") as name,
            ServerProcess(Path(name, "root"), Path(name, "s")) as server,
        ):
            draft = parse(path.read_text(), draft=True)
            path.write_text(render(record(draft, server.socket)))
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
