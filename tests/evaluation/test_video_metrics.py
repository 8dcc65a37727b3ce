"""VMAF and XPSNR: what ffmpeg says of two files, and where there is no ffmpeg."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fvc.codec.base.errors import FvcError
from fvc.evaluation import ffmpeg
from fvc.evaluation.metrics.catalog import MAX_PSNR
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.metrics.video_metrics import VideoMetrics
from fvc.evaluation.pictures import TO_YUV, write_lossless


@pytest.fixture(scope="module")
def pictures(faces: list[np.ndarray]) -> list[np.ndarray]:
    """Four frames of the sample, 256x256."""
    return [cv2.resize(face, (256, 256), interpolation=cv2.INTER_AREA) for face in faces[:4]]


def blurred(pictures: list[np.ndarray], sigma: float) -> list[np.ndarray]:
    return [cv2.GaussianBlur(picture, (0, 0), sigma) for picture in pictures]


def test_as_ffmpeg_says_of_two_files(pictures: list[np.ndarray], tmp_path: Path) -> None:
    drawn = blurred(pictures, 2)
    for name, side in (("original", pictures), ("drawn", drawn)):
        write_lossless(tmp_path / f"{name}.mkv", side, Fraction(25))
    files = [text for name in ("drawn", "original") for text in ("-i", str(tmp_path / f"{name}.mkv"))]
    ends = {"vmaf": f"libvmaf=log_fmt=json:log_path={tmp_path}/vmaf", "xpsnr": f"xpsnr=stats_file={tmp_path}/xpsnr"}
    for end in ends.values():
        graph = f"[0:v]{TO_YUV}[d];[1:v]{TO_YUV}[o];[d][o]{end}"
        ffmpeg.run([*files, "-lavfi", graph, "-f", "null", "-"], 60)
    found = Metrics(None).compare(zip(pictures, drawn, strict=True))
    assert found["vmaf"] == json.loads((tmp_path / "vmaf").read_text())["pooled_metrics"]["vmaf"]["mean"]
    assert f"{found['xpsnr']:.4f}" in (tmp_path / "xpsnr").read_text().splitlines()[-1]


def test_worse_pictures_have_less(pictures: list[np.ndarray]) -> None:
    metrics = Metrics(None)
    rows = [metrics.compare(zip(pictures, blurred(pictures, s), strict=True)) for s in (0.8, 2, 5)]
    for name in ("vmaf", "xpsnr"):
        values = [row[name] for row in rows]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1]
    assert metrics.compare(zip(pictures, pictures, strict=True))["xpsnr"] == MAX_PSNR


def test_where_ffmpeg_is_not_installed(pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "PACKAGE", "no_such_package")
    for function in (ffmpeg.program, ffmpeg._listed):
        monkeypatch.setattr(ffmpeg, function.__name__, function.__wrapped__)
    metrics = Metrics(None)
    assert metrics.missing["vmaf"] == "imageio-ffmpeg is not installed; pip install 'fvc[measure]'"
    found = metrics.compare([(pictures[0], pictures[1])])
    assert found["vmaf"] is found["xpsnr"] is None
    assert found["psnr"] is not None


def test_what_ffmpeg_cannot_do_is_one_line() -> None:
    speck = np.zeros((1, 1, 3), np.uint8)
    with VideoMetrics(("vmaf",)) as video:
        video.add(speck, speck)
        with pytest.raises(FvcError, match=r"^ffmpeg: "):
            video.means()
