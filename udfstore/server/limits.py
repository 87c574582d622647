"""The limits of a server: each with its unit and its reason. All of them can be configured."""

from __future__ import annotations

from dataclasses import dataclass

from udfstore.errors import UsageError
from udfstore.wire.limits import CHUNK_BYTES, PLAIN_BYTES

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How much one server takes on."""

    connections: int = 2048
    """Connections at once: a thousand watchers and as many UDFs. Each idle one costs some 40 KiB."""
    connections_per_user: int = 1536
    """Of one uid, so that a runaway user leaves room for the operator."""
    calls: int = 64
    """Open at once on one connection."""
    calls_per_user: int = 8192
    """Open at once by one uid: five for each connection that it may have, most of which have none or one."""
    user_buffer_bytes: int = 1024 * MIB
    """Content that all calls of one uid may hold at once: 256 large saves that run."""
    chunk_bytes: int = CHUNK_BYTES
    """Content bytes of one chunk."""
    first_window_bytes: int = 1 * MIB
    """What a save may send before anything was written: opening many saves costs little."""
    window_bytes: int = 4 * MIB
    """What a save may have on its way once it runs: hides the latency of thread and disk."""
    hello_seconds: float = 10.0
    """From connecting to the end of the hello: a client on this machine needs milliseconds."""
    progress_seconds: float = 60.0
    """Without any progress of a peer that has a call open or a frame half sent, the call or connection ends."""
    grace_seconds: float = 20.0
    """For open calls when the server stops: below the 30 s that container runtimes and the 90 s that systemd wait."""
    reads: int = 8
    """Threads that read files."""
    writes: int = 8
    """Threads that write files: more only queue inside the disk."""
    plain_bytes: int = PLAIN_BYTES
    """Of a node's state that travels inside a message, as agents without save and load do it."""
    round_seconds: float = 30.0
    """For the nodes of a task to answer a round, and for one that comes to wait for those that have to go first."""
    restore_seconds: float = 600.0
    """For a node to take its state, while it shows that it is alive: a large model loads for minutes."""
    node_seconds: float = 10.0
    """Without a complete frame from a node that asked for no other time, it is taken for dead, as Kapacitor does."""
    waiting_bytes: int = 1 * MIB
    """Answers and pages queued for a client that does not read them, before nothing more is taken from it."""
    http_connections: int = 256
    """HTTP connections at once, at each address: people, dashboards and scripts of one machine; 1 MiB or so each."""
    http_idle_seconds: float = 20.0
    """Of an HTTP connection between two requests, and for the head of one."""
    scrub_days: float = 30.0
    """Days after which content is hashed again, to find what the disk has spoiled: a month leaves time to have it back
    from a backup. 0: never."""
    scrub_bytes: int = 4 * MIB
    """Content a second that is read for that, each blob counting 16 KiB more: 10 TB in a month, and nothing is busy
    with it."""

    def __post_init__(self) -> None:
        if not 0 < self.chunk_bytes <= CHUNK_BYTES:
            raise UsageError("chunk_bytes is out of range", expected=f"1 to {CHUNK_BYTES}", got=self.chunk_bytes)
        if not 0 < self.first_window_bytes <= self.window_bytes:
            raise UsageError(
                "first_window_bytes is out of range",
                expected=f"1 to window_bytes ({self.window_bytes})",
                got=self.first_window_bytes,
            )
