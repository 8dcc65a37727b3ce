"""What hostile files may cost and do: the saved fuzzing corpus, the invalid vectors, and attacks made by hand."""

from __future__ import annotations

import binascii
import functools
import io
import json
import pickle
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spec_decoder
from annexes import annex_c
from invalid_vectors import STREAM, invalid
from make_vectors import VECTORS

from fuzz import run as fuzz_run
from fuzz.guard import Guard
from fuzz.targets import TARGETS, CountingWriter, play, read_by_fvc, seeds
from fvc.codec.base.errors import FvcError, InputError, StreamError
from fvc.codec.call.datagram import Datagram
from fvc.codec.media.output import atomic_write, write_image
from fvc.codec.media.video import VideoReader, read_image
from fvc.codec.wire import container
from fvc.codec.wire.av1_pictures import decode_still
from fvc.codec.wire.bitstream import SYNC, Header, Kind, Packet
from fvc.codec.wire.container import Damage, StreamReader
from fvc.codec.wire.leb128 import leb128
from fvc.codec.wire.source_set import SourceSet
from fvc.models.inference.graphs import graph_file
from fvc.models.model import load_network
from fvc.models.presets import DEFAULT
from fvc.models.weights import blends_parts, model_hash, preset_of, shipped, verify, weight_files, write_manifest
from fvc.training.data.pack import Pack
from fvc.training.generator.checkpoint import load_checkpoint

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


_GUARDED = """
import pytest
from fuzz.guard import Guard, HangError

def hang(_):
    while True:
        pass

with pytest.raises(HangError):
    Guard()(hang, b"")
with pytest.raises(MemoryError):
    Guard()(lambda _: bytearray(300 << 20), b"")
Guard()(lambda _: bytearray(100 << 20), b"")
"""


def test_the_guard_stops_hangs_and_balloons() -> None:
    """In a process of its own: in this one earlier tests may have left 300 MB of heap free, which is no new memory."""
    subprocess.run([sys.executable, "-c", _GUARDED], cwd=Path(__file__).parents[1], check=True)


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
    spec = (Path(__file__).parents[2] / "bitstream_spec.md").read_text()
    rules = {line.split(" ")[1] for line in spec.splitlines() if line.startswith("| E") and line[3:5].isdigit()}
    no_stop = {"E26"}  # a layer's picture that is of no use stops no decoder; layer.fvc has some
    assert {name[:3] for name in invalid()} == {rule for rule in rules if len(rule) == 3} - no_stop
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
            rule = "E20" if at < 32 else "E02" if 32 < at < 40 else "E21"  # at 32: version 3 instead of 2
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
    monkeypatch.setattr("fvc.codec.wire.bitstream.binascii.crc_hqx", counted)
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


# --- names ---


def test_a_name_with_a_pattern_is_one_file(tmp_path: Path) -> None:
    """ffmpeg takes a%d.png for a0.png, a1.png and so on: other files than the one that was named."""
    for name, level in (("a0.png", 10), ("a1.png", 20), ("a%d.png", 200), ("b1.png", 30), ("b*.png", 100)):
        write_image(tmp_path / name, np.full((64, 64, 3), level, np.uint8))
    for name, level in (("a%d.png", 200), ("b*.png", 100)):
        assert (read_image(tmp_path / name) == level).all()
        with VideoReader(tmp_path / name) as video:
            assert [int(frame.rgb.max()) for frame in video.frames(Fraction(25))] == [level]


@pytest.mark.parametrize("name", ["concat:a.png", "http:x.png", "-i.png", "file:a.png", "pipe:0", "a\nb.png", "~.png"])
def test_a_name_is_no_address_and_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_image("a.png", np.zeros((64, 64, 3), np.uint8))
    for read in (read_image, VideoReader):
        with pytest.raises(InputError, match="no such file") as error:
            read(name)
        assert "\n" not in str(error.value)
    write_image(name, np.full((64, 64, 3), 200, np.uint8))
    assert (read_image(name) == 200).all()


