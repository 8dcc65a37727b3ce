"""Videos out: what is written, and that nothing is left of what fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from conftest import Encoded, write_stream
from video_support import H, W, corner

import fvc
from fvc.codec.base.errors import OutputError
from fvc.codec.media.output import atomic_write, write_image
from fvc.codec.media.video import VideoReader
from fvc.codec.media.video_writer import VideoWriter
from fvc.codec.wire.bitstream import Crop


def write(path: Path, frames: Sequence[np.ndarray], **options: Any) -> None:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, Fraction(30000, 1001), **options) as writer:
        for rgb in frames:
            writer.write(rgb)


def test_writer_round_trip(tmp_path: Path) -> None:
    ramp = cv2.resize(np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8), (W, H))
    write(tmp_path / "a.mp4", [ramp] * 20, metadata={"comment": "made by a test"})
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.width, reader.height, reader.has_audio) == (W, H, False)
        assert reader.source_fps == Fraction(30000, 1001)
        frames = list(reader.frames(Fraction(30000, 1001)))
    assert len(frames) == 20
    assert np.abs(frames[7].rgb.astype(int) - ramp).mean() < 3
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert container.metadata["comment"] == "made by a test"
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert context.pix_fmt == "yuv420p"


def test_written_colours_use_the_matrix_of_bt709(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [np.full((H, W, 3), (255, 0, 0), np.uint8)])
    with av.open(str(tmp_path / "a.mp4")) as container:
        planes = next(container.decode(video=0)).to_ndarray()
    assert [planes[:H].mean(), planes[H : H + H // 4].mean(), planes[H + H // 4 :].mean()] == pytest.approx(
        [63, 102, 240], abs=1.5
    )


def test_odd_size_is_padded(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 63, 49, Fraction(25)) as writer:
        for _ in range(3):
            writer.write(corner((49, 63)))
        assert writer.size == (64, 50)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.width, reader.height) == (64, 50)
        rgb = next(reader.frames(Fraction(25))).rgb
    assert np.abs(rgb[:49, :63].astype(int) - corner((49, 63))).mean() < 6


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    noise = [np.random.default_rng(i).integers(0, 255, (H, W, 3), np.uint8) for i in range(30)]
    tone = np.sin(np.arange(48_000) / 20, dtype=np.float32) / 2
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, W, H, Fraction(30), audio_rate=48_000) as writer:
            for i, rgb in enumerate(noise):
                writer.write(rgb)
                writer.write_audio(tone[i * 1600 : (i + 1) * 1600])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_nothing_is_left_of_an_abandoned_file(tmp_path: Path) -> None:
    def fail() -> None:
        with VideoWriter(tmp_path / "a.mp4", W, H, Fraction(25)) as writer:
            writer.write(corner())
            assert len(list(tmp_path.glob(".a.mp4.*.part"))) == 1
            assert not (tmp_path / "a.mp4").exists()
            raise KeyError("some fault elsewhere")

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())
    writer = VideoWriter(tmp_path / "a.mp4", W, H, Fraction(25))
    writer.write(corner())
    writer.abort()
    writer.abort()
    writer.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="closed"):
        writer.write(corner())
    with pytest.raises(OutputError, match="no frame"):
        VideoWriter(tmp_path / "a.mp4", W, H, Fraction(25)).close()
    assert not list(tmp_path.iterdir())


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", W, H, Fraction(25)) as writer:
        with pytest.raises(ValueError, match="uint8"):
            writer.write(corner((10, 10)))
        with pytest.raises(ValueError, match="audio"):
            writer.write_audio(np.zeros(9, np.float32))
        writer.write(corner())


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "a.mp4", tmp_path / "folder", Path("/dev/null"), Path("/proc/a.mp4")):
        with pytest.raises(OutputError, match=rf"^{path}: [^\n]+$"):
            VideoWriter(path, W, H, Fraction(25))
        with pytest.raises(OutputError, match=rf"^{path}: [^\n]+$"), atomic_write(path):
            pass
    assert not list((tmp_path / "folder").iterdir())
    with pytest.raises(OutputError):
        write(tmp_path / "a.mp4", [corner()], audio_rate=47_123)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = open

    def small_open(*args: Any, **kwargs: Any) -> Any:
        file = real_open(*args, **kwargs)

        class Small:
            name, seek, tell, close = file.name, file.seek, file.tell, file.close

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *exc: object) -> None:
                file.close()

            def write(self, data: bytes) -> int:
                if file.tell() + len(data) > 5_000:
                    raise OSError(28, "No space left on device")
                return file.write(data)

        return Small()

    monkeypatch.setattr("builtins.open", small_open)
    noise = [np.random.default_rng(i).integers(0, 255, (H, W, 3), np.uint8) for i in range(4)]
    with pytest.raises(OutputError, match=r"a.mp4: cannot be written .No space left on device.$"):
        write(tmp_path / "a.mp4", noise)
    with pytest.raises(OutputError, match="b: cannot be written"):
        write_image(tmp_path / "b", np.concatenate(noise * 3))
    assert not list(tmp_path.iterdir())


def test_atomic_write_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as file:
        file.write(b"old")

    def fail() -> None:
        with atomic_write(tmp_path / "a", overwrite=True) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "a").read_bytes() == b"old"
    with atomic_write(tmp_path / "a", overwrite=True) as file:
        file.write(b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_decode_states_the_size_that_the_file_has(encoded: Encoded, tmp_path: Path) -> None:
    """Of an input with odd sides: the file has one row and one column more."""
    header, packets = encoded.parsed()
    crop = Crop(193, 145, 10, 10, 120)
    stream = write_stream(tmp_path / "odd.fvc", replace(header, crop=crop, audio=None), packets[:2])
    report = fvc.decode(stream, encoded.sources, tmp_path / "odd.mp4", canvas="full")
    with VideoReader(tmp_path / "odd.mp4") as reader:
        assert report["size"] == [reader.width, reader.height] == [194, 146]
