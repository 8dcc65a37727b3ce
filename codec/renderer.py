"""Driving samples -> pictures: the one owner of pose history, retargeting and drawing.

    inputs = renderer.prepare(index, sample)      for every frame that is shown, in order; cheap
    picture = renderer.draw(inputs)               pure; in any order, from any thread, or not at all

Whoever shows pictures of a stream goes through it (`codec.decoder`), so that all show the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from fvc.codec.motion.pose_history import DrawInputs, PoseHistory
from fvc.codec.motion.retarget import Retarget
from fvc.codec.motion.sample import DrivingSample

Draw = Callable[[DrawInputs], np.ndarray]


class Renderer:
    """Draws one stream.

    Args:
        draw: inputs -> uint8 [256, 256, 3]: networks with a source set, as `models.runtime.DrawRuntime`.
        rest: the frontal source's own sample, with the parts of the stream's profile.
        fps: of the stream.
        relative_motion: move as much as the stream's person has since the first frame, which keeps the shape of the
            sources' face (cross-reenactment, see `codec.motion.retarget`).

    Attributes:
        draw: may be replaced when the sources are: a call gets better ones as it goes on.
        rest: what to show before the first face arrives.
    """

    def __init__(self, draw: Draw, rest: DrivingSample, fps: Fraction, relative_motion: bool = False) -> None:
        self.draw, self.rest = draw, rest
        self._history = PoseHistory(fps)
        self._retarget = Retarget(rest) if relative_motion else None

    def prepare(self, index: int, sample: DrivingSample, is_cut: bool = False) -> DrawInputs:
        """What frame `index` is drawn from, now that it shows this sample. Indices rise from call to call.

        Args:
            is_cut: the frame begins a new scene: nothing fades over from the frames before it.
        """
        return self._history.add(index, self._retarget(sample) if self._retarget else sample, is_cut)
