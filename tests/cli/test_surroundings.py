"""What surrounds the command line's process: full or closed outputs, and signals while it is still starting."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from conftest import Encoded
from make_vectors import VECTORS

from fvc.cli import export
from fvc.codec.face.source_choice import INITIAL_PICTURES

FVC = [sys.executable, "-m", "fvc"]


@pytest.mark.parametrize(
    "arguments", [["info", str(VECTORS / "annex_b.fvc"), "--json"], ["--help"], ["encode", "-h"], ["--version"]]
)
def test_standard_output_that_is_full(arguments: list[str]) -> None:
    """A traceback came."""
    with open("/dev/full", "w") as full:
        done = subprocess.run([*FVC, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 6
    assert done.stderr == "fvc: standard output: cannot be written (No space left on device)\n"


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", "2>&1 >&-"])
@pytest.mark.parametrize(("argument", "code"), [("nonsense", 2), ("info missing.fvc", 3), ("info --nonsense", 2)])
def test_exit_codes_without_standard_error(where: str, argument: str, code: int) -> None:
    """They were 1; and what belongs on stderr was printed on stdout where that was closed."""
    command = ["sh", "-c", f'exec "$@" {argument} {where}', "sh", *FVC]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == code
    assert (done.stdout == "") == ("1" not in where)


def test_a_job_whose_remarks_cannot_be_written(tmp_path: Path, encoded: Encoded) -> None:
    """It ended with exit code 1 and no output at its first remark."""
    out, silent = tmp_path / "out.fvc", tmp_path / "silent.mp4"
    with av.open(str(encoded.video)) as source, av.open(str(silent), "w") as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    with open("/dev/full", "w") as full:
        command = [*FVC, "encode", str(silent), str(out), "--fps", "2"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert done.returncode == 0
    assert out.exists()


def test_closed_streams_lend_their_numbers_to_no_file(tmp_path: Path) -> None:
    """A library that writes to descriptor 2 would otherwise write into the first file that is opened."""
    code = (
        "import os; from fvc.cli.streams import guard; guard(); print(open(os.devnull).fileno(), file=open('n', 'w'))"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert int((tmp_path / "n").read_text()) > 2


@pytest.mark.parametrize("closed", ["2>&-", ">&-"])
def test_outputs_that_are_closed(closed: str, encoded: Encoded, tmp_path: Path) -> None:
    """Services start programs so. Encoding ended with an AttributeError that nobody saw."""
    out = tmp_path / "out.fvc"
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *FVC, "encode", str(encoded.video), str(out), "--fps", "2"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert out.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("seconds", [0.3, 0.8])
def test_signals_while_it_starts(number: int, code: int, seconds: float, encoded: Encoded, tmp_path: Path) -> None:
    """Packages that were half imported gave an ImportError and exit code 1."""
    command = [*FVC, "encode", str(encoded.video), str(tmp_path / "out.fvc"), "--profile", "sup+unsup+expr"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=_interruptible)
    time.sleep(seconds)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    early = -number  # Python was still starting, before our first line; it shows where
    assert process.returncode in (code, early), said
    assert process.returncode == early or "Error" not in said, said
    assert not list(tmp_path.iterdir())


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it


def _ended_by_interrupt(job: str, folder: Path) -> str:
    """Runs a job of the command line that interrupts itself; returns what it printed."""
    code = (
        f"import os, signal; from fvc import __main__ as entry; from fvc.cli import main, output\n{job}\nentry.main()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, preexec_fn=_interruptible, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "")
    return done.stdout


def test_a_signal_whose_exception_was_lost_ends_the_job_at_its_next_frame(tmp_path: Path) -> None:
    job = (
        "def run():\n"
        "    try: os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt: pass\n"
        "    output.Bar()('encode', 1, 2)\n"
        "main.main = run"
    )
    assert _ended_by_interrupt(job, tmp_path) == ""


def test_a_signal_waits_for_the_end_of_an_import(tmp_path: Path) -> None:
    """C code of packages swallowed the exception, made an ImportError of it, or left half-written files behind."""
    (tmp_path / "package.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('imported')\n")
    job = "def run():\n    import package, time\n    time.sleep(20)\n    print('not ended')\nmain.main = run"
    assert _ended_by_interrupt(job, tmp_path) == "imported\n"


def test_the_command_line_starts_without_the_codec() -> None:
    """One constant of `fvc.cli.export` brought NumPy and OpenCV: `fvc --help` took twice as long."""
    code = "import sys, fvc.cli.main; print(sorted({'numpy', 'cv2', 'av', 'openvino', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout == "[]\n"


def test_coreml_takes_as_many_pictures_as_a_call_begins_with() -> None:
    assert inspect.signature(export.coreml).parameters["sources"].default == INITIAL_PICTURES
