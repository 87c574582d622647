"""What a conversation says of its end."""

from __future__ import annotations

import pytest

from udfstore.client.conversation import ConnectionLost, Conversation
from udfstore.errors import Busy
from udfstore.model import Claim
from udfstore.session.events import Welcome
from udfstore.session.host import HostSession, refusal


@pytest.fixture
def talk() -> Conversation:
    return Conversation(Claim())


def welcomed(talk: Conversation) -> None:
    """It gets as far as the welcome."""
    host = HostSession(Welcome("test", bytes(16), 1, 0, chunk_bytes=1 << 20, calls=4, session=1))
    sent: list[bytes] = []

    def send(buffers: list[memoryview], token: object) -> int:
        sent.append(b"".join(buffers))
        return len(sent[-1])

    talk.session.outbox.flush(send)
    list(host.receive(b"".join(sent)))
    sent.clear()
    host.outbox.flush(send)
    talk.receive(b"".join(sent))
    assert talk.welcome is not None


def test_busy_instead_of_a_welcome_is_a_server_that_takes_no_connection(talk: Conversation) -> None:
    talk.receive(refusal(Busy("too many")))
    assert isinstance(talk.lost, ConnectionLost)
    assert talk.lost.message.startswith("the server takes no connection now: ")


def test_busy_after_the_welcome_is_a_conversation_that_broke(talk: Conversation) -> None:
    welcomed(talk)
    talk.receive(refusal(Busy("too slow")))
    assert isinstance(talk.lost, ConnectionLost)
    assert talk.lost.message.startswith("the conversation with the server broke: ")
