"""What a tracker and networks find in one video: the half of the metrics that is computed once for the originals.

Holds a few kB for each frame and no pictures, so that many systems can be compared with one clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fvc.codec.face.finders import MEDIAPIPE
from fvc.codec.face.landmarks import SUP
from fvc.codec.face.tracker import FaceTracker
from fvc.evaluation.metrics.instruments import ActionUnits, FaceView, Networks, Window

BATCH = 8  # pictures that networks get at once
NO_FACE = Window(np.full((5, 2), np.nan, np.float32), np.full(4, np.nan, np.float32))
_MAX_FEATURES = 200  # frames that a clip's median features are computed from


@dataclass(frozen=True)
class Reference:
    """What a tracker and networks found in one video.

    Attributes:
        frames: number of frames.
        every: networks looked at frames 0, every, 2 every ...
        columns: name -> array with a row for each frame ("sup" [T, 33, 2] pixels, "pose" [T, 3] radians, "five"
            [T, 5, 2], "roi" [T, 4]: see `instruments.Window`) or for each frame that networks looked at. Rows without a
            face are NaN. "calibration" [17] belongs to the action units.
    """

    frames: int
    every: int
    columns: dict[str, np.ndarray]

    def window(self, index: int) -> Window | None:
        """Where the face of a frame is; None: it has none."""
        five = self.columns["five"][index]
        return None if np.isnan(five).any() else Window(five, self.columns["roi"][index])

    def first(self, frames: int) -> Reference:
        """The same of the first frames alone; the calibration stays that of all."""
        tracked, rows = ("sup", "pose", "five", "roi"), -(-frames // self.every)
        columns = {
            name: column if name == "calibration" else column[: frames if name in tracked else rows]
            for name, column in self.columns.items()
        }
        return Reference(min(frames, self.frames), self.every, columns)

    def save(self, path: Path) -> None:
        """Writes a .npz."""
        with open(path, "wb") as file:
            np.savez(file, frames=self.frames, every=self.every, **self.columns)

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Reads what `save` wrote. Raises OSError, ValueError, KeyError for other files."""
        with np.load(path, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in stored.files if name not in ("frames", "every")}
            return cls(int(stored["frames"]), int(stored["every"]), columns)


class Observer:
    """Looks at one of the two videos: tracks every frame, shows every n-th to the networks, in batches.

    Args:
        is_original: whether this is the input, whose median features calibrate the action units.
    """

    def __init__(self, networks: Networks, every: int, is_original: bool) -> None:
        self._networks = networks
        self._every = every
        self._is_original = is_original
        self._tracker: FaceTracker | None = None
        self._tracked: dict[str, list[np.ndarray]] = {"sup": [], "pose": [], "five": [], "roi": []}
        self._found: dict[str, dict[int, np.ndarray]] = {n: {} for i in networks.instruments for n in i.columns}
        self._batch: list[tuple[int, FaceView]] = []
        self._features = _Thinned(_MAX_FEATURES)

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._tracker is not None:
            self._tracker.close()

    def add(self, index: int, picture: np.ndarray, window: Window | None) -> Window | None:
        """Looks at a picture through `window` (None: its own). Returns its own window, None where it has no face."""
        if self._tracker is None:
            self._tracker = FaceTracker(tracker=MEDIAPIPE)  # the instruments want all 478 landmarks
        face = self._tracker.track(picture)
        own = None if face is None else Window.around(face.landmarks)
        row = own or NO_FACE
        self._tracked["sup"].append(np.full((len(SUP), 2), np.nan, np.float32) if face is None else face.sup)
        self._tracked["pose"].append(np.array((np.nan,) * 3 if face is None else face.pose, np.float32))
        self._tracked["five"].append(row.five)
        self._tracked["roi"].append(row.roi)
        window = window or own
        if index % self._every == 0 and window is not None and window is not NO_FACE:
            self._batch.append((index, FaceView(picture, window, None if face is None else face.landmarks)))
            if len(self._batch) == BATCH:
                self._ask()
        return own

    def _ask(self) -> None:
        """Shows the batch to all instruments and keeps what they find."""
        views = [view for _, view in self._batch]
        for instrument in self._networks.instruments if views else ():
            answer = instrument(views)
            for name in instrument.columns:
                self._found[name].update(zip((index for index, _ in self._batch), answer[name], strict=True))
            if self._is_original and "features" in answer:
                self._features.extend(answer["features"])
        self._batch = []

    def finish(self) -> Reference:
        """The columns of all frames that were added."""
        self._ask()
        frames = len(self._tracked["sup"])
        columns = {name: np.array(rows, np.float32) for name, rows in self._tracked.items()}
        for instrument in self._networks.instruments:
            for name, shape in instrument.columns.items():
                column = np.full((-(-frames // self._every), *shape), np.nan, np.float32)
                for index, row in self._found[name].items():
                    column[index // self._every] = row
                columns[name] = column
            if isinstance(instrument, ActionUnits) and self._is_original and self._features.rows:
                columns["calibration"] = instrument.calibration(np.median(self._features.rows, axis=0))
        return Reference(frames, self._every, columns)


class _Thinned:
    """At most `limit` rows, evenly spaced over all that were given; rows with NaN are skipped."""

    def __init__(self, limit: int) -> None:
        self._limit, self._stride, self._count = limit, 1, 0
        self.rows: list[np.ndarray] = []

    def extend(self, rows: np.ndarray) -> None:
        for row in rows[~np.isnan(rows).any(1)]:
            if self._count % self._stride == 0:
                self.rows.append(row)
            self._count += 1
            if len(self.rows) > self._limit:
                self.rows, self._stride = self.rows[::2], self._stride * 2
