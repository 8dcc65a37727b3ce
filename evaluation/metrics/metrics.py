"""Metrics of drawn faces against the frames that they stand for. `catalog.CATALOG` says what each of them means.

    metrics = Metrics(Path("weights"), every=5)
    reference = metrics.reference(frames)              # once per clip: a few kB per frame, no pictures
    row = metrics.compare(zip(frames, drawn), reference)

All pictures are uint8 RGB [256, 256, 3], the same crop of both videos. Landmarks come from the sender's own tracker,
run on either video by itself; `nme_landmarker`, `expr_au` and `csim_casia` are second opinions by other instruments.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fvc.evaluation import ffmpeg
from fvc.evaluation.metrics.catalog import CATALOG, Metric
from fvc.evaluation.metrics.face_metrics import FACE_METRICS, widest_mouths
from fvc.evaluation.metrics.frame_metrics import FRAME_METRICS, FramePair
from fvc.evaluation.metrics.instruments import Lpips, Networks, Window
from fvc.evaluation.metrics.reference import BATCH, NO_FACE, Observer, Reference
from fvc.evaluation.metrics.video_metrics import VideoMetrics


class Metrics:
    """Compares drawn pictures with the frames that they stand for.

    Args:
        weights: a folder of networks (see `instruments`); None: only metrics that need none.
        every: LPIPS, SSIM and the networks look at every n-th frame; everything else at all frames.
        instruments: whether networks other than LPIPS are asked.

    Attributes:
        missing: metric -> why it cannot be computed here.
        names: the metrics that `compare` gives, missing ones too.

    Raises:
        InputError: `weights` is no folder. FvcError: a network in it is damaged (on first use).
    """

    def __init__(self, weights: Path | None, every: int = 1, instruments: bool = True) -> None:
        if every < 1:
            raise ValueError(f"every={every}")
        self.every = every
        self.networks = Networks(weights, instruments)
        reasons = {name: self._why_missing(metric) for name, metric in CATALOG.items()}
        self.names = tuple(name for name, why in reasons.items() if not (why and CATALOG[name].is_optional))
        self.missing = {name: why for name in self.names if (why := reasons[name])}

    def _why_missing(self, metric: Metric) -> str | None:
        if metric.package and importlib.util.find_spec(metric.package) is None:
            return f"{metric.package} is not installed; pip install 'fvc[measure]'"
        if metric.filter:
            return ffmpeg.why_missing("filters", metric.filter)
        return self.networks.why_missing(metric.network) if metric.network else None

    def reference(self, frames: Iterable[np.ndarray]) -> Reference:
        """Looks at the original pictures of a clip, in order."""
        with Observer(self.networks, self.every, is_original=True) as observer:
            for index, picture in enumerate(frames):
                observer.add(index, picture, None)
            return observer.finish()

    def compare(
        self, pairs: Iterable[tuple[np.ndarray, np.ndarray]], reference: Reference | None = None
    ) -> dict[str, float | None]:
        """Metric -> its value for the clip; None: it is missing, or no frame had a value. "frames" is their count.

        Args:
            pairs: (original, drawn), all frames of the clip in order.
            reference: the result of `reference` on the originals; None: they are looked at on the way.

        Raises:
            ValueError: `reference` is not of these frames, or two pictures differ in size.
            FvcError: ffmpeg, which computes some metrics, failed.
        """
        if reference is not None and reference.every != self.every:
            raise ValueError(f"the reference looked at every {reference.every} frames, not every {self.every}")
        pixels, count = _PixelSums(self), 0
        filtered = tuple(name for name in self.names if CATALOG[name].filter and name not in self.missing)
        with (
            VideoMetrics(filtered) as video,
            Observer(self.networks, self.every, is_original=False) as drawn_side,
            Observer(self.networks, self.every, is_original=True) as original_side,
        ):
            for original, drawn in _of_equal_size(pairs):
                if reference is None:
                    window = original_side.add(count, original, None)
                elif count < reference.frames:
                    window = reference.window(count)
                else:
                    raise ValueError(f"more frames than the reference's {reference.frames}")
                drawn_side.add(count, drawn, window or NO_FACE)
                pixels.add(count, original, drawn, window)
                video.add(original, drawn)
                count += 1
            reference = reference or original_side.finish()
            if count != reference.frames:
                raise ValueError(f"{count} frames, but the reference has {reference.frames}")
            found = drawn_side.finish()
            means = video.means()
        values: dict[str, float | None] = {**means, **pixels.means(reference), **face_values(reference, found)}
        known = {name: None if name in self.missing else _finite(values.get(name)) for name in self.names}
        return {"frames": count, **known}


def face_values(original: Reference, drawn: Reference) -> dict[str, float | None]:
    """All metrics that compare what trackers and networks found."""
    return {name: compute(original, drawn) for name, compute in FACE_METRICS.items()}


def _of_equal_size(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for original, drawn in pairs:
        if original.shape != drawn.shape:
            raise ValueError(f"pictures of {original.shape} and {drawn.shape}")
        yield original, drawn


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


class _PixelSums:
    """Collects the metrics that look at pixels: those of `frame_metrics`, and LPIPS in batches."""

    def __init__(self, metrics: Metrics) -> None:
        self._every = metrics.every
        self._computed = {name: m for name, m in FRAME_METRICS.items() if name not in metrics.missing}
        self._values: dict[str, list[float]] = {name: [] for name in self._computed}
        self._pair: FramePair | None = None
        networks = metrics.networks.lpips
        self._whole = {name: _Batched(network) for name, network in networks.items()}
        self._mouths = _Batched(networks["lpips"]) if "lpips" in networks else None

    def add(self, index: int, original: np.ndarray, drawn: np.ndarray, window: Window | None) -> None:
        """Takes a frame and its drawing; `window`: around the frame's face, None where it has none."""
        is_sampled = index % self._every == 0
        pair = FramePair(original, drawn) if self._pair is None else self._pair.followed_by(original, drawn)
        for name, metric in self._computed.items():
            if is_sampled or not metric.is_sampled:
                value = metric.compute(pair)
                if value is not None:
                    self._values[name].append(value)
        self._pair = pair
        if is_sampled:
            for batched in self._whole.values():
                batched.add(index, original, drawn)
            if self._mouths is not None and window is not None:
                self._mouths.add(index, window.mouth(original), window.mouth(drawn))

    def means(self, original: Reference) -> dict[str, float]:
        """Metric -> mean over frames; metrics without a value are left out."""
        values = {name: values for name, values in self._values.items() if values}
        values |= {name: list(batched.values().values()) for name, batched in self._whole.items()}
        if self._mouths is not None and (mouths := self._mouths.values()):
            widest = widest_mouths(original, self._every).tolist()
            values["mouth_lpips"] = list(mouths.values())
            values["mouth_lpips_wide"] = [mouths[index] for index in widest]
        return {name: float(np.mean(each)) for name, each in values.items() if each}


class _Batched:
    """LPIPS of pairs of pictures by frame number, computed in batches."""

    def __init__(self, network: Lpips) -> None:
        self._network = network
        self._values: dict[int, float] = {}
        self._batch: list[tuple[int, np.ndarray, np.ndarray]] = []

    def add(self, index: int, original: np.ndarray, drawn: np.ndarray) -> None:
        self._batch.append((index, original, drawn))
        if len(self._batch) == BATCH:
            self._compute()

    def values(self) -> dict[int, float]:
        """Frame number -> distance, of all pairs so far."""
        self._compute()
        return self._values

    def _compute(self) -> None:
        if self._batch:
            indices, originals, drawn = zip(*self._batch, strict=True)
            self._values.update(zip(indices, self._network(originals, drawn).tolist(), strict=True))
        self._batch = []
