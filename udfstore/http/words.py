"""The words of requests as OpenAPI describes them: names and refs by their patterns.

The patterns serve the description alone. What is let in is decided where a word is parsed, with a better message.
"""

from __future__ import annotations

from typing import Any

from udfstore.refs import TAG_BYTES
from udfstore.snapshots.names import NAME_BYTES

_SEGMENT = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_TAG = f"{_SEGMENT}(/{_SEGMENT})*"
_VERSION = "-?[1-9][0-9]{0,17}"

_ESCAPED = "|".join(
    (
        "~(2[0-9a-cf]|3[a-f]|40|5[b-e]|60|7[b-e])",
        "~c2~[ab][0-9a-f]",
        "~(c[3-9a-f]|d[0-9a-f])~[89ab][0-9a-f]",
        "~e0~[ab][0-9a-f]~[89ab][0-9a-f]",
        "~e[1-9a-cef]~[89ab][0-9a-f]~[89ab][0-9a-f]",
        "~ed~[89][0-9a-f]~[89ab][0-9a-f]",
        "~f0~[9ab][0-9a-f]~[89ab][0-9a-f]~[89ab][0-9a-f]",
        "~f[1-3](~[89ab][0-9a-f]){3}",
        "~f4~8[0-9a-f]~[89ab][0-9a-f]~[89ab][0-9a-f]",
    )
)
"""Characters in UTF-8, without the control characters, that are written ~xx."""
_NAME = f"([A-Za-z0-9_]|~2[de]|{_ESCAPED})([A-Za-z0-9._-]|{_ESCAPED}){{0,{NAME_BYTES - 1}}}"
_NO_NAME = "(?!([1-9][0-9]*|[0-9a-f]{64}|fresh|latest|none)$)"


def like(pattern: str, most: int | None = None) -> dict[str, Any]:
    """The schema of a text that fits a pattern as a whole."""
    return {"pattern": f"^{pattern}$"} | ({"maxLength": most} if most else {})


TAG = like(_TAG, TAG_BYTES)
"""Those below `snapshots/` may be longer, and escape bytes of names as ~xx."""
TAG_OR_VERSION = like(f"{_TAG}(@{_VERSION})?", TAG_BYTES)
REF = like(f"({_TAG}(@{_VERSION})?|sha256:[0-9a-f]{{8,64}})", TAG_BYTES)
ANY_TAG = like(f"({_TAG})?", TAG_BYTES)
PREFIX = like(f"({_TAG}/?)?", TAG_BYTES)
NAME = like(_NAME)
"""The name of a task in a path."""
NEW_NAME = like(f"{_NO_NAME}{_NAME}")
"""The name of a snapshot in a path."""
SNAPSHOT = like(f"(sha256:[0-9a-f]{{8,64}}|(?!(fresh|latest|none)$){_NAME})")
"""A number, a name or an ID."""
