"""The page in Debian's Chromium: it joins by keyboard, draws what fvc draws, plays sound, asks no other host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fvc.web.server import PAGE

CHROMIUM = Path("/usr/bin/chromium")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    pytest.importorskip("playwright", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    if not (PAGE / "built").is_dir():
        pytest.skip("the page was not built: make page")
    out = tmp_path_factory.mktemp("page")
    command = [sys.executable, "-W", "ignore", HERE / "browser_call.py", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((out / "result.json").read_text())


def test_the_page_draws_what_fvc_draws(result: dict) -> None:
    figures = result["figures"]
    print(f"{figures['drawn']} pictures, {figures['ms']:.0f} ms each, {figures['psnr']} dB")
    assert figures["drawn"] > 10
    assert figures["psnr"] > 35


def test_sound_arrives(result: dict) -> None:
    assert result["figures"]["loudest"] > 0.01


def test_no_other_host_is_asked_and_nothing_fails(result: dict) -> None:
    assert len(result["hosts"]) == 1
    assert result["faults"] == []
    assert "has left" in result["status"]