def test_an_unfinished_output_does_not_follow_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can foresee the name of an unfinished file and put a link there shall not choose what is overwritten."""
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "out.mp4.part").symlink_to(tmp_path / "precious")
    (tmp_path / ".out.mp4.00000000.part").symlink_to(tmp_path / "precious")
    (tmp_path / ".out.mp4.11111111.part").hardlink_to(tmp_path / "precious")
    digits = iter(("00000000", "11111111", "22222222"))
    monkeypatch.setattr("secrets.token_hex", lambda _: next(digits))
    with atomic_write(tmp_path / "out.mp4") as file:
        file.write(b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "out.mp4").read_bytes() == b"new"


# --- weights ---


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installation of its own, with small files that its manifest names."""
    folder = tmp_path / "weights" / "own"
    folder.mkdir(parents=True)
    for name in weight_files(DEFAULT):
        (folder / name).write_bytes(name.encode())
    write_manifest(folder, DEFAULT)
    monkeypatch.setattr("fvc.models.weights._ROOT", folder.parent)
    verify(folder)
    assert shipped() == ["own"]
    return folder


@pytest.mark.parametrize("attack", ["changed", "gone", "endless", "folder", "huge", "dangling"])
@pytest.mark.parametrize("name", ["weights.safetensors", "embed.xml", "motion.bin"])
def test_weights_that_are_not_those_of_the_manifest(weights: Path, name: str, attack: str) -> None:
    path = weights / name
    data = path.read_bytes()
    path.unlink()
    if attack == "changed":
        path.write_bytes(data[:-1] + b"?")
    elif attack == "endless":
        path.symlink_to("/dev/zero")
    elif attack == "dangling":
        path.symlink_to(weights / "nowhere")
    elif attack == "folder":
        path.mkdir()
    elif attack == "huge":
        with open(path, "wb") as file:
            file.truncate(1 << 40)  # sparse
    with pytest.raises(FvcError, match="not what its manifest says"):
        Guard()(lambda _: verify(weights), b"")
    with pytest.raises(FvcError, match="not what its manifest says"):
        graph_file("own", "embed")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"sha256": 1}',
        '{"sha256": []}',
        '{"sha256": {}}',
        '{"sha256": {"weights.safetensors": 5}}',
        "[" * 60_000,
        "\xff",
        " " * (1 << 17),
        '{"sha256": {"weights.safetensors": "../../../etc/passwd"}}',
    ],
)
def test_a_manifest_of_nonsense(weights: Path, text: str) -> None:
    (weights / "manifest.json").write_bytes(text.encode("latin-1"))
    model_hash.cache_clear()
    blends_parts.cache_clear()
    for use in (verify, lambda f: model_hash(f.name), lambda f: blends_parts(f.name), lambda _: preset_of(bytes(8))):
        with pytest.raises(FvcError, match="damaged; reinstall fvc"):
            use(weights)


class _Trap:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def _tensors(header: object, data: bytes = bytes(8), size: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        _tensors({}, size=(1 << 63) + 1),
        _tensors({}, size=1 << 40),
        _tensors({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 8]}}),
        _tensors({"a": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 8]}}),
        _tensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1 << 40]}}),
        _tensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}),
        _tensors({f: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for f in "ab"}),
        _tensors({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}),
        struct.pack("<Q", 60_000) + b"[" * 60_000,
        "pickle",
    ],
)
def test_training_reads_no_hostile_weights_or_packs(tmp_path: Path, data: bytes | str) -> None:
    """Neither as weights nor as a training pack; nothing is unpickled."""
    sprung = tmp_path / "sprung"
    path = tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps(_Trap(sprung)) if isinstance(data, str) else data)
    for read in (lambda p: load_network(p, "composed"), lambda p: Pack(p, ())):
        with pytest.raises(ValueError, match=r"not weights|not a training pack"):
            read(path)
    assert not sprung.exists()


def test_a_checkpoint_with_code_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(pickle.dumps({"step": _Trap(tmp_path / "sprung")}, 2))
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(tmp_path, "cpu")
    assert not (tmp_path / "sprung").exists()
