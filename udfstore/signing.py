"""Signed tags: a label that says, by somebody's key, that a tag may name a blob. docs/operations.md tells how.

The label `signature` holds an Ed25519 signature (RFC 8032) in base64 over three lines, each with a line feed behind it:

    udfstore-tag/1
    models/prod/pump
    sha256:abcdef…
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from udfstore.digest import BlobId
from udfstore.errors import Denied, Unsupported, UsageError
from udfstore.refs import Pattern, Tag

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LABEL = "signature"
FORM = "udfstore-tag/1"


def message(tag: Tag, id: BlobId) -> bytes:
    """What is signed."""
    return f"{FORM}\n{tag}\n{id}\n".encode()


def sign(tag: Tag, id: BlobId, pem: bytes) -> str:
    """The label's value, by a private key. Raises `UsageError` for what is none, `Unsupported` without cryptography."""
    return base64.b64encode(_private(pem).sign(message(tag, id))).decode()


class Key:
    """A public key. Raises `UsageError` for what is none, `Unsupported` without cryptography."""

    def __init__(self, pem: bytes) -> None:
        self._key = _public(pem)

    def signed(self, tag: Tag, id: BlobId, signature: str) -> bool:
        """Whether a signature is by this key, and over that tag and blob."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(base64.b64decode(signature, validate=True), message(tag, id))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Rule:
    """Tags that move only with a signature by one of these keys."""

    tags: Pattern
    keys: tuple[Key, ...]


class Unsigned(Denied):
    """A move without the signature that it needs."""


class Signers:
    """Who may move which tags: by the first rule whose pattern fits a tag; where none fits, anybody."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)

    def check(self, tag: Tag, id: BlobId, labels: Mapping[str, str]) -> None:
        """Refuse a move of a tag that is not signed as it must be (`Unsigned`). Tags of snapshots need no signature."""
        rule = next((rule for rule in self._rules if rule.tags.fits(tag.name)), None)
        if rule is None or tag.reserved:
            return
        signature = labels.get(LABEL)
        cure = f"make one: udfstore sign {id} {tag} --key PRIVATE.pem, and move it with --label {LABEL}=…"
        if signature is None:
            raise Unsigned(f"{tag} moves only with a signature, and there is none in the label {LABEL}; {cure}")
        if not any(key.signed(tag, id, signature) for key in rule.keys):
            told = f"the signature is by none of the keys for {rule.tags.text}, or not over this tag and blob"
            raise Unsigned(f"{told}; {cure}", expected=f"over {tag} and {id}")


NO_SIGNERS = Signers()
"""Nothing has to be signed."""


def _private(pem: bytes) -> Ed25519PrivateKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ModuleNotFoundError as error:
        raise _missing() from error
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # the second where it asks for a password
        raise UsageError("not a private key in PEM that can be read without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("not an Ed25519 key; make one: openssl genpkey -algorithm ed25519 -out private.pem")
    return key


def _public(pem: bytes) -> Ed25519PublicKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ModuleNotFoundError as error:
        raise _missing() from error
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("not an Ed25519 key; make it of one: openssl pkey -in private.pem -pubout -out public.pem")
    return key


def _missing() -> Unsupported:
    return Unsupported("signed tags need the package cryptography: pip install 'udfstore[signed]'")
