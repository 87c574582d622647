"""A restore takes what a backup wrote and nothing else, and makes a store or none."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from backup_kit import (
    SMALL,
    Killed,
    damage,
    everything,
    fill,
    from_bytes,
    from_folder,
    kill_at,
    opened,
    to_bytes,
    to_folder,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore.backup import restore
from udfstore.backup.form import File
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Corrupt, NotFound, UdfstoreError, Unsupported, UsageError
from udfstore.store import Store
from udfstore.store.format import parse, render


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any], Path]:
    """A backup as a stream, all that its store says, and the same backup as a folder."""
    folder = tmp_path_factory.mktemp("source")
    with opened(folder / "root") as store:
        fill(store)
        to_folder(store, folder / "backup")
        return to_bytes(store), everything(store), folder / "backup"


@pytest.fixture
def stream(told: tuple[bytes, dict[str, Any], Path]) -> bytes:
    return told[0]


@pytest.fixture
def backup(told: tuple[bytes, dict[str, Any], Path], folder: Path) -> Path:
    """A folder with a backup of this test's own."""
    shutil.copytree(told[2], folder / "backup")
    return folder / "backup"


def check_no_store(root: Path) -> None:
    """What a restore left is no store, says what it is, and is taken up by the next restore."""
    if (root / "FORMAT.restore").exists():
        with pytest.raises(UsageError, match="broken off"):
            Store(root)


def test_a_root_with_anything_in_it_is_refused(stream: bytes, folder: Path) -> None:
    with Store(folder / "store", limits=SMALL):
        pass
    (folder / "other").mkdir()
    (folder / "other" / "file").touch()
    (folder / "file").touch()
    for name, told in (("store", "there is a store"), ("other", "not empty")):
        with pytest.raises(Conflict, match=told):
            from_bytes(stream, folder / name)
    with pytest.raises(UsageError, match="is none"):
        from_bytes(stream, folder / "file")
    assert [path.name for path in (folder / "other").iterdir()] == ["file"]


def test_an_empty_root_is_taken(stream: bytes, folder: Path) -> None:
    (folder / "new").mkdir()
    from_bytes(stream, folder / "new")
    assert (folder / "new").stat().st_mode & 0o777 == 0o700


