"""The command that signs what a tag shall name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from udfstore import signing
from udfstore.cli.output import put
from udfstore.cli.stores import opened
from udfstore.cli.words import Json, RefWord, Root, Socket, TagWord
from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.refs import Ref, Tag


def sign(
    ref: RefWord,
    name: TagWord,
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="Your private key (Ed25519, PEM).", show_default=False)
    ],
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Print the signature that lets a tag name a blob, for the label `signature` of its move.

    A whole blob ID is signed as it is, without a store.
    """
    tag, id = Tag.parse(name), Ref.parse(ref).id or _found(ref, root, socket)
    try:
        signature = signing.sign(tag, id, key.read_bytes())
    except UsageError as error:
        raise UsageError(f"{key} is {error}") from error
    put({"tag": tag.name, "id": id, signing.LABEL: signature}) if json else print(signature)


def _found(ref: str, root: Path | None, socket: Path | None) -> BlobId:
    with opened(root, socket) as store:
        return store.stat(ref).id
