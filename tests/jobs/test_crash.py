"""An encoder that is killed leaves what it has: `.NAME.XXXXXXXX.part` files that decode up to the last whole packet."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Encoded, Run
from make_vectors import VECTORS

from fvc.codec.wire.bitstream import SYNCED, Kind, Packet
from fvc.codec.wire.container import Damage, StreamReader, read_index
from fvc.jobs.repair import repair

KILLED = """
import os, signal, sys
import fvc
def die(stage, done, total):
    if (stage, done) == (sys.argv[3], int(sys.argv[4])):
        os.kill(os.getpid(), signal.SIGKILL)
fvc.encode(sys.argv[1], sys.argv[2], fps=10, profile="sup+unsup+expr", keyframe_interval=0.7, progress=die)
"""


@pytest.mark.parametrize(("stage", "frames"), [("tracking", 3), ("encoding", 1), ("encoding", 17)])
def test_killed_encoder(encoded: Encoded, tmp_path: Path, run: Run, stage: str, frames: int) -> None:
    """SIGKILL after so many frames: exactly these are in the file, as a finished encode has them."""
    out = tmp_path / "talk.fvc"
    arguments = [sys.executable, "-W", "ignore", "-c", KILLED, encoded.video, out, stage, str(frames)]
    assert subprocess.run(arguments, check=False, timeout=600).returncode == -signal.SIGKILL
    (part,), (sources,) = (list(tmp_path.glob(f".talk.{end}.????????.part")) for end in ("fvc", "fvs"))
    assert set(tmp_path.iterdir()) == {part, sources}
    if stage == "tracking":
        result = run("decode", part, "--sources", sources, "-o", tmp_path / "o.mp4")
        assert (result.code, result.err.count("\n")) == (3, 1)
        return
    assert sources.read_bytes() == encoded.sources.read_bytes()
    assert encoded.stream.read_bytes().startswith(part.read_bytes())
    result = run("decode", part, "--sources", sources, "-o", tmp_path / "o.mp4", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["frames"] == frames
    assert "cut off" in result.err
    assert f"an unfinished one lies beside it: {part.name}" in run("repair", out, tmp_path / "none.fvc").err
    assert run("repair", part, out).code == 0
    with open(out, "rb") as file:
        index = read_index(file)
    assert index is not None
    assert (index.frames, [frame for frame, _ in index.keyframes]) == (frames, list(range(0, frames, 7)))
    assert out.read_bytes().startswith(part.read_bytes())


def test_repair_copies_all_whole_packets(encoded: Encoded, tmp_path: Path, run: Run) -> None:
    """Where little is damaged all the rest is copied, and keeps its numbers."""
    _, packets = encoded.parsed()
    data = encoded.stream.read_bytes()
    hit = data.index(bytes(packets[4]))
    (tmp_path / "a.fvc").write_bytes(data[: hit + 2] + b"\xff" * 3 + data[hit + 5 :])
    report = repair(tmp_path / "a.fvc", tmp_path / "b.fvc")
    assert report["was_complete"]
    assert report["frames"] == encoded.report["frames"]
    with open(tmp_path / "b.fvc", "rb") as file:
        assert list(StreamReader(file).packets()) == [*packets[:4], *packets[5:]]
    for broken in (b"", data[:40], data[:90]):
        (tmp_path / "c.fvc").write_bytes(broken)
        result = run("repair", tmp_path / "c.fvc", tmp_path / "d.fvc")
        assert (result.code in (3, 4), result.err.count("\n"), (tmp_path / "d.fvc").exists()) == (True, 1, False)


@pytest.mark.parametrize("size", [200, 300])
@pytest.mark.parametrize("name", ["refresh", "profile_sup"])
def test_repair_behind_much_damage(tmp_path: Path, name: str, size: int) -> None:
    """Motion behind 256 bytes waits for a number in full, a keyframe's or a slice's; behind fewer it is copied."""
    reader = StreamReader(io.BytesIO((VECTORS / f"{name}.fvc").read_bytes()))
    packets = [item for item in reader.packets() if isinstance(item, Packet)]
    first = next(n for n, item in enumerate(packets) if item.kind == Kind.KEY)
    full = next(n for n, item in enumerate(packets) if n > first and item.kind in SYNCED)
    lost = bytes(Packet(Kind.AUDIO, 0, bytes(size)))[:-1] + b"?"
    parts = [*map(bytes, packets[: first + 1]), lost, *map(bytes, packets[first + 1 :])]
    (tmp_path / "a.fvc").write_bytes(bytes(reader.header) + b"".join(parts))
    report = repair(tmp_path / "a.fvc", tmp_path / "b.fvc")
    doubtful = [p for p in packets[first + 1 : full] if p.kind == Kind.MOTION and size >= 256]
    with open(tmp_path / "b.fvc", "rb") as file:
        assert list(StreamReader(file).packets()) == [p for p in packets if p not in doubtful]
    assert report["bytes_dropped"] == len(lost) + sum(len(bytes(p)) for p in doubtful)
    assert bool(doubtful) == (size >= 256)


def test_frames_are_not_counted_across_several_damaged_places() -> None:
    """Two places of 200 bytes with only sound between them can hide 64 packets as one of 400 can."""
    data = (VECTORS / "gap.fvc").read_bytes()
    reader = StreamReader(io.BytesIO(data))
    packets = [item for item in reader.packets() if isinstance(item, Packet)]
    key = next(item for item in packets if item.kind == Kind.KEY)
    sound = Packet(Kind.AUDIO, 1, b"s")
    motion = Packet(Kind.MOTION, 1, b"m")
    lost = bytes(Packet(Kind.AUDIO, 0, bytes(200)))[:-1] + b"?"

    def uncounted(*parts: bytes | Packet) -> list[bool]:
        stream = bytes(reader.header) + b"".join(map(bytes, (key, *parts, motion)))
        return [item.uncounted for item in StreamReader(io.BytesIO(stream)).packets() if isinstance(item, Damage)]

    assert uncounted(lost) == [False]
    assert uncounted(lost, sound, lost) == [False, True]
    assert uncounted(lost, motion, lost) == [False, False]
