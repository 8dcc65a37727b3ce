"""No command destroys a file: what exists is kept, two writers never share a file, names that are none are refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import Encoded, Run, write_clip, write_stream

import fvc
from fvc.calls.receive import receive
from fvc.codec.base.errors import OutputError, UsageError
from fvc.codec.media.output import PICTURE, VIDEO, OutputGroup, atomic_write, check_folder, check_output, encode_png
from fvc.codec.media.provenance import Provenance, read_provenance
from fvc.codec.media.video_writer import VideoWriter
from fvc.jobs.paths import STREAM


@pytest.fixture
def short(encoded: Encoded, tmp_path: Path) -> Path:
    """The first frames of the stream, with its sources and the video that it was made from beside it."""
    header, packets = encoded.parsed()
    shutil.copy(encoded.video, tmp_path / "talk.mp4")
    shutil.copy(encoded.sources, tmp_path / "talk.fvs")
    return write_stream(tmp_path / "talk.fvc", header, packets[:8])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# The recording is safe


def test_decode_never_touches_the_recording(short: Path, run: Run) -> None:
    """`fvc encode talk.mp4 talk.fvc`, `fvc decode talk.fvc`: talk.mp4 stays, and so does the first result."""
    before = contents(short.parent)
    result = run("decode", short)
    assert result.code == 0
    assert "talk.decoded.mp4" in result.out
    made = contents(short.parent)
    assert made.pop("talk.decoded.mp4")[4:8] == b"ftyp"
    assert made == before
    before = contents(short.parent)
    again = run("decode", short, "--sources", short.with_suffix(".fvs"))
    assert (again.code, again.err.count("\n")) == (6, 1)
    assert "talk.decoded.mp4: exists" in again.err
    assert contents(short.parent) == before
    assert fvc.decode(short, overwrite=True)["out"] == str(short.with_name("talk.decoded.mp4"))


def test_decode_from_python_never_touches_the_recording(short: Path) -> None:
    before = short.with_name("talk.mp4").read_bytes()
    assert fvc.decode(short, short.with_suffix(".fvs"))["out"] == str(short.with_name("talk.decoded.mp4"))
    assert short.with_name("talk.mp4").read_bytes() == before
    with pytest.raises(OutputError, match=r"talk\.mp4: exists"):
        fvc.decode(short, out=short.with_name("talk.mp4"))


def test_encode_replaces_no_stream_and_no_sources(faces: list[np.ndarray], short: Path, run: Run) -> None:
    clip = write_clip(short.with_name("in.mp4"), faces[:2])
    before = contents(short.parent)
    for out in ("talk.fvc", "other.fvc"):
        sources = ("--sources-out", short.with_name("talk.fvs")) if out == "other.fvc" else ()
        result = run("encode", clip, short.with_name(out), *sources)
        assert (result.code, "exists" in result.err, result.err.count("\n")) == (6, True, 1)
        assert contents(short.parent) == before
    short.with_name("talk.fvc").unlink()
    with pytest.raises(OutputError, match=r"talk\.fvs: exists"):
        fvc.encode(clip, short.with_name("talk.fvc"), fps=5)
    assert not short.with_name("talk.fvc").exists()
    assert run("encode", clip, short, "--fps", 5, "--force").code == 0
    assert contents(short.parent)["talk.fvs"] != before["talk.fvs"]


def test_encode_of_all_videos_replaces_none(clip: Path, tmp_path: Path, run: Run) -> None:
    """`fvc encode *.mp4` where there are two."""
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clip, tmp_path / name)
    before = contents(tmp_path)
    for force in ((), ("--force",)):
        result = run("encode", tmp_path / "a.mp4", tmp_path / "b.mp4", *force)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert "b.mp4: a .fvc stream is written here; its name must end in .fvc" in result.err
        assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["encode", "decode", "repair"])
def test_force_replaces_only_files_of_the_kind(command: str, short: Path, run: Run) -> None:
    out, inputs = short.with_name("thesis.fvc"), [short.with_name("talk.mp4")]
    if command == "decode":
        out, inputs = short.with_name("thesis.mp4"), ["--sources", short.with_suffix(".fvs"), short, "-o"]
    elif command == "repair":
        inputs = [short]
    out.write_text("years of work\n")
    result = run(command, *inputs, out, "--force")
    assert (result.code, result.err.count("\n")) == (6, 1)
    assert f"{out.name}: exists and is not" in result.err
    assert out.read_text() == "years of work\n"


def test_read_only_files_are_not_replaced(short: Path, run: Run) -> None:
    out = Path(shutil.copy(short, short.with_name("old.fvc")))
    out.chmod(0o444)
    result = run("repair", short, out, "--force")
    assert (result.code, "read-only" in result.err) == (6, True)
    out.chmod(0o644)
    assert run("repair", short, out).code == 6
    assert run("repair", short, out, "--force").code == 0
    out.write_bytes(b"")  # as mktemp makes one: nothing is lost with it
    assert run("repair", short, out, "--force").code == 0


def test_a_folder_of_source_pictures_is_not_mixed(faces: list[np.ndarray], tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", faces[:2])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "source0.png").write_text("no picture")
    for overwrite, fault in ((False, "source0.png: exists"), (True, "exists and is not a PNG picture")):
        with pytest.raises(OutputError, match=fault):
            fvc.encode(clip, tmp_path / "x.fvc", sources_out=tmp_path / "set", fps=5, overwrite=overwrite)
        assert contents(tmp_path / "set") == {"source0.png": b"no picture"}
    with pytest.raises(UsageError, match=r"set\.png: sources go to a file that ends in \.fvs, or to a folder"):
        fvc.encode(clip, tmp_path / "x.fvc", sources_out=tmp_path / "set.png", fps=5)


def test_source_pictures_never_replace_the_input(faces: list[np.ndarray], tmp_path: Path, run: Run) -> None:
    """A still in the folder that `--sources-out` names became its own source picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "source0.png").write_bytes(encode_png(faces[0]))
    before = contents(folder)
    result = run("encode", folder / "source0.png", tmp_path / "q.fvc", "--sources-out", folder, "--force")
    assert result.code == 2
    assert "would overwrite another file of this command" in result.err
    assert contents(folder) == before


