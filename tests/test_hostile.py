"""What hostile files may cost and do: the saved fuzzing corpus, the invalid vectors, and attacks made by hand."""

from __future__ import annotations

import binascii
import functools
import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spec_decoder
from fuzz import run as fuzz_run
from fuzz.guard import Guard, HangError
from fuzz.targets import TARGETS, CountingWriter, play, read_by_fvc, seeds
from invalid_vectors import STREAM, invalid
from make_vectors import VECTORS, annex_c

from fvc.codec import container
from fvc.codec.bitstream import SYNC, Header, Kind, Packet, leb128
from fvc.codec.container import Damage, StreamReader
from fvc.codec.errors import FvcError, InputError, StreamError
from fvc.codec.sources import SourceSet
from fvc.codec.still import decode_still
from fvc.codec.transport import Datagram
from fvc.codec.video import VideoReader, read_image

INVALID = VECTORS / "invalid"
HEADER = STREAM[:74]
KEYFRAME = STREAM[74 : Packet.parse(STREAM, 74)[1]]
SOURCES = (VECTORS / "sources.fvs").read_bytes()


# --- the corpus ---


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_of_the_fuzzer(name: str) -> None:
    guard = Guard()
    for data in [*seeds(name), *fuzz_run.saved(name).values()]:
        guard(TARGETS[name], data)
    assert guard.executions > 1


def test_every_target_has_a_corpus() -> None:
    assert tuple(TARGETS) == fuzz_run.NAMES
    assert {path.stem for path in fuzz_run.CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in fuzz_run.CORPUS.iterdir()) < 1 << 20


def test_the_guard_stops_hangs_and_balloons() -> None:
    def hang(_: bytes) -> None:
        while True:
            pass

    with pytest.raises(HangError):
        Guard()(hang, b"")
    with pytest.raises(MemoryError):
        Guard()(lambda _: bytearray(300 << 20), b"")
    Guard()(lambda _: bytearray(100 << 20), b"")


# --- invalid vectors ---


def rule_of_fvc(name: str, data: bytes) -> object:
    """The rule at which fvc's reader stops, or that of the first damaged place or frame it passes over."""
    try:
        if name.endswith(".fvs"):
            SourceSet.parse(data)
        elif name.endswith(".datagram"):
            Datagram.parse(data, Header.parse(STREAM))
        elif name.startswith("E14"):
            play(data, CountingWriter())
        else:
            return read_by_fvc(data)[2]
    except StreamError as error:
        return error.rule
    return None


def read_by_spec(name: str, data: bytes) -> None:
    """Raises SpecError."""
    if name.endswith(".datagram"):
        spec_decoder.parse_datagram(data, spec_decoder.parse_header(STREAM)[0])
    elif name.endswith(".fvs"):
        spec_decoder.parse_sources(data)
    else:
        (spec_decoder.check_missing if name.startswith("E14") else spec_decoder.decode_stream)(data)


@pytest.mark.parametrize("name", invalid())
def test_invalid_vectors_break_their_rule(name: str) -> None:
    data, rule = (INVALID / name).read_bytes(), name[:3]
    assert data == invalid()[name][1]
    assert rule_of_fvc(name, data) == rule
    with pytest.raises(spec_decoder.SpecError) as error:
        read_by_spec(name, data)
    assert error.value.rule == rule


def test_invalid_vectors_cover_all_rules_and_are_listed() -> None:
    assert {path.name for path in INVALID.iterdir()} == set(invalid())
    spec = (Path(__file__).parent.parent / "bitstream_spec.md").read_text()
    rules = {line.split(" ")[1] for line in spec.splitlines() if line.startswith("| E") and line[3:5].isdigit()}
    assert {name[:3] for name in invalid()} == {rule for rule in rules if len(rule) == 3}
    assert annex_c() in spec


def test_nothing_is_shown_of_invalid_packets() -> None:
    """A reader that goes on takes no integers from the damage: only frame 0, where it is whole, may have some."""
    whole = read_by_fvc(STREAM)[0][0]
    for name, (_, data) in invalid().items():
        if name.endswith(".fvc") and name[:3] in ("E04", "E05", "E10", "E11", "E12", "E13") and "header" not in name:
            frames = [frame for frame in read_by_fvc(data)[0] if frame[1] is not None]
            assert frames in ([], [whole])


