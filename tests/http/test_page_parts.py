"""What pages are made of, without a browser: headers of safetensors, hex, words for sizes and times, colours."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from browser_kit import safetensors
from hypothesis import given
from hypothesis import strategies as st

from udfstore.http import page
from udfstore.http.page import hexdump
from udfstore.http.page.render import ago, count, lasting, size, when, who
from udfstore.http.page.safetensors import HEADER_BYTES, TENSORS, Header, Tensor, read
from udfstore.model import Author, Claim


def header_of(content: bytes) -> Header | None:
    return read(lambda offset, length: content[offset : offset + length], len(content))


def with_header(header: object, data: int = 0) -> bytes:
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(said).to_bytes(8, "little") + said + bytes(data)


def test_a_header_tells_tensors_and_metadata() -> None:
    content = safetensors({"a": ("F32", [2, 3], 24), "b": ("I64", [], 8)}, {"format": "pt"})
    found = header_of(content)
    assert found is not None
    assert found.tensors == (Tensor("a", "F32", (2, 3), 24), Tensor("b", "I64", (), 8))
    assert (found.count, found.metadata, found.problem) == (2, (("format", "pt"),), "")


def test_of_many_tensors_the_first_are_kept_and_all_are_counted() -> None:
    found = header_of(safetensors({f"t{n}": ("U8", [1], 1) for n in range(500)}))
    assert found is not None
    assert (len(found.tensors), found.count) == (TENSORS, 500)


@pytest.mark.parametrize(
    "content",
    [b"", b"plain text", b"{}" * 10, (2).to_bytes(8, "little"), (1 << 62).to_bytes(8, "little") + b"{}", bytes(100)],
)
def test_other_content_has_no_header(content: bytes) -> None:
    assert header_of(content) is None


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"{" + b"x" * 20, "not JSON"),
        (b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "not JSON"),
        (b"{" + b" " * HEADER_BYTES + b"}", "more than the 100 KiB"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "not JSON"),
        (b'{"a": "\xff\xfe"}', "not JSON"),
        ({"a": 1}, "no type"),
        ({"a": {"dtype": "F32"}}, "no shape"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "no shape"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, "no shape"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, "no place"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, "outside"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 5]}}, "outside"),
        ({"__metadata__": {"a": 1}}, "not text"),
        ({"__metadata__": []}, "not text"),
    ],
)
def test_a_header_that_is_wrong_is_told(header: object, why: str) -> None:
    found = header_of(with_header(header, 4))
    assert found is not None
    assert why in found.problem
    assert not found.tensors


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_header_does_harm(said: bytes, length: int) -> None:
    found = header_of(length.to_bytes(8, "little") + b"{" + said)
    assert found is None or found.problem or len(found.tensors) <= found.count


def test_a_dump_has_sixteen_bytes_a_line() -> None:
    lines = hexdump.lines(bytes(range(60, 80)))
    assert [line.at for line in lines] == ["00000000", "00000010"]
    assert lines[0].hex == "3c 3d 3e 3f 40 41 42 43  44 45 46 47 48 49 4a 4b"
    assert lines[1].text == "LMNO"
    assert len({len(line.hex) for line in lines}) == 1


@pytest.mark.parametrize(
    ("bytes_", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5899, "5.8 KiB"), (3 << 30, "3.0 GiB"), (1 << 62, "4.0 EiB")],
)
def test_sizes_are_said_in_the_largest_unit(bytes_: int, said: str) -> None:
    assert size(bytes_) == said


def test_times_are_said_roughly_and_exactly() -> None:
    assert [lasting(seconds) for seconds in (-5, 0.4, 119, 120, 7199, 7200, 172_800)] == [
        "0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "2 days",
    ]  # fmt: skip
    hour = ago(time.time_ns() - 3 * 3600 * 10**9)
    assert re.fullmatch(r'<time class="ago" datetime="\S+Z" title="[-: \d]+ UTC">3 h ago</time>', hour)
    assert "never" in ago(0)
    assert "2022-05-16 21:52:11 UTC" in when(1652737931 * 10**9)


def test_who_it_was_is_told_as_verified_or_claimed() -> None:
    author = Author("socket", uid=1000, program="<py>", claim=Claim(person="<Ada>", host="pump-7"))
    assert who(author) == (
        '<span class="who" title="claims to be &lt;Ada&gt;, uid 1000, program &lt;py&gt;, over socket, host pump-7">'
        '&lt;Ada&gt; <span class="claimed">(claimed)</span></span>'
    )
    assert "claimed" not in who(Author("http", token="ci"))
    assert count(1, "blob") == "1 blob"
    assert count(2000, "blob") == "2,000 blobs"


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_it_stands_on(scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text; 1.4.11: 3 to 1 for the borders of what is typed into."""
    style = (Path(page.__file__).parent / "static" / "style.css").read_text()
    found = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", found[0 if scheme == "light" else 1]))
    grounds = ("ground", "surface", "raised", "accent-soft")
    pairs = [(text, ground, 4.5) for text in ("text", "muted", "accent") for ground in grounds]
    pairs += [(kind, f"{kind}-soft", 4.5) for kind in ("ok", "warn", "bad")]
    pairs += [(text, f"{kind}-soft", 4.5) for kind in ("ok", "warn", "bad") for text in ("text", "muted")]
    pairs += [("accent-text", "accent", 4.5), ("bad", "surface", 4.5), ("line-strong", "surface", 3.0)]
    for text, ground, least in pairs:
        light, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, (text, ground)
