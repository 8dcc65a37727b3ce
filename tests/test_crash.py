"""An encoder that is killed leaves what it has: `.part` files that decode up to the last whole packet."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Encoded, Run

from fvc.codec.bitstream import Kind
from fvc.codec.container import StreamReader, read_index
from fvc.repair import repair

KILLED = """
import os, signal, sys
import fvc
def die(stage, done, total):
    if (stage, done) == (sys.argv[3], int(sys.argv[4])):
        os.kill(os.getpid(), signal.SIGKILL)
fvc.encode(sys.argv[1], sys.argv[2], fps=10, keyframe_interval=0.7, progress=die)
"""


@pytest.mark.parametrize(("stage", "frames"), [("tracking", 3), ("encoding", 1), ("encoding", 17)])
def test_killed_encoder(encoded: Encoded, tmp_path: Path, run: Run, stage: str, frames: int) -> None:
    """SIGKILL after so many frames: exactly these are in the file, as a finished encode has them."""
    out = tmp_path / "talk.fvc"
    arguments = [sys.executable, "-W", "ignore", "-c", KILLED, encoded.video, out, stage, str(frames)]
    assert subprocess.run(arguments, check=False, timeout=600).returncode == -signal.SIGKILL
    part, sources = tmp_path / "talk.fvc.part", tmp_path / "talk.fvs.part"
    assert {path.name for path in tmp_path.iterdir()} == {part.name, sources.name}
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
    assert run("repair", part, out).code == 2  # OUT.part is where OUT would be written
    whole = tmp_path / "whole.fvc"
    assert run("repair", part, whole).code == 0
    with open(whole, "rb") as file:
        index = read_index(file)
    assert index is not None
    assert (index.frames, [frame for frame, _ in index.keyframes]) == (frames, list(range(0, frames, 7)))
    assert whole.read_bytes().startswith(part.read_bytes())


def test_repair_drops_what_could_be_taken_for_something_else(encoded: Encoded, tmp_path: Path, run: Run) -> None:
    """Behind damage everything up to the next keyframe goes; the rest keeps its numbers."""
    _, packets = encoded.parsed()
    data = encoded.stream.read_bytes()
    hit = data.index(bytes(packets[4]))
    (tmp_path / "a.fvc").write_bytes(data[: hit + 2] + b"\xff" * 3 + data[hit + 5 :])
    report = repair(tmp_path / "a.fvc", tmp_path / "b.fvc")
    assert report["was_complete"]
    assert report["frames"] == encoded.report["frames"]
    with open(tmp_path / "b.fvc", "rb") as file:
        found = list(StreamReader(file).packets())
    first_key = next(n for n, p in enumerate(packets) if n > 4 and p.kind == Kind.KEY)
    assert found == [p for n, p in enumerate(packets) if n < 4 or n >= first_key or (n > 4 and p.kind == Kind.AUDIO)]
    for broken in (b"", data[:40], data[:90]):
        (tmp_path / "c.fvc").write_bytes(broken)
        result = run("repair", tmp_path / "c.fvc", tmp_path / "d.fvc")
        assert (result.code in (3, 4), result.err.count("\n"), (tmp_path / "d.fvc").exists()) == (True, 1, False)
