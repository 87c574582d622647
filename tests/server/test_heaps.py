"""How many heaps glibc gives the threads of a server."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from udfstore.server.process import HEAPS

_C = ctypes.CDLL(None)

pytestmark = pytest.mark.skipif(
    not (hasattr(_C, "mallopt") and hasattr(_C, "malloc_info")),
    reason="the C library has no mallopt and malloc_info: it is not glibc",
)

COUNT = """
import ctypes
from threading import Barrier, Thread

from udfstore.server.process import keep_few_heaps

keep_few_heaps()
c = ctypes.CDLL(None)
c.malloc.restype = c.open_memstream.restype = ctypes.c_void_p
allocated, counted = Barrier(9), Barrier(9)


def allocate():
    c.malloc(100_000)
    allocated.wait()
    counted.wait()


threads = [Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
allocated.wait()
text, size = ctypes.c_char_p(), ctypes.c_size_t()
stream = ctypes.c_void_p(c.open_memstream(ctypes.byref(text), ctypes.byref(size)))
assert c.malloc_info(0, stream) == 0
assert c.fclose(stream) == 0
counted.wait()
print(text.value.count(b"<heap nr="))
"""


def heaps(**environ: str) -> int:
    """How many there are in a process whose eight threads have all allocated."""
    own = {name: text for name, text in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    command = [sys.executable, "-c", COUNT]
    return int(subprocess.run(command, env=own | environ, capture_output=True, text=True, check=True).stdout)


def test_threads_share_few_heaps() -> None:
    assert heaps() <= HEAPS
    assert heaps(GLIBC_TUNABLES="glibc.malloc.tcache_count=7") <= HEAPS, "which says nothing of heaps"


@pytest.mark.parametrize(
    ("variable", "text"),
    [("MALLOC_ARENA_MAX", "4"), ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=7:glibc.malloc.arena_max=4")],
)
def test_a_number_of_the_operators_stands(variable: str, text: str) -> None:
    assert heaps(**{variable: text}) == 4
