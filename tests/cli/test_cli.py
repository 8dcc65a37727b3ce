"""The command line: exit code, stdout, stderr and files left behind, for good input and for every kind of bad input."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import Encoded, Result, Run, write_clip, write_stream

from fvc.codec.base.errors import FvcError, InputError, OutputError, SourcesError, StreamError, UsageError
from fvc.codec.media.output import write_image
from fvc.codec.media.video import VideoReader

FVC = Path(sys.executable).with_name("fvc")


@pytest.fixture(autouse=True)
def _restore_sigterm() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def assert_refused(result: Result, error: type[FvcError], *fragments: str) -> None:
    """One line on stderr that names file and fault, the error's exit code, nothing on stdout."""
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("fvc: ")
    for fragment in fragments:
        assert fragment in result.err
    assert result.code == error.exit_code


@pytest.fixture
def box(encoded: Encoded, faces: list[np.ndarray], tmp_path: Path) -> Path:
    """A folder with good and bad input."""
    shutil.copy(encoded.video, tmp_path / "talk.mp4")
    shutil.copy(encoded.stream, tmp_path / "talk.fvc")
    shutil.copy(encoded.sources, tmp_path / "talk.fvs")
    (tmp_path / "text.mp4").write_text("this is a text\n" * 40)
    (tmp_path / "text.fvc").write_text("this is a text\n" * 40)
    (tmp_path / "text.png").write_text("this is a text\n" * 40)
    for name in ("empty.mp4", "empty.fvc", "empty.fvs"):
        (tmp_path / name).touch()
    for name in ("talk.fvc", "talk.fvs"):
        newer = bytearray((tmp_path / name).read_bytes())
        newer[4] = 9
        (tmp_path / name.replace("talk", "newer")).write_bytes(newer)
        (tmp_path / name.replace("talk", "short")).write_bytes(newer[:20].replace(b"\x09", b"\x02"))
    (tmp_path / "folder").mkdir()
    write_image(tmp_path / "blank.png", np.full((300, 300, 3), 90, np.uint8))
    png = (tmp_path / "blank.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "wrong.png").write_bytes(png.replace(b"IDAT", b"IDAT\xff", 1))
    return tmp_path


@pytest.fixture
def sound_only(box: Path) -> Path:
    path = box / "sound.m4a"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", 48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        file.mux([*stream.encode(frame), *stream.encode(None)])
    return path


class TestEncodeRefuses:
    @pytest.mark.parametrize(
        ("source", "fault"),
        [
            ("missing.mp4", "no such file"),
            ("text.mp4", "not a video"),
            ("empty.mp4", "is empty"),
            ("folder", "is a directory"),
            ("talk.fvc", "not a video"),
            ("/dev/null", "not a file"),
        ],
    )
    def test_input(self, source: str, fault: str, box: Path, run: Run) -> None:
        before = snapshot(box)
        assert_refused(run("encode", box / source, box / "out.fvc"), InputError, source, fault)
        assert snapshot(box) == before

    def test_sound_only(self, sound_only: Path, box: Path, run: Run) -> None:
        assert_refused(run("encode", sound_only, box / "out.fvc"), InputError, "sound.m4a", "no video stream")

    def test_no_face(self, box: Path, run: Run) -> None:
        write_clip(box / "wall.mp4", [np.full((96, 128, 3), level, np.uint8) for level in (80, 90, 100)])
        before = snapshot(box)
        result = run("encode", box / "wall.mp4", box / "out.fvc", "--sources-out", box / "pictures")
        assert_refused(result, InputError, "wall.mp4", "no face found in any of its 9 frames")
        assert snapshot(box) == before

    @pytest.mark.parametrize(
        "options",
        [
            *[("--fps", value) for value in ("nan", "inf", "0", "-1", "1e9", "abc", "1/0", "")],
            *[("--profile", value) for value in ("nonsense", "", "SUP")],
            *[("--audio-bitrate", value) for value in ("1k", "0", "nan", "inf", "-6k", "abc", "k", "1e12")],
            *[("--keyframe-interval", value) for value in ("nan", "inf", "-1", "1e9")],
            *[("--source-frames", value) for value in ("0", "9", "-1")],
        ],
    )
    def test_options(self, options: tuple[str, str], box: Path, run: Run) -> None:
        before = snapshot(box)
        name, value = options
        result = run("encode", box / "talk.mp4", box / "out.fvc", f"{name}={value}")
        assert_refused(result, UsageError, "profile" if name == "--profile" else name)
        assert snapshot(box) == before

    @pytest.mark.parametrize(
        ("out", "sources", "error", "fault"),
        [
            ("none/out.fvc", None, OutputError, "No such file"),
            ("folder", None, OutputError, "is a directory"),
            ("text.mp4/out.fvc", None, OutputError, "Not a directory"),
            ("/proc/out.fvc", None, OutputError, "/proc/out.fvs"),
            ("/dev/full", "out.fvs", OutputError, "/dev/full: not a regular file"),
            ("out.fvc", "none/out.fvs", OutputError, "none/out.fvs"),
            ("out.fvc", "none/folder", OutputError, "none/folder"),
            ("out.fvc", "text.mp4/folder", OutputError, "Not a directory"),
            ("out.fvc", "/dev/full", OutputError, "/dev/full"),
            ("talk.mp4", None, UsageError, "talk.mp4: would overwrite"),
            ("folder/../talk.mp4", None, UsageError, "would overwrite"),
            ("out.fvs", None, UsageError, "out.fvs: would overwrite"),
            ("out.fvc", "talk.mp4", UsageError, "would overwrite"),
            ("out.fvc", "out.fvc", UsageError, "would overwrite"),
        ],
    )
    def test_output(
        self, out: str, sources: str | None, error: type[FvcError], fault: str, box: Path, run: Run
    ) -> None:
        before = snapshot(box)
        more = () if sources is None else ("--sources-out", box / sources)
        assert_refused(run("encode", box / "talk.mp4", box / out, *more), error, fault)
        assert snapshot(box) == before

    def test_unnamed_output(self, box: Path, run: Run) -> None:
        assert_refused(run("encode", box / "talk.mp4", ""), UsageError, "not the name of a file")

    @pytest.mark.parametrize("sources", ["out.fvs", "pictures"])
    def test_full_disk(self, sources: str, faces: list[np.ndarray], box: Path, run: Run, full_disk: None) -> None:
        """The stream fits and the sources do not: neither appears, and what was there before stays."""
        write_clip(box / "in.mp4", faces[:2])
        shutil.copy(box / "talk.fvc", box / "out.fvc")
        before = snapshot(box)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        result = run("encode", box / "in.mp4", box / "out.fvc", "--sources-out", box / sources, "--fps", "5", "--force")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert result.code == OutputError.exit_code
        assert result.err.splitlines()[-1].startswith("fvc: ")
        assert "cannot be written (File too large)" in result.err
        assert snapshot(box) == before


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Lifts the limit again that a test sets on the size of files: writing beyond it fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


class TestDecodeRefuses:
    @pytest.mark.parametrize(
        ("stream", "error", "fault"),
        [
            ("missing.fvc", InputError, "no such file"),
            ("empty.fvc", InputError, "is empty"),
            ("folder", InputError, "is a directory"),
            ("/dev/null", InputError, "not a regular file"),
            ("text.fvc", StreamError, "not a .fvc stream"),
            ("talk.mp4", StreamError, "not a .fvc stream"),
            ("talk.fvs", StreamError, "a .fvs source set, not a .fvc stream"),
            ("newer.fvc", StreamError, "newer fvc is needed to read version 9"),
            ("short.fvc", StreamError, "the header is truncated"),
        ],
    )
    def test_stream(self, stream: str, error: type[FvcError], fault: str, box: Path, run: Run) -> None:
        before = snapshot(box)
        result = run("decode", box / stream, "--sources", box / "newer.fvs", "-o", box / "out.mp4")
        assert_refused(result, error, stream, fault)
        if stream != "talk.fvs":
            assert_refused(run("info", box / stream), error, stream, fault)
        assert snapshot(box) == before

    def test_what_is_no_stream_is_not_asked_for_sources(self, box: Path, run: Run) -> None:
        """The missing text.fvs was named, which was never there."""
        assert_refused(run("decode", box / "text.fvc"), StreamError, "text.fvc", "not a .fvc stream")

    @pytest.mark.parametrize(
        ("sources", "error", "fault"),
        [
            ("missing.fvs", InputError, "no such file"),
            ("empty.fvs", InputError, "is empty"),
            ("folder", InputError, "folder: no PNG or JPEG picture in the folder"),
            ("newer.fvs", StreamError, "newer fvc is needed to read version 9"),
            ("short.fvs", StreamError, "truncated"),
            ("newer.fvc", StreamError, "a .fvc stream, not a .fvs source set"),
            ("text.png", InputError, "not a picture"),
            ("broken.png", InputError, "not a picture"),
            ("wrong.png", InputError, "not a picture"),
            ("talk.mp4", SourcesError, "not the sources"),
            ("blank.png", InputError, "no face found"),
        ],
    )
    def test_sources(self, sources: str, error: type[FvcError], fault: str, box: Path, run: Run) -> None:
        before = snapshot(box)
        result = run("decode", box / "talk.fvc", "--sources", box / sources, "-o", box / "out.mp4")
        assert_refused(result, error, sources, fault)
        assert snapshot(box) == before

    @pytest.mark.parametrize(
        ("out", "error", "fault"),
        [
            ("none/out.mp4", OutputError, "No such file"),
            ("folder", OutputError, "is a directory"),
            ("text.mp4/out.mp4", OutputError, "Not a directory"),
            ("/proc/out.mp4", OutputError, "/proc/out.mp4"),
            ("/dev/full", OutputError, "not a regular file"),
            ("talk.fvc", UsageError, "would overwrite"),
            ("talk.fvs", UsageError, "would overwrite"),
        ],
    )
    def test_output(self, out: str, error: type[FvcError], fault: str, box: Path, run: Run) -> None:
        before = snapshot(box)
        result = run("decode", box / "talk.fvc", "--sources", box / "talk.fvs", "--out", box / out)
        assert_refused(result, error, out, fault)
        assert snapshot(box) == before

    def test_canvas(self, box: Path, run: Run) -> None:
        result = run("decode", box / "talk.fvc", "--sources", box / "talk.fvs", "--canvas", "nonsense")
        assert_refused(result, UsageError, "--canvas nonsense: must be crop or full")

    def test_unknown_weights(self, encoded: Encoded, box: Path, run: Run) -> None:
        header, packets = encoded.parsed()
        write_stream(box / "other.fvc", replace(header, model_hash=b"\xee" * 8), packets[:9])
        result = run("decode", box / "other.fvc", "--sources", box / "talk.fvs")
        assert_refused(result, SourcesError, "other.fvc: made for weights eeeeeeeeeeeeeeee, which are not installed")

    def test_output_given_as_argument(self, box: Path, run: Run) -> None:
        """`fvc decode talk.fvc out.mp4 --sources talk.fvs`: an easy mistake."""
        result = run("decode", box / "talk.fvc", box / "out.mp4", "--sources", box / "talk.fvs")
        assert_refused(result, UsageError, "-o")

    def test_full_disk(self, box: Path, run: Run, full_disk: None) -> None:
        before = snapshot(box)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
        result = run("decode", box / "talk.fvc", "--sources", box / "talk.fvs")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert_refused(result, OutputError, "talk.decoded.mp4", "cannot be written")
        assert snapshot(box) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode",),
        ("encode", "in.mp4"),
        ("decode", "in.fvc", "--sources"),
        ("info",),
        ("nonsense",),
        ("info", "--nonsense"),
        ("encode", "in.mp4", "out.fvc", "--keyframe-interval", "abc"),
        ("info", "a.fvc", "b.fvc"),
    ],
)
def test_usage_errors(arguments: tuple[str, ...], run: Run) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert "Error: " in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("arguments", [("--help",), ("encode", "-h"), ("decode", "--help"), ("info", "-h")])
def test_help(arguments: tuple[str, ...], run: Run) -> None:
    result = run(*arguments)
    assert (result.code, result.err) == (0, "")
    assert "Usage: " in result.out


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("fvc 0.")