# --- every bit, byte and packet ---


def test_no_flipped_bit_or_cut_of_a_source_set_passes() -> None:
    for at in range(8 * len(SOURCES)):
        flipped = bytearray(SOURCES)
        flipped[at // 8] ^= 1 << at % 8
        for parse, error in ((SourceSet.parse, StreamError), (spec_decoder.parse_sources, spec_decoder.SpecError)):
            with pytest.raises(error) as caught:
                parse(bytes(flipped))  # type: ignore[operator]
            rule = "E20" if at < 32 else "E02" if at < 40 else "E21"
            assert caught.value.rule == rule  # type: ignore[attr-defined]
    for size in range(len(SOURCES)):
        with pytest.raises(StreamError, match="E20" if size < 4 else "E21"):
            SourceSet.parse(SOURCES[:size])


@pytest.mark.parametrize("change", ["lost", "twice", "swapped"])
def test_lost_doubled_and_swapped_packets_give_no_wrong_integers(change: str) -> None:
    data = (VECTORS / "profile_sup_unsup_expr.fvc").read_bytes()
    clean = {number: integers for number, integers in read_by_fvc(data)[0]}
    reader = StreamReader(io.BytesIO(data))
    packets = list(reader.packets())
    for n in range(len(packets)):
        changed: list[Any] = list(packets)
        changed[n : n + 1] = {"lost": [], "twice": [packets[n]] * 2, "swapped": []}[change]
        if change == "swapped":
            changed.insert(n + 1, packets[n])
        damaged = bytes(reader.header) + b"".join(map(bytes, changed))
        for number, integers in read_by_fvc(damaged)[0]:
            assert integers is None or integers == clean[number]


# --- costs ---


def cost(data: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that a reader puts through packet checksums."""
    spent = 0

    def counted(part: bytes, start: int) -> int:
        nonlocal spent
        spent += len(part)
        return original(part, start)

    original = binascii.crc_hqx
    monkeypatch.setattr("fvc.codec.bitstream.binascii.crc_hqx", counted)
    for _ in StreamReader(io.BytesIO(data)).packets():
        pass
    monkeypatch.undo()
    return spent


def test_false_end_packets_do_not_cost_a_megabyte_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind each valid but contradicting keyframe a head of END: before the limit, 1000 of them cost 1 GB."""
    pair = bytes(Packet(Kind.KEY, 1, b"\0\0")) + b"\xc0" + leb128((1 << 20) - 100)
    assert cost(HEADER + pair * 1000 + bytes(1 << 20), monkeypatch) < 25 << 20


def test_a_small_end_packet_is_found_behind_many_false_ones() -> None:
    false = bytes(Packet(Kind.KEY, 1, b"\0\0")) + b"\xc0" + leb128(1000)
    at_end = STREAM.rindex(bytes(Packet.parse(STREAM, len(STREAM) - 8 - int.from_bytes(STREAM[-8:-4], "big"))[0]))
    reader = StreamReader(io.BytesIO(STREAM[:at_end] + false * 40 + bytes(1010) + KEYFRAME + STREAM[at_end:]))
    assert sum(isinstance(item, Damage) for item in reader.packets()) > container._MAX_FALSE_ENDS
    assert reader.end is not None
    assert reader.end.frames == 4


@pytest.mark.parametrize("count", [500, 2000])
def test_sync_words_cost_in_proportion(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each may begin a packet of 4 kB, which is looked at twice at most; nothing grows with the file's square."""
    assert cost(HEADER + (SYNC + b"\x40\x80\x20") * count, monkeypatch) <= 2 * count * 4200


@pytest.mark.parametrize("fps", [b"\0\x0f\0\1", b"\0\xf0\0\1", b"\0\1\xff\xff"])
def test_a_small_file_makes_little_video(fps: bytes) -> None:
    """200 bytes may not fill ten minutes; nor may a frame rate of 240 or of one frame in 18 hours help them."""
    body = bytearray(STREAM[:70])
    body[9:13] = fps
    header = bytes(body) + struct.pack(">I", zlib.crc32(body))
    for frames in (900, 1200, 9000, 144_000, (1 << 32) - 1):
        payload = leb128(frames) + b"\0\0"
        data, video = header + KEYFRAME + bytes(Packet(Kind.END, 0, payload)), CountingWriter()
        with suppress(FvcError):
            play(data, video)
        assert (video.frames == frames) or rule_of_fvc("E14", data) == "E14"
        assert video.frames <= 900 + len(data) + 1


# --- pictures ---


def test_damaged_av1_does_not_hang() -> None:
    """Threads of dav1d hung on this once in some hundred tries; that they are off is seen by their number."""
    data = bytes.fromhex("12000a0618196ffe9804321417f8023f08000991780402f6a843ae81b660eae003")
    for _ in range(300):
        with pytest.raises(StreamError, match="E22"):
            decode_still(data, 256, 256)


def test_stills_decode_in_this_thread_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    made: list[Any] = []
    create = av.CodecContext.create
    monkeypatch.setattr(av, "CodecContext", type("Spy", (), {"create": lambda *a: made.append(create(*a)) or made[-1]}))
    decode_still(spec_decoder.parse_sources(SOURCES)["sources"][0]["coded"], 256, 256)
    assert [context.thread_count for context in made] == [1]


def test_a_still_cannot_be_many_or_huge() -> None:
    coded = spec_decoder.parse_sources(SOURCES)["sources"][0]["coded"]
    for data in (
        coded + b"\x1a\1\x88" * 300_000,
        coded * 2,
        coded[:-1],
        coded + b"\x08",
        b"\x0a" + b"\xff" * 9,
        b"\x02",
    ):
        with pytest.raises(StreamError, match="E22"):
            Guard()(lambda still: decode_still(still, 256, 256), data)
    for width, height in ((0, 0), (255, 256), (4096, 4096)):
        with pytest.raises(StreamError, match="E22"):
            decode_still(coded, width, height)


def png(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel, all black: some kilobytes for any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8192, 8192), (1 << 17, 300), (1 << 15, 1 << 15)])
def test_picture_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "bomb.png").write_bytes(png(size[0], min(size[1], 400))[:16] + png(*size)[16:])

    def read(_: bytes) -> None:
        with pytest.raises(InputError, match=r"32 megapixels|not a picture"):
            read_image(tmp_path / "bomb.png")

    guard = Guard()
    guard(read, b"")
    assert guard.grown < 32 << 20


