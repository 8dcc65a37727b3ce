"""What surrounds the command line's process: full or closed outputs, and signals while it is still starting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Encoded
from make_vectors import VECTORS

FVC = [sys.executable, "-m", "fvc"]


def test_standard_output_that_is_full() -> None:
    """A traceback came."""
    with open("/dev/full", "w") as full:
        command = [*FVC, "info", str(VECTORS / "annex_b.fvc"), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 6
    assert done.stderr == "fvc: standard output: cannot be written (No space left on device)\n"


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
    early = -number  # Python itself had not started yet
    assert process.returncode in (code, early), said
    assert "Error" not in said
    assert not list(tmp_path.iterdir())


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
