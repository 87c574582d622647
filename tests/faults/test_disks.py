"""What happens to a disk under a store: the power goes, it hangs, it turns read-only, it has no room for names.

Made on loop devices, by the process that may mount (`logdisk`). The power goes by the ioctl with which ext4 and xfs
stop at once; `test_power_loss` does it by the replay of writes, to any file system.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from disks import Plain, cut_power, frozen, meet_an_error, memory
from driver import note
from fault_driver import JOURNALED, LIMITS, content
from kit import SECONDS, ServerProcess, eventually, in_thread
from ledger import Ledger
from logdisk import PLACE
from power import AUTHOR, LONG, TAG, Apart, history_of, kept, move, save

import udfstore
from udfstore.calls import Delete
from udfstore.digest import BlobId
from udfstore.errors import NoSpace, ReadOnly, UdfstoreError
from udfstore.refs import Ref
from udfstore.store import Store, osfs

CUTS = 100 if LONG else 10
MIB = 1 << 20


def power_goes(filesystem: str) -> None:
    """Again and again, while four threads save and move; each of them somewhere in the next dozens of their changes."""
    disk, ledger, chance = Plain(filesystem), Ledger(), random.Random(filesystem)
    for cut in range(CUTS):
        with disk.mounted() as folder:
            with Store(folder / "root", limits=JOURNALED) as store:
                kept(store, ledger)
            first = cut * 1000
            note(ledger, until_it_goes(filesystem, folder, first, first + chance.randint(1, 60), synced=cut % 4 == 0))


def until_it_goes(filesystem: str, folder: Path, first: int, last: int, *, synced: bool) -> list[str]:
    """What a process of its own is acknowledged until then. It ends; on xfs the kernel may end it.

    SQLite maps a file, and a write to a page of it that has been written back (`synced`: all have) asks the file system
    first: xfs refuses when it has stopped, and that is SIGBUS.
    """
    end, said = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(folder, said, first, last, synced))
    process.start()
    os.close(said)
    with open(end) as told:
        lines = told.read().splitlines()
    process.join()
    assert "going" in lines, "it ended before"
    assert process.exitcode == 0 or (filesystem == "xfs" and process.exitcode == -signal.SIGBUS)
    return lines


def work(folder: Path, said: int, first: int, last: int, synced: bool) -> None:
    numbers = count(first)

    def change(store: Store) -> None:
        with contextlib.suppress(UdfstoreError):
            for number in numbers:
                if number == last:
                    if synced:
                        osfs.syncfs(folder)
                    os.write(said, b"going\n")
                    cut_power(folder)
                id = save(store, content(number) * (1 if number % 4 else 3))  # through the journal, or not
                os.write(said, f"saved {id.hex}\n".encode())
                os.write(said, f"moved {move(store, id)} {id.hex}\n".encode())

    with Store(folder / "root", limits=JOURNALED) as store, ThreadPoolExecutor(4) as threads:
        list(threads.map(change, [store] * 4))


def hangs(filesystem: str) -> None:
    """Until it goes on: what was asked for meanwhile is done then, and told rightly."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Plain(filesystem).mounted())
        server = stack.enter_context(ServerProcess(folder / "root", PLACE / "s"))
        clients = [stack.enter_context(udfstore.connect(server.socket)) for _ in range(3)]
        large = os.urandom(MIB)
        clients[0].save(large, tag="large")
        clients[0].save(b"small", tag="small")
        with frozen(folder):
            saving = in_thread(lambda: clients[0].save(bytes(3 * MIB)))
            eventually(lambda: "D" in states(server.pid))
            moving = in_thread(lambda: clients[1].tag("again", "small"))
            loading = in_thread(lambda: clients[2].load("large"))
            assert not saving.done()
        assert saving.result(SECONDS).size == 3 * MIB
        assert moving.result(SECONDS).version == 1
        assert loading.result(SECONDS) == large
        server.restart()
        assert clients[0].verify(saving.result().id).size == 3 * MIB
        assert clients[1].stat("again").size == 5


def states(pid: int) -> set[str]:
    """What the threads of a process are at; D: they wait for the disk."""
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return {task.read_text().rpartition(") ")[2][0] for task in tasks}


def turns_read_only(filesystem: str) -> None:
    disk, ledger = Plain(filesystem), Ledger()
    with disk.mounted("errors=remount-ro") as folder:
        with Store(folder / "root", limits=LIMITS) as store:
            id = save(store, content(1))
            ledger.save(id)
            ledger.move(move(store, id), id)
            meet_an_error(folder)
            for number in (2, 3):
                with pytest.raises(UdfstoreError):
                    save(store, content(number))
            with pytest.raises(ReadOnly):
                move(store, id)
            with store.open(id) as file:
                assert file.pread(0, file.size) == content(1)
            assert history_of(store, TAG)[0].id == id
        with pytest.raises(ReadOnly):
            Store(folder / "root", limits=LIMITS)
    with disk.mounted() as folder, Store(folder / "root", limits=LIMITS) as store:
        kept(store, ledger)


def mounted_read_only(filesystem: str) -> None:
    disk = Plain(filesystem)
    with disk.mounted() as folder, Store(folder / "root", limits=LIMITS):
        pass
    with disk.mounted("ro") as folder, pytest.raises(ReadOnly, match="mounted read-only"):
        Store(folder / "root", limits=LIMITS)


def no_inode_is_left(filesystem: str) -> None:
    del filesystem
    with memory("nr_inodes=400") as folder, Store(folder / "root", limits=LIMITS) as store:
        ids: list[BlobId] = []

        def fill() -> None:
            while True:
                ids.append(save(store, content(len(ids))))

        with pytest.raises(NoSpace):
            fill()
        assert store.problem == ""
        assert len(ids) > 50
        for id in ids:
            store.verify(id)
        move(store, ids[0])
        store.submit(Delete(Ref.of(ids[1]), now=True, request=os.urandom(16)), AUTHOR).result()
        save(store, b"there is room for one again")


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_the_power_goes_while_it_works(apart: Apart, filesystem: str) -> None:
    apart(power_goes, filesystem)


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_a_disk_that_hangs_and_goes_on(apart: Apart, filesystem: str) -> None:
    apart(hangs, filesystem)


def test_a_file_system_that_turns_read_only(apart: Apart) -> None:
    apart(turns_read_only, "ext4")


def test_a_file_system_that_is_mounted_read_only(apart: Apart) -> None:
    apart(mounted_read_only, "ext4")


def test_a_file_system_without_an_inode_left(apart: Apart) -> None:
    apart(no_inode_is_left, "ext4")
