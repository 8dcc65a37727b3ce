"""What trackers and networks say of one video: the half of the metrics that is done once for the originals.

Holds a few kB for each frame and no pictures, so that many systems can be compared with one clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fvc.codec.face.tracker import FaceTracker
from fvc.evaluation.metrics.instruments import ActionUnits, Look, Networks, Window

BATCH = 8  # pictures that networks see at once
_MAX_FEATURES = 200  # frames that a clip's median features are taken of
NOWHERE = Window(np.full((5, 2), np.nan, np.float32), np.full(4, np.nan, np.float32))


@dataclass(frozen=True)
class Reference:
    """What trackers and networks say of one video.

    Attributes:
        frames: how many it has.
        every: networks looked at frames 0, every, 2 every ...
        columns: name -> array with a row for each frame ("sup" [T, 33, 2] pixels, "pose" [T, 3] radians, "five"
            [T, 5, 2], "roi" [T, 4]: see `networks.Window`) or for each frame that networks looked at. Rows without a
            face are NaN. "calibration" [17] belongs to the action units.
    """

    frames: int
    every: int
    columns: dict[str, np.ndarray]

    def window(self, index: int) -> Window | None:
        """Where the face of a frame is; None: nowhere."""
        five = self.columns["five"][index]
        return None if np.isnan(five).any() else Window(five, self.columns["roi"][index])

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


class Side:
    """Looks at one of the two videos: tracks every frame, shows every n-th to the networks, in batches.

    Args:
        calibrate: whether this is the original, whose median features the action units want.
    """

    def __init__(self, networks: Networks, every: int, calibrate: bool) -> None:
        self._networks, self._every, self._calibrate = networks, every, calibrate
        self._tracker: FaceTracker | None = None
        self._rows: dict[str, list[np.ndarray]] = {"sup": [], "pose": [], "five": [], "roi": []}
        self._seen: dict[str, dict[int, np.ndarray]] = {n: {} for i in networks.instruments for n in i.columns}
        self._waiting: list[tuple[int, Look]] = []
        self._features = _Thinned(_MAX_FEATURES)

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._tracker is not None:
            self._tracker.close()

    def add(self, index: int, picture: np.ndarray, window: Window | None) -> Window | None:
        """Looks at a picture through `window` (None: its own). Returns its own window, None where it has no face."""
        if self._tracker is None:
            self._tracker = FaceTracker()
        face = self._tracker.track(picture)
        own = None if face is None else Window.around(face.landmarks)
        shown = own or NOWHERE
        self._rows["sup"].append(np.full((33, 2), np.nan, np.float32) if face is None else face.sup)
        self._rows["pose"].append(np.array((np.nan,) * 3 if face is None else face.pose, np.float32))
        self._rows["five"].append(shown.five)
        self._rows["roi"].append(shown.roi)
        window = window or own
        if index % self._every == 0 and window is not None and window is not NOWHERE:
            self._waiting.append((index, Look(picture, window, None if face is None else face.landmarks)))
            if len(self._waiting) == BATCH:
                self._ask()
        return own

    def _ask(self) -> None:
        looks = [look for _, look in self._waiting]
        for instrument in self._networks.instruments if looks else ():
            said = instrument(looks)
            for name in instrument.columns:
                rows = zip((index for index, _ in self._waiting), said[name], strict=True)
                self._seen[name].update(rows)
            if self._calibrate and "features" in said:
                self._features.extend(said["features"])
        self._waiting = []

    def finish(self) -> Reference:
        """Everything that was seen."""
        self._ask()
        frames = len(self._rows["sup"])
        columns = {name: np.array(rows, np.float32) for name, rows in self._rows.items()}
        for instrument in self._networks.instruments:
            for name, shape in instrument.columns.items():
                column = np.full((-(-frames // self._every), *shape), np.nan, np.float32)
                for index, row in self._seen[name].items():
                    column[index // self._every] = row
                columns[name] = column
            if isinstance(instrument, ActionUnits) and self._calibrate and self._features.rows:
                columns["calibration"] = instrument.calibration(np.median(self._features.rows, axis=0))
        return Reference(frames, self._every, columns)


class _Thinned:
    """At most `limit` rows, evenly spaced over all that were given; rows with NaN are passed over."""

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
