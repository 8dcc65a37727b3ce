"""Recordings play as far as they were written, whatever ends them."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fvc.codec.base.errors import OutputError, UsageError
from fvc.codec.media.recorder import Recorder
from fvc.codec.media.video_writer import VideoWriter

ENDINGS = ("mp4", "mov", "mkv", "webm")
SIDE, FPS, SOUND = 64, Fraction(10), 4800  # samples a frame


def feed(video: VideoWriter, count: int) -> None:
    ramp = np.tile(np.arange(SIDE, dtype=np.uint8)[:, None, None], (1, SIDE, 3))
    for n in range(count):
        video.write(np.roll(ramp, n, 0))
        video.write_audio(np.zeros(SOUND, np.float32))


def begin(recorder: Recorder) -> VideoWriter:
    return recorder.begin(SIDE, SIDE, FPS, 48_000, {"comment": "hello"})


def record(
    path: Path,
    count: int,
    fault: Exception | None = None,
    overwrite: bool = False,
    happens: Callable[[], object] = lambda: None,
) -> None:
    """Records frames; then something happens, before the end."""
    with Recorder(path, overwrite) as recorder:
        feed(begin(recorder), count)
        happens()
        if fault is not None:
            raise fault


def played(path: Path) -> tuple[int, float, float]:
    """Frames, seconds of sound, and when the first frame shows."""
    with av.open(str(path)) as file:
        assert {name.lower(): text for name, text in file.metadata.items()}["comment"] == "hello"
        shown = [frame.time for frame in file.decode(video=0)]
    with av.open(str(path)) as file:
        heard = sum(frame.samples for frame in file.decode(audio=0)) / 48_000
    assert shown[0] is not None
    return len(shown), heard, shown[0]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("ending", ENDINGS)
def test_finished_killed_and_interrupted(ending: str, tmp_path: Path) -> None:
    path, killed = tmp_path / f"call.{ending}", tmp_path / f"killed.{ending}"
    with Recorder(path) as recorder:
        video = begin(recorder)
        feed(video, 60)
        (part,) = tmp_path.glob(".call.*.part")
        shutil.copy(part, killed)  # what SIGKILL would leave
        feed(video, 20)
    frames, seconds, start = played(path)
    assert (frames, start) == (80, 0)
    assert seconds == pytest.approx(8, abs=0.05)
    frames, seconds, start = played(killed)
    assert start == 0
    assert 38 <= frames <= 60
    assert 3.7 <= seconds <= 6
    assert {p.name for p in tmp_path.iterdir()} == {path.name, killed.name}
    other = tmp_path / f"other.{ending}"
    with pytest.raises(KeyError):
        record(other, 12, KeyError())
    assert played(other)[0] == 12


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_keeps_what_there_is(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"call.{ending}"
    fault = r"cannot be written any more \(.*\); what came before is kept"
    with full_disk(9000), pytest.raises(OutputError, match=fault):
        record(path, 300)
    assert played(path)[0] >= 10
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def unwritable(path: Path) -> None:
    path.chmod(0o444)


def notes_instead(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(b"notes")


def folder_instead(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("happens", "overwrite"),
    [(notes_instead, False), (notes_instead, True), (unwritable, True), (folder_instead, True)],
)
def test_a_name_that_cannot_be_had(
    ending: str, happens: Callable[[Path], None], overwrite: bool, tmp_path: Path
) -> None:
    """The recording was removed, with a ValueError: it is kept beside what has appeared, which stays as it is."""
    path = tmp_path / f"call.{ending}"
    if overwrite:
        record(path, 5)
    taken = tmp_path / f"call-2.{ending}"
    taken.write_bytes(b"another call")
    fault = rf"call\.{ending}: .*; the result is kept as .*call-3\.{ending}$"
    with pytest.raises(OutputError, match=fault):
        record(path, 12, overwrite=overwrite, happens=lambda: happens(path))
    assert played(tmp_path / f"call-3.{ending}")[0] == 12
    assert taken.read_bytes() == b"another call"
    assert len(list(tmp_path.iterdir())) == 3
    if happens is notes_instead:
        assert path.read_bytes() == b"notes"
    elif happens is unwritable:
        assert played(path)[0] == 5


def test_two_recordings_of_one_name(tmp_path: Path) -> None:
    """Two receivers that were given one output: both calls are kept."""
    path = tmp_path / "call.mp4"
    with pytest.raises(OutputError, match=r"has appeared .* kept as .*call-2\.mp4$"):
        record(path, 12, happens=lambda: record(path, 8))
    assert (played(path)[0], played(tmp_path / "call-2.mp4")[0]) == (8, 12)


def test_a_folder_that_is_moved(tmp_path: Path) -> None:
    """No name can be had where the folder was: the unfinished file is complete, and stays."""
    folder = tmp_path / "a"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"kept as \.call\.mp4\.\w+\.part, wherever its folder is now$"):
        record(folder / "call.mp4", 12, happens=lambda: folder.rename(tmp_path / "b"))
    (part,) = (tmp_path / "b").iterdir()
    assert played(part)[0] == 12


def test_a_full_disk_and_no_name(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    fault = r"cannot be written any more \(.*\); .*has appeared.*; the result is kept as .*call-2\.mp4$"

    def fill(recorder: Recorder) -> None:
        with recorder:
            path.write_bytes(b"mine")
            feed(begin(recorder), 300)

    recorder = Recorder(path)
    with full_disk(9000), pytest.raises(OutputError, match=fault):
        fill(recorder)
    assert played(tmp_path / "call-2.mp4")[0] >= 10
    assert path.read_bytes() == b"mine"


def test_nothing_is_left_without_a_frame(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mp4"):
        assert list(tmp_path.glob(".a.mp4.*.part"))  # a place that cannot be written is noticed at once
    with Recorder(tmp_path / "b.mp4") as recorder:
        begin(recorder)
    assert not list(tmp_path.iterdir())


def test_what_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"a\.mp4: exists"):
        Recorder(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match=r"a\.avi"):
        Recorder(tmp_path / "a.avi")
    with pytest.raises(OutputError, match=r"x\.mp4: cannot be written"):
        Recorder(tmp_path / "none" / "x.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == b"mine"
