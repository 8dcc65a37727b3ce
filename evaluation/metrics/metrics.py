"""Metrics of drawn faces against the frames that they stand for (DESIGN section 8): what each number means is in
`METRICS`.

    metrics = Metrics(Path("weights"), every=5)
    reference = metrics.reference(frames)              # once per clip: a few kB per frame, no pictures
    row = metrics.compare(zip(frames, drawn), reference)

All pictures are uint8 RGB [256, 256, 3], the same crop of both videos. Landmarks come from the sender's own tracker,
run on either video by itself; `nme_landmarker`, `expr_au` and `csim_casia` are second opinions by other instruments.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fvc.codec.face.tracker import SUP
from fvc.evaluation.metrics.instruments import Networks
from fvc.evaluation.metrics.reference import BATCH, NOWHERE, Reference, Side

# name -> (what it is, in which unit; whether higher is better). All are means over frames.
METRICS: dict[str, tuple[str, bool]] = {
    "lpips": ("LPIPS v0.1, SqueezeNet", False),
    "lpips_alex": ("LPIPS v0.1, AlexNet", False),
    "lpips_vgg": ("LPIPS v0.1, VGG-16", False),
    "nme": (
        "mean distance of the 33 sup landmarks over the distance of the outer eye corners, sender's tracker",
        False,
    ),
    "nme_landmarker": ("the same, MediaPipe face landmarker on each frame by itself", False),
    "pose_deg": ("head pose: mean absolute error of yaw, pitch and roll, degrees", False),
    "yaw_deg": ("yaw alone, degrees", False),
    "pitch_deg": ("pitch alone, degrees", False),
    "roll_deg": ("roll alone, degrees", False),
    "mouth": ("mean absolute error of inner lip gap over outer eye distance", False),
    "eyes": ("mean absolute error of lid gap over outer eye distance, both eyes", False),
    "csim": ("cosine of face-recognition embeddings, MobileFaceNet y1 (MS1M)", True),
    "csim_casia": ("the same, MobileFaceNet (CASIA-WebFace)", True),
    "expr": ("1 - mean absolute difference of 52 blendshapes, MediaPipe face landmarker", True),
    "expr_au": ("1 - mean absolute difference of 17 action-unit intensities / 5, OpenFace", True),
    "flicker": ("mean absolute difference of the frame differences, in levels 0..255", False),
    "jumps": (
        "share of frames in which a place of 32x32 pixels changes by 12 levels or more that is still in the input: "
        "changes by less than 4",
        False,
    ),
    "psnr": ("PSNR of RGB, dB, at most 100 for a frame", True),
    "ssim": ("SSIM of luma (Gaussian window, sigma 1.5)", True),
    "lost": ("share of frames whose drawing shows no face to the tracker", False),
}
ALWAYS = ("nme", "pose_deg", "yaw_deg", "pitch_deg", "roll_deg", "mouth", "eyes", "flicker", "jumps", "psnr", "lost")
MAX_PSNR = 100.0  # dB, of identical frames, as in libaom's statistics
_PLACE, _JUMP, _STILL = 32, 12.0, 4.0  # pixels, levels, levels: see "jumps"
_OUTER_EYES = SUP.index(33), SUP.index(263)
_LIDS = (SUP.index(159), SUP.index(145)), (SUP.index(386), SUP.index(374))
_LIPS = SUP.index(13), SUP.index(14)


class Metrics:
    """Compares drawn pictures with the frames that they stand for.

    Args:
        weights: a folder of networks (see `instruments`); None: only what needs none.
        every: LPIPS, SSIM and the networks look at every n-th frame; everything else at all frames.
        instruments: whether networks other than LPIPS are asked.

    Attributes:
        missing: metric -> why it cannot be had here.
        names: the metrics that `compare` gives, missing ones too.

    Raises:
        InputError: `weights` is no folder. FvcError: a network in it is damaged (on first use).
    """

    def __init__(self, weights: Path | None, every: int = 1, instruments: bool = True) -> None:
        if every < 1:
            raise ValueError(f"every={every}")
        self.every = every
        self.networks = Networks(weights, instruments)
        self.missing = dict(self.networks.missing)
        if importlib.util.find_spec("skimage") is None:
            self.missing["ssim"] = "scikit-image is not installed; pip install 'fvc[measure]'"
        optional = {"lpips_alex", "lpips_vgg"} - {f"lpips_{net}" for net in self.networks.lpips}
        self.names = tuple(name for name in METRICS if name not in optional)

    def reference(self, frames: Iterable[np.ndarray]) -> Reference:
        """Looks at the original pictures of a clip, in order."""
        with Side(self.networks, self.every, calibrate=True) as side:
            for index, picture in enumerate(frames):
                side.add(index, picture, None)
            return side.finish()

    def compare(
        self, pairs: Iterable[tuple[np.ndarray, np.ndarray]], reference: Reference | None = None
    ) -> dict[str, float | None]:
        """Metric -> its value for the clip; None where it is missing or no frame could tell. "frames" is their count.

        Args:
            pairs: (original, drawn), all frames of the clip in order.
            reference: what `reference` said of the originals; None: they are looked at on the way.
        """
        if reference is not None and reference.every != self.every:
            raise ValueError(f"the reference looked at every {reference.every} frames, not every {self.every}")
        pixels = _Pixels(self)
        with (
            Side(self.networks, self.every, calibrate=False) as drawn_side,
            Side(self.networks, self.every, calibrate=True) as original_side,
        ):
            count = 0
            for index, (original, drawn) in enumerate(pairs):
                if original.shape != drawn.shape:
                    raise ValueError(f"pictures of {original.shape} and {drawn.shape}")
                if reference is None:
                    window = original_side.add(index, original, None)
                elif index < reference.frames:
                    window = reference.window(index)
                else:
                    raise ValueError(f"more frames than the reference's {reference.frames}")
                drawn_side.add(index, drawn, window or NOWHERE)
                pixels.add(index, original, drawn)
                count += 1
            if reference is None:
                reference = original_side.finish()
            elif count != reference.frames:
                raise ValueError(f"{count} frames, but the reference has {reference.frames}")
            values = {**pixels.finish(), **differences(reference, drawn_side.finish())}
        missing = {name for name in self.names if name in self.missing}
        return {
            "frames": count,
            **{name: None if name in missing else _finite(values.get(name)) for name in self.names},
        }


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


class _Pixels:
    """What needs both pictures at once."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._sums: dict[str, list[float]] = {"flicker": [], "jumps": [], "psnr": [], "ssim": []}
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # original and drawn of the frame before

    def add(self, index: int, original: np.ndarray, drawn: np.ndarray) -> None:
        error = drawn.astype(np.int16) - original
        if self._last is not None:
            moved, changed = original.astype(np.int16) - self._last[0], drawn.astype(np.int16) - self._last[1]
            self._sums["flicker"].append(float(np.abs(changed - moved).mean()))
            self._sums["jumps"].append(float(((_sizes(changed) >= _JUMP) & (_sizes(moved) < _STILL)).any()))
        self._last = original, drawn
        mse = float(np.square(error, dtype=np.float32).mean())
        self._sums["psnr"].append(min(10 * np.log10(255**2 / mse), MAX_PSNR) if mse else MAX_PSNR)
        if index % self._metrics.every == 0:
            if "ssim" not in self._metrics.missing:
                self._sums["ssim"].append(_ssim(original, drawn))
            self._waiting.append((original, drawn))
            if len(self._waiting) == BATCH:
                self._ask()

    def _ask(self) -> None:
        for net, network in self._metrics.networks.lpips.items() if self._waiting else ():
            name = "lpips" if net == "squeeze" else f"lpips_{net}"
            self._sums.setdefault(name, []).extend(network(*zip(*self._waiting, strict=True)).tolist())
        self._waiting = []

    def finish(self) -> dict[str, float]:
        self._ask()
        return {name: float(np.mean(values)) for name, values in self._sums.items() if values}


