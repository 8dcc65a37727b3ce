"""What ends a call in use: a killed receiver, signals, a face that comes late. Whole processes over loopback."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import write_clip

from fvc.calls.enrolment import enrol
from fvc.calls.send import send
from fvc.codec.base.errors import FvcError, InputError
from fvc.codec.media.video import Frame
from fvc.codec.motion.sample import Profile
from fvc.models.inference.installed import InstalledModel


@contextmanager
def receiver(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`fvc receive` into call.mp4, and its port."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "fvc",
        "receive",
        "127.0.0.1:0",
        "--clear",
        "-o",
        "call.mp4",
        "--wait",
        "60",
    ]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield process, int(process.stderr.readline().rsplit(maxsplit=1)[-1])
    finally:
        process.kill()
        process.communicate()


def played(path: Path) -> int:
    with av.open(str(path)) as file:
        assert "Synthesised by fvc" in file.metadata["comment"]
        return sum(1 for _ in file.decode(video=0))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_receiver_that_is_ended(clip: Path, tmp_path: Path, number: int) -> None:
    """What it has received plays, and the sender ends: at once where it could be told, else within its timeout."""
    result = dict[str, Any]()
    with receiver(tmp_path) as (process, port):

        def speak() -> None:
            try:
                send(f"127.0.0.1:{port}", clip, fps="10", enrol_seconds=0.5, timeout=3, progress=progress)
            except FvcError as error:
                result.update(error=str(error), at=time.monotonic())

        sent = list[float]()
        is_under_way = threading.Event()

        def progress(stage: str, done: float, total: float | None) -> None:
            sent.append(done)
            if done >= 24:
                is_under_way.set()
            if done == 29:  # the clip ends with frame 30: it goes on, as a camera does
                for _ in range(200):
                    time.sleep(0.05)
                    if result.get("killed"):
                        break

        thread = threading.Thread(target=speak)
        thread.start()
        assert is_under_way.wait(60)
        time.sleep(1)  # the recording is on the disk every second
        process.send_signal(number)
        result["killed"] = True
        killed = time.monotonic()
        code = process.wait(20)
        thread.join(20)
    (left,) = [path for path in tmp_path.iterdir() if "call.mp4" in path.name]
    assert played(left) >= 8
    if number == signal.SIGKILL:
        assert left.name.endswith(".part")
    else:
        assert (left.name, code) == ("call.mp4", 0)
        assert result.get("error", "the receiver left: it hung up") == "the receiver left: it hung up"
        assert result.get("at", killed) < killed + 3


def test_a_receiver_whose_remarks_nobody_reads(clip: Path, tmp_path: Path) -> None:
    """The reader of its stderr goes away: the call was hung up at the next remark, and nothing recorded."""
    with receiver(tmp_path) as (process, port):
        assert process.stderr is not None
        process.stderr.close()
        send(f"127.0.0.1:{port}", clip, fps="5", seconds=1, enrol_seconds=0.5, timeout=60)
        assert process.wait(30) == 0
    assert played(tmp_path / "call.mp4") >= 1


def noise(count: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 255, (480, 480, 3)).astype(np.uint8) for _ in range(count)]


def test_a_face_that_comes_late_is_waited_for(faces: list[np.ndarray]) -> None:
    notes, builder = list[str](), InstalledModel.named().source_builder(Profile.SUP)
    frames = [Frame(rgb, n) for n, rgb in enumerate([*noise(9), *faces])]
    read = iter(frames)
    enrolled = enrol("late", read, Fraction(2), 1, builder, 10, None, notes.append)
    assert len(enrolled.setup.source_set.coded) >= 1
    assert notes == ["late: no face yet; waiting for one"]
    assert next(read).index == 11  # a second from the first face on, and no more
    with pytest.raises(InputError, match="late: no face found in any of its 9 frames"):
        enrol("late", iter(frames[:9]), Fraction(2), 1, builder, 10, None, notes.append)
    with pytest.raises(InputError, match="late: no frames"):
        enrol("late", iter([]), Fraction(2), 1, builder, 10, None, notes.append)


def test_live_waits_for_a_face_too(faces: list[np.ndarray], tmp_path: Path) -> None:
    from fvc.calls.loopback import live

    path = write_clip(tmp_path / "late.mp4", [*noise(6), *faces, *faces])
    report = live(path, out=tmp_path / "out.mp4", fps="5", enrol_seconds=0.6)
    assert report["frames"] >= 1
    assert played(tmp_path / "out.mp4") == report["frames"]
