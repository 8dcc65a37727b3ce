"""`fvc evaluate` and `fvc measure` over many clips: killed and resumed, in processes and on Ray."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Run

from fvc.codec.dataset import find_clips
from fvc.evaluation.presets import clip_job
from fvc.evaluation.presets.clip_job import ClipJob, ClipResult
from fvc.evaluation.presets.evaluate import evaluate
from fvc.models.presets import DEFAULT

FPS = "2"
NAMES = {"a.mp4", "b.mp4", "c.mp4", "d.mp4"}


@pytest.mark.skipif(sys.platform == "win32", reason="it has no process groups")
def test_a_killed_evaluation_goes_on_with_the_other_clips(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "val").mkdir()
    for name in NAMES:
        shutil.copy(clip, tmp_path / "val" / name)
    command = [sys.executable, "-m", "fvc", "evaluate", DEFAULT, "--data", tmp_path, "--cache", tmp_path / "cache"]
    options = ["--fps", FPS, "--every", "9", "--jobs", "2"]
    process = subprocess.Popen(
        [*map(str, command), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that its workers can be killed with it
    )
    try:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "cache").glob("clip-*.npz")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    kept, again = len(list((tmp_path / "cache").glob("clip-*.npz"))), list[str]()
    assert kept >= 1

    def work(job: ClipJob, *_: object) -> ClipResult:
        again.append(job.name)
        return ClipResult()

    monkeypatch.setattr(clip_job, "_evaluate", work)
    result = evaluate([DEFAULT], tmp_path, cache=tmp_path / "cache", fps=FPS, every=9)
    assert len(again) == len(NAMES) - kept
    assert {row["clip"] for row in result.rows} | set(again) == NAMES


def test_clips_of_trees_have_names_of_their_own(tmp_path: Path) -> None:
    """VoxCeleb repeats the names of files; of DFDC only real videos count."""
    for name in ("vox/id00012/x/00001.mp4", "vox/id00012/y/00001.mp4", "dfdc/part_0/a.mp4", "dfdc/part_0/b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dfdc/part_0/metadata.json").write_text(json.dumps({"a.mp4": {"label": "REAL"}}))
    assert [file.name for file in find_clips(tmp_path, "vox")] == ["id00012+x+00001.mp4", "id00012+y+00001.mp4"]
    assert [file.name for file in find_clips(tmp_path, "dfdc")] == ["part_0+a.mp4"]
    assert [file.name for file in find_clips(tmp_path, "vox", half="second")] == ["id00012+y+00001.mp4"]


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'fvc[ray]'")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_measuring_on_ray_gives_what_one_process_gives(run: Run, clip: Path, tmp_path: Path) -> None:
    options = ("--codecs", "svtav1", "--seconds", 1, "--profiles", "sup", "--cache", tmp_path / "cache")
    found = []
    for backend in ("ray", "process"):
        result = run("measure", clip, "--out", tmp_path / backend, *options, "--backend", backend, "--jobs", 2)
        assert result.code == 0, result.err
        [measured] = json.loads((tmp_path / backend / "results.json").read_text())["clips"]
        found.append([(point["system"], point["label"], point["spans"]) for point in measured["points"]])
    assert found[0] == found[1]