def test_lists_of_files_are_neither_pictures_nor_videos(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(64, 64))
    (tmp_path / "a.png").write_text("ffconcat version 1.0\nfile secret.png\n")
    (tmp_path / "b.png").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{tmp_path}/secret.png\n")
    for name in ("a.png", "b.png"):
        with pytest.raises(InputError):
            read_image(tmp_path / name)
        with pytest.raises(InputError):
            VideoReader(tmp_path / name)


def test_counts_and_sizes_are_refused_before_memory_is_taken() -> None:
    """Every element that says how much there is, at its largest: nothing is reserved for it."""
    guard = Guard()
    head = 19 + 20 * 3
    for at in range(5, head - 4):
        data = SOURCES[:at] + b"\xff" * 4 + SOURCES[at + 4 : head]
        sealed = data + struct.pack(">I", zlib.crc32(data)) + SOURCES[head + 4 :]
        for partial in (False, True):
            try:
                guard(functools.partial(SourceSet.parse, partial=partial), sealed)
            except FvcError:
                continue
    for payload in (b"\0\0" + leb128((1 << 32) - 1), leb128((1 << 32) - 1) * 3, b"\0\0" + leb128(1 << 19) + bytes(99)):
        guard(lambda data: list(StreamReader(io.BytesIO(data)).packets()), HEADER + bytes(Packet(Kind.END, 0, payload)))
    assert guard.grown < 16 << 20
    assert np.isfinite(guard.slowest)
