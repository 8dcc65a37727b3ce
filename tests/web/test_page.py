"""The page in Debian's Chromium: with `fvc call`, and in two tabs, each sends and shows; no other host is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fvc.web.server import PAGE

CHROMIUM = Path("/usr/bin/chromium")
HERE = Path(__file__).parent


def run(program: str, out: Path) -> None:
    pytest.importorskip("playwright", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    if not (PAGE / "built" / "landmarks.onnx").exists():
        pytest.skip("the page was not built: make page")
    done = subprocess.run([sys.executable, "-W", "ignore", HERE / program, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("page")
    run("browser_call.py", out)
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("pair")
    run("browser_pair.py", out)
    return json.loads((out / "pair.json").read_text())


def test_the_page_draws_what_fvc_draws(result: dict) -> None:
    figures = result["figures"]
    print(f"{figures['drawn']} pictures, {figures['ms']:.0f} ms each, {figures['psnr']} dB")
    assert figures["drawn"] > 10
    assert figures["psnr"] > 35


def test_sound_arrives(result: dict) -> None:
    assert result["figures"]["loudest"] > 0.01


def test_fvc_shows_the_face_of_the_page(result: dict) -> None:
    (report,), face = result["report"], result["face"]
    print(f"fvc call: {report['frames_decoded']} frames of the page; {face}")
    assert report["frames_decoded"] > 10
    assert report["messages_refused"] == 0
    assert face["faces"] >= face["of"] - 1 > 2
    assert face["error"] < 0.06


def test_no_other_host_is_asked_and_nothing_fails(result: dict, pair: dict) -> None:
    for found in (result, pair):
        assert len(found["hosts"]) == 1
        assert found["faults"] == []


def test_two_tabs_see_and_hear_each_other(pair: dict) -> None:
    for figures, face in zip(pair["figures"], pair["faces"], strict=True):
        print(f"{figures['drawn']} pictures, {figures['own']}, {face}")
        assert figures["drawn"] >= 3
        assert figures["refused"] == 0
        assert figures["loudest"] > 0.01
        assert figures["setups"][0] < 1300  # bytes: a face within two seconds at 8 kbit/s
        assert face["faces"] == face["of"]
        assert face["error"] < 0.06  # the sample's face,
        assert face["moved"] > 0.02  # moving


def test_camera_and_microphone_can_be_switched_off(pair: dict) -> None:
    assert pair["pressed"] == ["false", "false"]