class TestReports:
    def test_decode_and_info(self, encoded: Encoded, box: Path, run: Run) -> None:
        result = run("decode", box / "talk.fvc", "--sources", box / "talk.fvs", "--json")
        assert (result.code, result.err) == (0, "")
        report = json.loads(result.out)
        assert report["out"] == str(box / "talk.decoded.mp4")
        assert report["frames"] == encoded.report["frames"]
        with VideoReader(box / "talk.decoded.mp4") as video:
            assert video.has_audio
        result = run("info", box / "talk.fvc")
        assert (result.code, result.err) == (0, "")
        assert f"frames  {report['frames']}" in result.out
        assert json.loads(run("info", box / "talk.fvs", "--json").out)["type"] == "fvs"

    def test_notes_are_one_line_each(self, box: Path, run: Run) -> None:
        data = bytearray((box / "talk.fvc").read_bytes())
        data[len(data) // 2] ^= 1
        (box / "broken.fvc").write_bytes(data[: len(data) * 3 // 4])
        result = run("decode", box / "broken.fvc", "--sources", box / "talk.fvs", "-o", box / "a.mp4")
        assert result.code == 0
        assert result.out.startswith(str(box / "a.mp4"))
        first, second = result.err.splitlines()
        assert first.startswith(f"note: {box / 'broken.fvc'}: ")
        assert "bytes " in first
        assert "cut off after " in second

    def test_names_with_odd_characters(self, box: Path, run: Run) -> None:
        for name in ("a [bold] :smile: b.fvc", "line\nbreak.fvc"):
            assert_refused(run("info", box / name), InputError, " ".join(name.split("\n")), "no such file")
        assert_refused(run("info", os.fsdecode(bytes(box) + b"/\xff.fvc")), InputError, "no such file")


def test_encode_in_a_process_of_its_own(encoded: Encoded, tmp_path: Path) -> None:
    """One JSON object on stdout, silence on stderr from all native libraries; a portrait this time."""
    with VideoReader(encoded.video) as video:
        frames = [frame.rgb[:, 60:420] for frame in video.frames(Fraction(2))]
    write_clip(tmp_path / "tall.mp4", frames)
    command = [FVC, "encode", tmp_path / "tall.mp4", tmp_path / "o.fvc", "--json", "--no-audio", "--fps", "5"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    wanted = {"frames", "fps", "duration_s", "profile", "motion_bits_per_frame", "motion_kbps", "file_kbps"}
    assert wanted | {"sources_bytes", "audio_kbps"} <= set(report)
    assert report["frames"] == len(frames)
    assert report["size"] == [360, 480]
    assert {path.name for path in tmp_path.iterdir()} == {"tall.mp4", "o.fvc", "o.fvs"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_an_encoder_that_is_stopped_leaves_nothing(
    number: int, code: int, box: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        assert list(box.glob("*.part"))
        os.kill(os.getpid(), number)
        time.sleep(5)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started without it
    monkeypatch.setattr("fvc.codec.source_builder.survey", stop)
    before = snapshot(box)
    assert run("encode", box / "talk.mp4", box / "out.fvc").code == code
    assert snapshot(box) == before