@pytest.mark.parametrize(
    "arguments",
    [("encode", "talk.mp4", "loop.fvc"), ("encode", "loop.fvc", "out.fvc"), ("decode", "talk.fvc", "-o", "loop.mp4")],
)
def test_loops_of_links_are_one_line(
    arguments: tuple[str, ...], short: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("loop.fvc", "loop.mp4"):
        (short.parent / name).symlink_to(short.parent / name)
    monkeypatch.chdir(short.parent)
    result = run(*arguments)
    assert result.code in (3, 6)
    assert result.err.count("\n") == 1
    assert "loop" in result.err


def test_calls_and_training_keep_what_is_there(short: Path, run: Run) -> None:
    with pytest.raises(OutputError, match=r"talk\.mp4: exists"):
        receive(0, short.with_name("talk.mp4"), host="127.0.0.1", wait=0.1)
    before = contents(short.parent)
    for arguments in (
        ("live", "--synthetic", "--out", short.with_name("talk.mp4")),
        ("prepare", short.parent, short.with_name("talk.fvs"), "--force"),
        ("fit-priors", short.parent, "--out", short.with_name("talk.fvs"), "--force"),
        ("export", "onnx", "--out", short.parent, "--force"),
        ("evaluate", "--data", short.parent, "--split", ".", "--out", short.parent),
    ):
        result = run(*arguments)
        assert (result.code in (2, 6), result.err.count("\n")) == (True, 1), (arguments, result)
        assert contents(short.parent) == before


def test_folders_of_results(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", "report.json", overwrite=False)
    (tmp_path / "old").mkdir()
    check_folder(tmp_path / "old", "report.json", overwrite=False)
    (tmp_path / "old" / "report.json").touch()
    check_folder(tmp_path / "old", "report.json", overwrite=True)
    with pytest.raises(OutputError, match="earlier results"):
        check_folder(tmp_path / "old", "report.json", overwrite=False)
    with pytest.raises(OutputError, match="not a folder"):
        check_folder(tmp_path / "old" / "report.json", "report.json", overwrite=True)
    with pytest.raises(UsageError, match="holds other things"):
        check_folder(tmp_path, "report.json", overwrite=True)


# Endings, standard output, addresses


@pytest.mark.parametrize(
    ("ending", "container", "codecs"),
    [
        ("mp4", "mov,mp4,m4a,3gp,3g2,mj2", ["h264", "aac"]),
        ("MOV", "mov,mp4,m4a,3gp,3g2,mj2", ["h264", "aac"]),
        ("mkv", "matroska,webm", ["h264", "aac"]),
        ("webm", "matroska,webm", ["vp9", "opus"]),
    ],
)
def test_the_ending_chooses_the_container(ending: str, container: str, codecs: list[str], tmp_path: Path) -> None:
    origin = Provenance("1.2.3", "ab" * 32, "cd" * 16, False, "ef" * 8)
    path, rate = tmp_path / f"a.{ending}", Fraction(30000, 1001)
    with VideoWriter(path, 64, 49, rate, 48_000, metadata={"comment": str(origin)}) as video:
        for level in range(0, 240, 8):
            video.write(np.full((49, 64, 3), (level, 100, 50), np.uint8))
            video.write_audio(np.sin(np.arange(1600) / 20).astype(np.float32) / 2)
    with av.open(str(path)) as file:
        assert file.format.name == container
        assert [stream.codec_context.name for stream in file.streams] == codecs
        assert file.streams.video[0].average_rate == rate
        shown = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert np.abs([frame[5, 5, 0] - level for frame, level in zip(shown, range(0, 240, 8), strict=True)]).max() < 12
    head = path.read_bytes()[:64]
    assert (b"webm" in head, b"matroska" in head, b"qt  " in head) == (
        ending == "webm",
        ending == "mkv",
        ending == "MOV",
    )
    assert VIDEO.holds(path)
    found = read_provenance(path)
    assert found is not None
    assert found["stream"] == origin.stream


@pytest.mark.parametrize("name", ["out.gif", "out.avi", "out.png", "out.wav", "out", "out.fvc"])
def test_other_endings_are_refused(name: str, short: Path, run: Run) -> None:
    before = contents(short.parent)
    result = run("decode", short, "--sources", short.with_suffix(".fvs"), "-o", short.with_name(name))
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith("its name must end in .mp4, .mov, .mkv or .webm\n")
    assert contents(short.parent) == before


def test_decode_to_webm(short: Path, run: Run) -> None:
    assert run("decode", short, "--sources", short.with_suffix(".fvs"), "-o", short.with_name("out.webm")).code == 0
    assert b"webm" in short.with_name("out.webm").read_bytes()[:64]


def test_a_dash_is_no_file(short: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(short.parent)
    before = contents(short.parent)
    for arguments in (
        ("decode", "talk.fvc", "--sources", "talk.fvs", "-o", "-"),
        ("decode", "-", "--sources", "talk.fvs"),
        ("decode", "talk.fvc", "--sources", "-"),
        ("encode", "-", "out.fvc"),
        ("encode", "talk.mp4", "-"),
        ("encode", "talk.mp4", "out.fvc", "--sources-out", "-"),
        ("repair", "talk.fvc", "-"),
        ("info", "-"),
        ("receive", "0", "--out", "-"),
        ("live", "--synthetic", "--out", "-"),
        ("measure", "talk.mp4", "--out", "-"),
    ):
        result = run(*arguments)
        assert (result.code in (2, 3), result.err.count("\n")) == (True, 1), arguments
        assert "fvc: -: standard input and output cannot be used" in result.err
        assert contents(short.parent) == before


@pytest.mark.parametrize("url", ["https://host.invalid/talk.mp4", "rtsp://host.invalid/1", "file:///talk.mp4"])
def test_addresses_are_named_as_such(url: str, short: Path, run: Run) -> None:
    for arguments in (
        ("encode", url, short.with_name("out.fvc")),
        ("encode", short.with_name("talk.mp4"), url),
        ("decode", url, "--sources", short.with_suffix(".fvs")),
        ("decode", short, "-o", url),
        ("decode", short, "--sources", url),
        ("info", url),
        ("live", url, "--out", short.with_name("out.mp4")),
        ("measure", url, "--out", short.with_name("report")),
    ):
        result = run(*arguments)
        assert (result.code in (2, 3), result.err.count("\n")) == (True, 1), arguments
        assert "is a URL; fvc reads and writes files only: download it first" in result.err
        assert url.replace(":///", "://") in result.err


# Two writers of one name


def test_two_writers_never_share_a_file(tmp_path: Path) -> None:
    """The first to finish gets the name, whole; the other one says so and leaves nothing."""
    out = tmp_path / "a.bin"

    def both(slow_bytes: bytes, quick_bytes: bytes, overwrite: bool) -> None:
        with atomic_write(out, overwrite=overwrite) as slow:
            slow.write(slow_bytes)
            with atomic_write(out, overwrite=overwrite) as quick:
                quick.write(quick_bytes)
            assert out.read_bytes() == quick_bytes

    with pytest.raises(OutputError, match=r"a\.bin: has appeared while this command was running"):
        both(b"slow" * 999, b"quick", overwrite=False)
    assert contents(tmp_path) == {"a.bin": b"quick"}
    both(b"slow" * 999, b"QUICK", overwrite=True)
    assert contents(tmp_path) == {"a.bin": b"slow" * 999}


def test_two_decodes_to_one_name(encoded: Encoded, short: Path, run: Run) -> None:
    """At the same time, as `fvc decode a.fvc -o p.mp4 & fvc decode b.fvc -o p.mp4` does it."""
    out, barrier, results = short.with_name("p.mp4"), threading.Barrier(2, timeout=60), []

    def decode(stream: Path) -> None:
        waited = iter([True])

        def meet(*_: object) -> None:  # both have begun to write before one of them is done
            if next(waited, False):
                barrier.wait()

        try:
            results.append(fvc.decode(stream, encoded.sources, out, progress=meet)["frames"])
        except OutputError as error:
            results.append(str(error))

    threads = [threading.Thread(target=decode, args=(stream,)) for stream in (short, encoded.stream)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (fault,) = (text for text in results if isinstance(text, str))
    (frames,) = (count for count in results if isinstance(count, int))
    assert "has appeared while this command was running" in fault
    with av.open(str(out)) as file:
        assert sum(1 for _ in file.decode(video=0)) == frames
    assert not list(short.parent.glob("*.part"))


def test_an_encode_that_loses_its_name_leaves_no_half(faces: list[np.ndarray], tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", faces[:2])

    def appear(stage: str, *_: object) -> None:
        if stage == "encoding":
            (tmp_path / "o.fvs").write_bytes(b"another one's")

    with pytest.raises(OutputError, match=r"o\.fvs: has appeared"):
        fvc.encode(clip, tmp_path / "o.fvc", fps=5, progress=appear)
    assert contents(tmp_path).keys() == {"in.mp4", "o.fvs"}
    assert (tmp_path / "o.fvs").read_bytes() == b"another one's"


def test_a_group_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def write(fault: type[Exception] | None) -> None:
        with OutputGroup() as group:
            for name in ("a", "b"):
                group.open(tmp_path / name).write(name.encode())
            if fault is not None:
                raise fault("no")

    with pytest.raises(KeyError):
        write(KeyError)
    with pytest.raises(OutputError, match=r"b: cannot be written \(no\)"):
        write(OSError)
    assert contents(tmp_path) == {}
    write(None)
    assert contents(tmp_path) == {"a": b"a", "b": b"b"}


def test_file_systems_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with atomic_write(tmp_path / "a") as file:
        file.write(b"first")
    with pytest.raises(OutputError, match="has appeared"), atomic_write(tmp_path / "b") as file:
        (tmp_path / "b").write_bytes(b"theirs")
    assert contents(tmp_path) == {"a": b"first", "b": b"theirs"}


def test_leftovers_of_any_kind_are_left_alone(short: Path, run: Run) -> None:
    """Of killed runs, and what others put there: links, hard links, a FIFO that nobody reads."""
    folder = short.parent
    (folder / "precious").write_bytes(b"precious")
    (folder / "o.fvc.part").hardlink_to(folder / "precious")
    (folder / "o.mp4.part").symlink_to(folder / "precious")
    (folder / ".o.fvc.0123abcd.part").write_bytes(short.read_bytes())
    os.mkfifo(folder / "p.fvc.part")
    before = contents(folder)
    for name in ("o.fvc", "p.fvc"):
        assert run("repair", short, folder / name).code == 0
    assert run("decode", short, "-o", folder / "o.mp4").code == 0
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"o.fvc", "p.fvc", "o.mp4"}
    assert run("repair", folder / ".o.fvc.0123abcd.part", folder / "whole.fvc").code == 0


def test_new_files_have_the_mode_that_umask_says(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            with atomic_write(tmp_path / f"{mask}"):
                pass
        finally:
            os.umask(before)
        assert (tmp_path / f"{mask}").stat().st_mode & 0o777 == mode


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    for name in ("n" * 251 + ".bin", "ü" * 125 + ".bin"):
        with atomic_write(tmp_path / name) as file:
            file.write(b"new")
        assert contents(tmp_path).pop(name) == b"new"


def test_an_output_that_is_a_link_is_written_through(short: Path, run: Run) -> None:
    (short.parent / "elsewhere").mkdir()
    link, target = short.with_name("link.fvc"), short.parent / "elsewhere" / "real.fvc"
    link.symlink_to(target)
    assert run("repair", short, link).code == 0  # it led nowhere yet
    assert (link.is_symlink(), target.is_file()) == (True, True)
    assert run("repair", short, link).code == 6
    assert run("repair", short, link, "--force").code == 0
    assert (link.is_symlink(), [path.name for path in target.parent.iterdir()]) == (True, ["real.fvc"])


def test_kinds_are_known_by_content(short: Path) -> None:
    assert STREAM.holds(short)
    assert VIDEO.holds(short.with_name("talk.mp4"))
    assert not STREAM.holds(short.with_suffix(".fvs"))
    assert not PICTURE.holds(short)
    with pytest.raises(OutputError, match="is not a video"):
        check_output(shutil.copy(short, short.with_name("talk.mkv")), VIDEO, overwrite=True)


# The stream's file


VANISHING = """
import os, sys
import fvc.jobs.decode
real = fvc.jobs.decode.load_sources
def load(*given):
    os.unlink(sys.argv[1])
    open(sys.argv[1], "wb").write(b"another stream")
    if sys.argv[4] == "gone":
        os.unlink(sys.argv[1])
    return real(*given)
fvc.jobs.decode.load_sources = load
fvc.decode(*sys.argv[1:4])
"""


@pytest.mark.parametrize("how", ["gone", "replaced"])
def test_a_stream_that_vanishes_is_decoded(how: str, encoded: Encoded, short: Path) -> None:
    """Its size, length and hash are those of the file that was opened."""
    data, out = short.read_bytes(), short.with_name("out.mp4")
    arguments = [sys.executable, "-W", "ignore", "-c", VANISHING, short, encoded.sources, out, how]
    done = subprocess.run(arguments, check=False, timeout=600, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = read_provenance(out)
    assert found is not None
    assert found["stream"] == hashlib.sha256(data).hexdigest()


def test_sources_beside_the_stream(short: Path, run: Run) -> None:
    assert fvc.decode(short, out=short.with_name("a.mp4"))["frames"]
    short.with_suffix(".fvs").rename(short.with_name("other.fvs"))
    result = run("decode", short)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "there is no talk.fvs beside it; name its --sources" in result.err
    missing = run("decode", short.with_name("none.fvc"))
    assert (missing.code, "none.fvc: no such file" in missing.err) == (3, True)
    wrong = run("decode", short, short.with_name("a.mp4"))
    assert (wrong.code, "-o OUT.mp4" in wrong.err) == (2, True)


def test_names_that_no_file_can_have(short: Path, clip: Path, run: Run) -> None:
    """They are looked up before anything is opened: that ended in tracebacks."""
    long = short.with_name("n" * 300)
    for code, arguments in (
        (3, ("decode", f"{long}.fvc")),
        (6, ("encode", clip, f"{long}.fvc")),
        (6, ("encode", clip, short.with_name("new.fvc"), "--sources-out", long)),
    ):
        result = run(*arguments)
        assert (result.code, result.err.count("\n")) == (code, 1), result.err
        assert "File name too long" in result.err
