"""High dynamic range and wide primaries: a picture that was put into them comes back as it was in BT.709."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from video_support import H, W, make

from fvc.codec.media.video import VideoReader, read_image

PQ, HLG, BT709_LIKE = 16, 18, 14
BT2020, DISPLAY_P3 = 9, 12
LUMA_BT2020 = np.array([0.2627, 0.6780, 0.0593])
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
TO_P3 = np.array([[0.8225, 0.1774, 0.0000], [0.0332, 0.9669, 0.0000], [0.0171, 0.0724, 0.9108]])


def palette() -> np.ndarray:
    """Skin, hair, cloth and greys in patches of 16x16 pixels, uint8 [48, 64, 3]."""
    patches = [
        *((224, 172, 140), (150, 96, 70), (90, 60, 40), (240, 240, 240)),
        *((200, 60, 40), (40, 110, 60), (50, 70, 160), (128, 128, 128)),
        *((230, 200, 90), (20, 20, 20), (190, 190, 200), (100, 140, 150)),
    ]
    return np.array(patches, np.uint8).reshape(3, 4, 3).repeat(16, 0).repeat(16, 1)


def signal_of(rgb: np.ndarray, transfer: int, matrix: np.ndarray) -> np.ndarray:
    """The R'G'B' signal in [0, 1] of a BT.709 picture whose white is shown at 203 cd/m2."""
    light = (rgb / 255) ** 2.4 @ matrix.T
    if transfer == PQ:
        power = (203 / 10_000 * light) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    if transfer == HLG:
        display = 0.203 * light
        scene = display * np.maximum(display @ LUMA_BT2020, 1e-9)[..., None] ** (1 / 1.2 - 1)
        logarithmic = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithmic)
    return light ** (1 / 2.4)


def clip(path: Path, signal: np.ndarray, transfer: int, primaries: int, full: bool = False) -> Path:
    """Two frames of a signal in 10 bits, Y'CbCr of BT.2020."""
    luma = signal @ LUMA_BT2020
    blue, red = (signal[..., 2] - luma) / 1.8814, (signal[..., 0] - luma) / 1.4746
    if full:
        planes = [luma * 1023, blue * 1023 + 512, red * 1023 + 512]
    else:
        planes = [luma * 876 + 64, blue * 896 + 512, red * 896 + 512]
    frame = av.VideoFrame(W, H, "yuv444p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((H, plane.line_size // 2), np.uint16)
        rows[:, :W] = np.clip(np.rint(values), 0, 1023)
        plane.update(rows.tobytes())

    def setup(stream: Any) -> None:
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = transfer, primaries, 9
        context.color_range = 2 if full else 1

    frame.color_trc, frame.color_primaries, frame.colorspace = transfer, primaries, 9
    frame.color_range = 2 if full else 1
    return make(path, [frame, frame], codec="ffv1", pix_fmt="yuv444p10le", setup=setup)


def read(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return next(iter(reader.frames(Fraction(25)))).rgb


def below_white(rgb: np.ndarray) -> np.ndarray:
    """The part of a picture that is dark enough not to be compressed as a highlight."""
    return (rgb.max(2) < 225)[..., None] & np.ones(3, bool)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("primaries", [BT2020, 2])  # 2: untagged, which is BT.2020 in high dynamic range
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_high_dynamic_range_looks_as_the_original(tmp_path: Path, transfer: int, primaries: int, full: bool) -> None:
    rgb = palette()
    found = read(clip(tmp_path / "a.mkv", signal_of(rgb, transfer, TO_BT2020), transfer, primaries, full))
    error = np.abs(found.astype(int) - rgb)
    assert error[below_white(rgb)].max() <= 5
    assert error.max() <= 12


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_highlights_are_compressed_and_not_cut(tmp_path: Path, transfer: int) -> None:
    """Lights brighter than white stay in order, up to white."""
    steps = np.repeat([160, 200, 240, 280, 330], [16, 16, 16, 8, 8])  # 255: reference white
    rgb = np.broadcast_to(steps[None, :, None], (H, W, 3))
    found = read(clip(tmp_path / "a.mkv", signal_of(rgb, transfer, TO_BT2020), transfer, BT2020))[H // 2, :, 1]
    levels = [int(found[x]) for x in (8, 24, 40, 52, 60)]
    assert levels == sorted(set(levels))
    assert levels[-1] <= 255
    assert abs(levels[0] - 160) <= 3


@pytest.mark.parametrize(("primaries", "matrix"), [(BT2020, TO_BT2020), (DISPLAY_P3, TO_P3)])
def test_wide_primaries_of_standard_range(tmp_path: Path, primaries: int, matrix: np.ndarray) -> None:
    rgb = palette()
    found = read(clip(tmp_path / "a.mkv", signal_of(rgb, BT709_LIKE, matrix), BT709_LIKE, primaries))
    assert np.abs(found.astype(int) - rgb).max() <= 4


def test_still_pictures_of_high_dynamic_range(tmp_path: Path) -> None:
    rgb = palette()
    path = clip(tmp_path / "a.mkv", signal_of(rgb, PQ, TO_BT2020), PQ, BT2020)
    avif = tmp_path / "a.avif"
    with av.open(str(path)) as source, av.open(str(avif), "w") as target:
        frame = next(source.decode(video=0)).reformat(format="yuv420p10le")
        stream = target.add_stream("libsvtav1", 1, {"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = PQ, BT2020, 9, 1
        frame.pts = 0
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    assert np.abs(read_image(avif).astype(int) - rgb).mean() < 6