def _sizes(differences: np.ndarray) -> np.ndarray:
    """Mean absolute difference in levels of each place of `_PLACE` x `_PLACE` pixels."""
    size = differences.shape[1] // _PLACE, differences.shape[0] // _PLACE
    means = cv2.resize(np.abs(differences).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(means.mean(-1))


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    luma = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (a, b)]
    window: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(*luma, data_range=255, **window))


def _distance(points: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """[..., 33, 2] -> [...], between two of them."""
    return np.linalg.norm(points[..., pair[0], :] - points[..., pair[1], :], axis=-1)


def eye_distance(sup: np.ndarray) -> np.ndarray:
    """Sup landmarks [..., 33, 2] -> [...], between the outer eye corners."""
    return _distance(sup, _OUTER_EYES)


def nme(x: np.ndarray, y: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Mean distance of landmarks [..., K, 2] over `over` [...] -> [...]."""
    return np.asarray(np.linalg.norm(x - y, axis=-1).mean(-1) / over)


def _mean(values: np.ndarray) -> float:
    """Over what is not NaN; NaN where all is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def differences(original: Reference, drawn: Reference) -> dict[str, float]:
    """All metrics that compare columns; frames where one side has no face count in `lost` only."""
    a, b = original.columns, drawn.columns
    ruler, own_ruler = eye_distance(a["sup"]), eye_distance(b["sup"])
    sampled = ruler[:: original.every]

    def gap(pair: tuple[int, int]) -> np.ndarray:
        return np.abs(_distance(a["sup"], pair) / ruler - _distance(b["sup"], pair) / own_ruler)

    turn = np.abs(np.degrees((b["pose"] - a["pose"] + np.pi) % (2 * np.pi) - np.pi))
    has_face = ~np.isnan(a["sup"][:, 0, 0])
    values = {
        "nme": _mean(nme(a["sup"], b["sup"], ruler)),
        "pose_deg": _mean(turn),
        **{f"{angle}_deg": _mean(turn[:, n]) for n, angle in enumerate(("yaw", "pitch", "roll"))},
        "mouth": _mean(gap(_LIPS)),
        "eyes": _mean(np.stack([gap(pair) for pair in _LIDS])),
        "lost": _mean(np.isnan(b["sup"][has_face, 0, 0]).astype(float)),
    }
    for name, column in (("csim", "identity"), ("csim_casia", "identity_casia")):
        if column in a:
            values[name] = _mean(np.clip((a[column] * b[column]).sum(-1), -1, 1))
    if "blendshapes" in a:
        values["nme_landmarker"] = _mean(nme(a["landmarker"], b["landmarker"], sampled))
        values["expr"] = 1 - _mean(np.abs(a["blendshapes"] - b["blendshapes"]).mean(-1))
    if "action_units" in a and "calibration" in a:
        x, y = (np.clip(side["action_units"] - a["calibration"], 0, 5) for side in (a, b))
        values["expr_au"] = 1 - _mean(np.abs(x - y).mean(-1)) / 5
    return values