def test_a_restore_that_is_broken_off_is_taken_up(told: tuple[bytes, dict[str, Any], Path], folder: Path) -> None:
    stream, before, _ = told
    for part in range(2, len(stream) // 512, 37):
        with pytest.raises(Corrupt):
            from_bytes(stream[: part * 512], folder / "new")
        check_no_store(folder / "new")
    from_bytes(stream, folder / "new")
    with opened(folder / "new") as new:
        assert everything(new) == before


def test_a_restore_that_is_killed_leaves_a_store_or_none(
    told: tuple[bytes, dict[str, Any], Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, before, _ = told
    ends = []
    for number in range(1, 100):
        with monkeypatch.context() as patch:
            kill_at(patch, number)
            try:
                from_bytes(stream, folder / "new")
            except Killed:
                pass
            else:
                break
        ends.append((folder / "new" / "FORMAT").exists())
        if ends[-1]:
            with opened(folder / "new") as new:
                assert everything(new) == before
            shutil.rmtree(folder / "new")
        else:
            check_no_store(folder / "new")  # and it is left to the next one
    assert (ends.count(False) > 40, ends.count(True) > 3) == (True, True)


@pytest.mark.parametrize("length", [0, 1, 511, 512, 1024, 5000])
def test_a_short_stream_is_cut_off(stream: bytes, folder: Path, length: int) -> None:
    with pytest.raises(Corrupt, match="cut off"):
        from_bytes(stream[:length], folder / "new")


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_turned_bit_goes_unnoticed(told: tuple[bytes, dict[str, Any], Path], place: float, bit: int) -> None:
    stream, before, _ = told
    data = bytearray(stream)
    data[int(place * len(data))] ^= 1 << bit
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="udfstore-", dir=memory if memory.is_dir() else None))
    try:
        from_bytes(bytes(data), folder / "new")
    except UdfstoreError:
        check_no_store(folder / "new")
    else:  # it lay in what fills the blocks, or in a time
        with opened(folder / "new") as new:
            found = everything(new)
            found["blobs"] = before["blobs"] if {b[0] for b in found["blobs"]} == {b[0] for b in before["blobs"]} else 0
            assert found == before
    finally:
        shutil.rmtree(folder)


Member = tuple[tarfile.TarInfo, bytes]


def members(stream: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        return [(info, file.read()) for info in archive if (file := archive.extractfile(info))]


def packed(parts: list[Member], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, data in parts:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def named(name: str, data: bytes = b"x", **fields: Any) -> Member:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def test_what_other_programs_pack_in_our_order_is_taken(stream: bytes, folder: Path) -> None:
    for number, format in enumerate((tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)):
        parts = members(stream)
        for info, _ in parts:
            info.pax_headers = {}
            info.mtime = int(info.mtime)
        restored = from_bytes(packed(parts, format), folder / f"new{number}")
        assert restored.blobs == sum(info.name.startswith("blobs/") for info, _ in parts) > 0


EXTRA: dict[str, Member] = {
    "up": named("../../escaped"),
    "absolute": named("/tmp/escaped"),
    "below": named("blobs/../../escaped"),
    "blob with dots": named("blobs/ab/../" + "ab" * 32),
    "other fan": named("blobs/ab/" + "cd" * 32),
    "capitals": named("blobs/AB/" + "AB" * 32),
    "line feed": named("blobs/ab/" + "ab" * 32 + "\n"),
    "folder": named("log", b"", type=tarfile.DIRTYPE),
    "symbolic link": named("blobs/ab/" + "ab" * 32, b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": named("blobs/ab/" + "ab" * 32, b"", type=tarfile.LNKTYPE, linkname="FORMAT"),
    "device": named("blobs/ab/" + "ab" * 32, b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "fifo": named("blobs/ab/" + "ab" * 32, b"", type=tarfile.FIFOTYPE),
    "long name": named("x" * 5000),
    "other store's": named("tokens.json"),
    "catalog": named("catalog.db"),
    "far segment": named("log/00000099"),
    "segment of nothing": named("log/00000000"),
    "second FORMAT": named("FORMAT"),
    "GNU": named("blobs/ab/" + "ab" * 32, b"", type=tarfile.GNUTYPE_SPARSE),
    "not of its name": named("blobs/ff/" + "ff" * 32),
}


@pytest.mark.parametrize("which", EXTRA)
@pytest.mark.parametrize("place", [0, 1, 3, -2, -1, None])
def test_nothing_else_is_taken(stream: bytes, folder: Path, which: str, place: int | None) -> None:
    parts = members(stream)
    parts.insert(len(parts) if place is None else place, EXTRA[which])
    with pytest.raises((Corrupt, UsageError)):
        from_bytes(packed(parts), folder / "inner" / "new")
    check_no_store(folder / "inner" / "new")
    assert not (folder / "escaped").exists()
    assert not Path("/tmp/escaped").exists()


def twice(parts: list[Member]) -> None:
    parts.insert(9, parts[9])


def swapped(parts: list[Member]) -> None:
    parts[-4], parts[-5] = parts[-5], parts[-4]


def without_a_blob(parts: list[Member]) -> None:
    del parts[-4]


def without_a_segment(parts: list[Member]) -> None:
    del parts[2]


def without_the_last_segment(parts: list[Member]) -> None:
    del parts[max(n for n, (info, _) in enumerate(parts) if info.name.startswith("log/"))]


def without_the_end(parts: list[Member]) -> None:
    del parts[-1]


def without_sums(parts: list[Member]) -> None:
    del parts[-2]


def with_other_sums(parts: list[Member]) -> None:
    parts[-2] = parts[-2][0], parts[-2][1] + b"\n"


def with_a_small_change(field: str, value: Any) -> Callable[[list[Member]], None]:
    def change(parts: list[Member]) -> None:
        parts[-1] = parts[-1][0], json.dumps(json.loads(parts[-1][1]) | {field: value}).encode()

    return change


def with_another_format(parts: list[Member]) -> None:
    format = parse(parts[0][1].decode())
    parts[0] = parts[0][0], render(replace(format, epoch=7)).encode()


CHANGES = {
    "twice": twice,
    "swapped": swapped,
    "without a blob": without_a_blob,
    "without a segment": without_a_segment,
    "without the last segment": without_the_last_segment,
    "without the end": without_the_end,
    "without sums": without_sums,
    "other sums": with_other_sums,
    "another FORMAT": with_another_format,
    **{
        f"another {field}": with_a_small_change(field, value)
        for field, value in {
            "store": "ab" * 16,
            "epoch": 2,
            "revision": 1,
            "chain": "ab" * 32,
            "blobs": 1,
            "bytes": 1,
            "sums": "ab" * 32,
            "damaged": 5,
            "title": "x",
        }.items()
    },
}


@pytest.mark.parametrize("which", CHANGES)
def test_every_part_belongs_to_the_others(stream: bytes, folder: Path, which: str) -> None:
    parts = members(stream)
    CHANGES[which](parts)
    with pytest.raises(Corrupt):
        from_bytes(packed(parts), folder / "new")
    check_no_store(folder / "new")


def test_headers_that_would_fill_the_memory_are_refused(folder: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    for header in (info.tobuf(tarfile.GNU_FORMAT), negative(), b"\xff" * 512, b"GIF89a" + bytes(506)):
        with pytest.raises(Corrupt):
            from_bytes(header + bytes(4096), folder / "new")


def negative() -> bytes:
    info = tarfile.TarInfo("FORMAT")
    info.size = -5
    return info.tobuf(tarfile.GNU_FORMAT)


def test_a_file_that_is_too_long_is_refused(folder: Path) -> None:
    endless = File("FORMAT", 1 << 50, 0, lambda most: bytes(most))
    with pytest.raises(Corrupt, match="too long"):
        restore(iter([endless]), folder / "new", lambda _: None, lambda _: None)


def test_something_behind_the_end_is_refused(stream: bytes, folder: Path) -> None:
    from_bytes(stream + bytes(9 * 1024), folder / "one")  # other programs fill a stream up
    with pytest.raises(Corrupt, match="follows the end"):
        from_bytes(stream + b"x", folder / "two")


def test_a_newer_form_is_refused_by_name(backup: Path, folder: Path) -> None:
    path = backup / "BACKUP.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    with pytest.raises(Unsupported, match="newer"):
        from_folder(backup, folder / "new")


def replaced_by_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


HARM: dict[str, Callable[[Path], object]] = {"damaged": damage, "missing": Path.unlink, "a link": replaced_by_a_link}


@pytest.mark.parametrize("how", HARM)
@pytest.mark.parametrize("name", ["FORMAT", "log/00000002", "blob", "SHA256SUMS"])
def test_a_folder_is_checked_file_by_file(backup: Path, folder: Path, name: str, how: str) -> None:
    id = BlobId.of(b"no name")
    name = f"blobs/{id.hex[:2]}/{id.hex}" if name == "blob" else name
    HARM[how](backup / name)
    with pytest.raises(Corrupt if name != "FORMAT" else UdfstoreError) as refused:
        from_folder(backup, folder / "new")
    if how != "damaged" or "blob" in name:
        assert name.rpartition("/")[2] in str(refused.value)
    check_no_store(folder / "new")


def test_names_in_the_sums_lead_nowhere_else(backup: Path, folder: Path) -> None:
    with (backup / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'ab' * 32}  ../../secret\n")
    with pytest.raises(Corrupt, match="a line that is not ours"):
        from_folder(backup, folder / "new")


@pytest.mark.parametrize("path", ["absent", "empty", "file"])
def test_what_is_no_backup_is_told(folder: Path, path: str) -> None:
    (folder / "empty").mkdir()
    (folder / "file").touch()
    with pytest.raises(NotFound):
        from_folder(folder / path, folder / "new")


def test_the_catalog_of_a_restored_store_is_that_of_any_other(
    told: tuple[bytes, dict[str, Any], Path], folder: Path
) -> None:
    from_bytes(told[0], folder / "new")
    (folder / "new" / "catalog.db").unlink()
    with opened(folder / "new") as new:
        assert everything(new) == told[1]
