"""Encoding, decoding, inspection from Python: round trips, sources in all forms, arguments."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import FPS, SECONDS, Encoded, frames_of, sound_of, write_clip, write_stream

import fvc
from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import FvcError, InputError, OutputError, SourcesError, StreamError, UsageError
from fvc.codec.encoder import Encoder
from fvc.codec.media.output import write_image
from fvc.codec.media.video import Frame, VideoReader, read_image
from fvc.codec.options import parse_fps
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.codec.wire.source_set import SourceSet
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT


@pytest.fixture(scope="module")
def decoded(encoded: Encoded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("decoded") / "back.mp4"
    report = fvc.decode(encoded.stream, encoded.sources, out)
    assert (report["frames"], report["frames_held"], report["damaged_places"]) == (encoded.report["frames"], 0, 0)
    assert report["complete"] is True
    assert report["audio"] is True
    return out


class TestRoundTrip:
    def test_frames_and_duration(self, encoded: Encoded, decoded: Path) -> None:
        assert encoded.report["frames"] == pytest.approx(SECONDS * FPS, abs=1)
        frames = frames_of(decoded)
        assert len(frames) == encoded.report["frames"]
        assert frames[0].shape == (SIDE, SIDE, 3)
        with VideoReader(decoded) as video:
            assert video.duration == pytest.approx(len(frames) / FPS, abs=0.01)

    def test_the_picture_moves(self, decoded: Path) -> None:
        frames = [frame.astype(int) for frame in frames_of(decoded)]
        assert max(np.abs(frame - frames[0]).mean() for frame in frames) > 0.3

    def test_sound_and_picture_start_together(self, encoded: Encoded, decoded: Path) -> None:
        def envelope(path: Path) -> np.ndarray:
            sound = sound_of(path)[: 8000 * SECONDS]
            level = np.abs(sound[: len(sound) // 40 * 40].reshape(-1, 40)).mean(1)  # 5 ms each
            return level - level.mean()

        before, after = envelope(encoded.video), envelope(decoded)
        length = min(len(before), len(after))
        match = np.correlate(after[:length], before[:length], "full")
        assert abs(int(match.argmax()) - (length - 1)) <= 3  # 15 ms
        assert len(sound_of(decoded)) == pytest.approx(8000 * SECONDS, abs=8000 * 0.15)

    def test_two_decodes_give_the_same_bytes(self, encoded: Encoded, decoded: Path, tmp_path: Path) -> None:
        fvc.decode(encoded.stream, encoded.sources, tmp_path / "again.mp4")
        assert (tmp_path / "again.mp4").read_bytes() == decoded.read_bytes()

    def test_report_agrees_with_info(self, encoded: Encoded) -> None:
        report, info = encoded.report, fvc.info(encoded.stream)
        for name in (
            "frames",
            "fps",
            "duration_s",
            "profile",
            "motion_kbps",
            "audio_kbps",
            "keyframes",
            "crop",
            "size",
        ):
            assert info[name] == report[name], name
        assert info["file_kbps"] == report["file_kbps"]
        assert info["bytes"] == report["file_bytes"] == encoded.stream.stat().st_size
        assert info["complete"]
        assert not info["damaged_places"]
        sources = fvc.info(encoded.sources)
        assert sources["bytes"] == report["sources_bytes"] == encoded.sources.stat().st_size
        assert sources["sources_hash"] == info["sources_hash"]
        assert sources["pixels_hash"] == info["pixels_hash"]

    def test_keyframes_are_where_they_were_asked_for(self, encoded: Encoded) -> None:
        _, packets = encoded.parsed()
        keys = [packet.number for packet in packets if packet.kind == Kind.KEY]
        assert keys == list(range(0, encoded.report["frames"], 7))

    @pytest.mark.parametrize("profile", ["sup", "unsup+jac"])
    def test_profiles(self, profile: str, faces: list[np.ndarray], tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "in.mp4", faces[:3])
        report = fvc.encode(clip, tmp_path / "x.fvc", profile=profile, fps=5, canvas=False)
        assert report["profile"] == profile
        assert report["audio_kbps"] == report["canvas_bytes"] == 0
        assert fvc.decode(tmp_path / "x.fvc", tmp_path / "x.fvs")["frames"] == 3
        with pytest.raises(SourcesError, match="encode with one"):
            fvc.decode(tmp_path / "x.fvc", tmp_path / "x.fvs", tmp_path / "full.mp4", canvas="full")

    @pytest.mark.parametrize(("count", "pictures"), [(1, 2), (5, 6), (8, 8)])
    def test_source_frames(self, count: int, pictures: int, faces: list[np.ndarray], tmp_path: Path) -> None:
        """So many frames, and one picture more with the eyes or mouth that they lack, if there is room for it."""
        clip = write_clip(tmp_path / "in.mp4", faces)
        report = fvc.encode(clip, tmp_path / "x.fvc", fps=5, canvas=False, source_frames=count)
        assert len(report["source_pictures_bytes"]) == pictures
        assert fvc.decode(tmp_path / "x.fvc", tmp_path / "x.fvs")["frames"] == len(faces)

    def test_pictures_of_noise(self, faces: list[np.ndarray], tmp_path: Path) -> None:
        """No setting of the encoder makes their first picture small, and that is no fault."""
        draw = np.random.default_rng(0)
        noisy = [np.clip(face + draw.normal(0, 60, face.shape), 0, 255).astype(np.uint8) for face in faces[:3]]
        clip = write_clip(tmp_path / "in.mp4", noisy)
        report = fvc.encode(clip, tmp_path / "x.fvc", fps=5, canvas=False)
        assert min(report["source_pictures_bytes"]) > 100


class TestFaces:
    def test_face_lost(self, faces: list[np.ndarray], notes: list[str], tmp_path: Path) -> None:
        black = np.zeros_like(faces[0])
        clip = write_clip(tmp_path / "in.mp4", [black, *faces[:3], black, black, *faces[3:5]])
        report = fvc.encode(clip, tmp_path / "x.fvc", fps=5, canvas=False, note=notes.append)
        assert report["frames"] == 8
        assert report["frames_without_face"] == 3
        assert any("no face in 3 of 8 frames" in note and "in.mp4" in note for note in notes)
        report = fvc.decode(tmp_path / "x.fvc", tmp_path / "x.fvs")
        assert (report["frames"], report["frames_held"]) == (8, 3)
        frames = [frame.astype(int) for frame in frames_of(tmp_path / "x.decoded.mp4", 5)]
        assert np.abs(frames[4] - frames[3]).mean() < 1  # held
        assert fvc.info(tmp_path / "x.fvc")["frames_without_face"] == 3

    def test_two_faces(self, faces: list[np.ndarray], notes: list[str], tmp_path: Path) -> None:
        def pair(frame: np.ndarray) -> np.ndarray:
            small = np.zeros_like(frame)
            small[96:, :384] = cv2.resize(frame, (384, 384), interpolation=cv2.INTER_AREA)
            return np.hstack([small, frame])

        clip = write_clip(tmp_path / "in.mp4", [pair(frame) for frame in faces[:3]])
        report = fvc.encode(clip, tmp_path / "x.fvc", fps=5, canvas=False, note=notes.append)
        assert any("more than one face; following the largest of those that move" in note for note in notes)
        assert report["crop"]["x"] >= 400


class TestSources:
    @pytest.fixture
    def short(self, encoded: Encoded, tmp_path: Path) -> Path:
        """The first frames of the stream, so that each decode is quick."""
        header, packets = encoded.parsed()
        return write_stream(tmp_path / "short.fvc", header, packets[:12])

    @pytest.fixture
    def folder(self, encoded: Encoded, tmp_path: Path) -> Path:
        """The stream's own pictures as PNG."""
        folder = tmp_path / "pictures"
        folder.mkdir()
        for n, picture in enumerate(SourceSet.parse(encoded.sources.read_bytes()).pictures):
            write_image(folder / f"source{n}.png", picture)
        return folder

    def test_a_folder_of_pictures_out_and_in(self, faces: list[np.ndarray], tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "in.mp4", faces[:4])
        report = fvc.encode(clip, tmp_path / "x.fvc", sources_out=tmp_path / "set", fps=5)
        names = {path.name for path in (tmp_path / "set").iterdir()}
        assert names == {"source0.png", "source1.png", "source2.png", "source3.png", "canvas.png"}
        assert report["sources_bytes"] == sum(path.stat().st_size for path in (tmp_path / "set").iterdir())
        assert not (tmp_path / "x.fvs").exists()
        report = fvc.decode(tmp_path / "x.fvc", tmp_path / "set", canvas="full")
        assert report["size"] == [480, 480]
        drawn, canvas = frames_of(tmp_path / "x.decoded.mp4", 5)[0], read_image(tmp_path / "set" / "canvas.png")
        assert np.abs(drawn[:40].astype(int) - canvas[:40]).mean() < 4
        with pytest.raises(OutputError, match=r"canvas\.png"):
            fvc.encode(clip, tmp_path / "y.fvc", sources_out=tmp_path / "set", fps=5, canvas=False)
        assert not list(tmp_path.glob("**/*.part"))
        assert not (tmp_path / "y.fvc").exists()
        assert {path.name for path in (tmp_path / "set").iterdir()} == names

    def test_pictures_in_any_order(self, short: Path, folder: Path, notes: list[str], tmp_path: Path) -> None:
        pictures = sorted(folder.iterdir())
        for name, order in (("a.mp4", pictures), ("b.mp4", pictures[::-1])):
            fvc.decode(short, order, tmp_path / name, note=notes.append)
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
        assert notes == []

    def test_other_pictures_beside_the_own_ones(self, short: Path, folder: Path) -> None:
        write_image(folder / "holiday.png", np.zeros((64, 64, 3), np.uint8))
        assert fvc.decode(short, folder)["frames"]

    def test_one_photo(self, short: Path, faces: list[np.ndarray], notes: list[str], tmp_path: Path) -> None:
        """A photo of the input's own size is cut as the stream says, and serves as canvas."""
        photo = tmp_path / "photo.png"
        write_image(photo, faces[0])
        with pytest.raises(SourcesError, match=r"photo\.png: not the sources .*`allow_foreign_sources`"):
            fvc.decode(short, photo, tmp_path / "x.mp4", canvas="full")
        assert not (tmp_path / "x.mp4").exists()
        report = fvc.decode(
            short, [photo], tmp_path / "x.mp4", canvas="full", allow_foreign_sources=True, note=notes.append
        )
        assert report["size"] == [480, 480]
        assert len(notes) == 1
        assert "foreign" in notes[0]
        assert np.abs(frames_of(tmp_path / "x.mp4")[0][:40].astype(int) - faces[0][:40]).mean() < 4

    def test_photo_of_another_size_has_no_canvas(self, short: Path, faces: list[np.ndarray], tmp_path: Path) -> None:
        photo = tmp_path / "photo.png"
        write_image(photo, faces[0][20:])
        assert fvc.decode(short, photo, tmp_path / "x.mp4", allow_foreign_sources=True)["size"] == [SIDE, SIDE]
        with pytest.raises(SourcesError, match="480x480"):
            fvc.decode(short, photo, tmp_path / "full.mp4", canvas="full", allow_foreign_sources=True)

    def test_full_canvas(self, encoded: Encoded, short: Path, faces: list[np.ndarray]) -> None:
        report = fvc.decode(short, encoded.sources, canvas="full")
        assert report["size"] == encoded.report["size"] == [480, 480]
        drawn = frames_of(short.with_suffix(".decoded.mp4"))[0].astype(int)
        assert np.abs(drawn[:40] - faces[0][:40]).mean() < 12

    def test_foreign_set(self, encoded: Encoded, short: Path, notes: list[str], tmp_path: Path) -> None:
        own = SourceSet.parse(encoded.sources.read_bytes())
        other = tmp_path / "other.fvs"
        other.write_bytes(
            bytes(replace(own, coded=own.coded[:2], pictures=own.pictures[:2], samples=own.samples[:2], _head=b""))
        )
        with pytest.raises(SourcesError, match=r"other\.fvs: not the sources"):
            fvc.decode(short, other)
        assert fvc.decode(short, other, allow_foreign_sources=True, note=notes.append)["frames"]
        assert len(notes) == 1
        assert "foreign" in notes[0]
        again = tmp_path / "relative.mp4"  # cross-reenactment: the same warning, and the same mark in the file
        report = fvc.decode(short, other, again, allow_foreign_sources=True, relative_motion=True, note=notes.append)
        assert report["frames"]
        assert notes[1] == notes[0]
        assert fvc.info(again)["foreign"]

    def test_set_of_other_weights_or_profile(self, encoded: Encoded, short: Path, tmp_path: Path) -> None:
        own = SourceSet.parse(encoded.sources.read_bytes())
        other = tmp_path / "other.fvs"
        other.write_bytes(bytes(replace(own, model_hash=b"\xee" * 8, _head=b"")))
        with pytest.raises(SourcesError, match="made for weights eeee"):
            fvc.decode(short, other, allow_foreign_sources=True)
        other.write_bytes(bytes(replace(own, profile=type(own.profile).SUP, _head=b"")))
        with pytest.raises(SourcesError, match=r"lacks unsup\+expr"):
            fvc.decode(short, other, allow_foreign_sources=True)

    def test_wrong_files(self, encoded: Encoded, short: Path, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        blank = tmp_path / "blank.png"
        write_image(blank, np.full((300, 300, 3), 90, np.uint8))
        text = tmp_path / "text.png"
        text.write_text("not a picture")
        damaged = tmp_path / "damaged.fvs"
        damaged.write_bytes(encoded.sources.read_bytes()[:900])
        cases: list[tuple[object, type[FvcError], str]] = [
            (tmp_path / "empty", InputError, "empty: no PNG"),
            (tmp_path / "none.fvs", InputError, r"none\.fvs: no such file"),
            (blank, InputError, r"blank\.png: no face"),
            (text, InputError, r"text\.png: not a picture"),
            (damaged, StreamError, r"damaged\.fvs: .*truncated"),
            (short, UsageError, "name|overwrite|stream"),
            (encoded.stream, StreamError, r"talk\.fvc: a \.fvc stream"),
            ([encoded.sources, blank], UsageError, "whole source set"),
            ([], UsageError, "name a .fvs"),
            ([folder / "source0.png"] * 9, UsageError, "1 to 8"),
            ("", UsageError, "not the name of a file"),
        ]
        for sources, kind, message in cases:
            if sources is short:
                continue
            with pytest.raises(kind, match=message):
                fvc.decode(short, sources, tmp_path / "x.mp4", allow_foreign_sources=True)  # type: ignore[arg-type]
            assert not (tmp_path / "x.mp4").exists()


def test_streaming_without_files(encoded: Encoded) -> None:
    """Encoder -> bytes of packets -> Decoder, frame by frame, as two ends of a call would."""
    header, _ = encoded.parsed()
    header = replace(header, audio=None)
    source_set = SourceSet.parse(encoded.sources.read_bytes())
    model = InstalledModel.named(DEFAULT)
    encoder = fvc.Encoder(header, model.motion(header.profile))
    decoder = fvc.Decoder(header, model.renderer(source_set, header.profile, header.fps))
    with VideoReader(encoded.video) as video:
        for frame in video.frames(Fraction(4)):
            packet, _ = Packet.parse(bytes(encoder.encode(frame)))
            shown = decoder.decode(replace(packet, number=frame.index))
            assert shown.index == frame.index
            assert shown.rgb.shape == (SIDE, SIDE, 3)
            assert shown.rgb.dtype == np.uint8
    assert decoder.held == 0
    lost = encoder.encode(Frame(np.zeros((480, 480, 3), np.uint8), 12))
    assert not lost.payload
    assert np.array_equal(decoder.decode(lost).rgb, shown.rgb)


def test_public_names() -> None:
    for name in fvc.__all__:
        assert getattr(fvc, name) is not None
    assert fvc.encode.__module__ == "fvc.jobs.encode"
    assert fvc.Encoder is Encoder
    assert issubclass(UsageError, fvc.FvcError)
    with pytest.raises(AttributeError):
        _ = fvc.nonsense


class TestArguments:
    @pytest.mark.parametrize(
        "fps", ["nan", "inf", "-inf", "0", "-1", "1e9", "1e999999999", "abc", "1/0", "", "241", "0.09"]
    )
    def test_absurd_rates(self, fps: str) -> None:
        with pytest.raises(UsageError, match="fps"):
            parse_fps(fps)
        if fps in ("nan", "inf", "0", "-1"):
            with pytest.raises(UsageError, match="fps"):
                parse_fps(float(fps))

    def test_rates(self) -> None:
        assert parse_fps("15") == parse_fps(15) == parse_fps(15.0) == 15
        assert parse_fps("30000/1001") == parse_fps("29.97002997") == Fraction(30000, 1001)
        assert parse_fps(0.1) == Fraction(1, 10)
        assert parse_fps("240") == 240
        assert parse_fps("239.99").numerator < 1 << 16

    def test_unknown_preset(self, clip: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="'nonsense': not installed"):
            fvc.encode(clip, tmp_path / "x.fvc", preset="nonsense")

    def test_names_that_cannot_be(self, clip: Path, tmp_path: Path) -> None:
        for name in ("", ".", "/", "a\0b"):
            with pytest.raises(UsageError, match="not the name of a file"):
                fvc.encode(clip, name)
        with pytest.raises(FvcError):
            fvc.decode("", tmp_path / "x.fvs")


HEAVY = ("torch", "mediapipe", "coremltools", "jax", "tensorflow", "matplotlib")


def test_a_receiver_needs_no_tracker_and_no_torch(encoded: Encoded, tmp_path: Path) -> None:
    """Also: a whole decode in a process of its own prints its report and nothing else."""
    script = (
        "import sys, fvc, fvc.codec.decoder\nfvc.decode, fvc.encode\n"
        "from fvc.cli import main as cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        f"sys.exit(' '.join(name for name in {HEAVY} if name in sys.modules) or 0)"
    )
    arguments = ["decode", encoded.stream, "--sources", encoded.sources, "-o", tmp_path / "x.mp4"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "x.mp4").exists()
