"""Driving samples -> pictures: the one owner of pose history, retargeting and drawing.

    inputs = renderer.prepare(index, sample)      for every frame that is shown, in order; cheap
    picture = renderer.draw(inputs)               pure; in any order, from any thread, or not at all
    picture = renderer.show(layered)              the same where the stream has a video layer

All code that shows pictures of a stream uses it (through `codec.decoder`), so that all show the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from threading import Lock

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.media.resizing import resized
from fvc.codec.motion.pose_history import DrawInputs, PoseHistory
from fvc.codec.motion.retarget import Retarget
from fvc.codec.motion.sample import DrivingSample
from fvc.codec.wire.scenes import Scenes

Draw = Callable[[DrawInputs], np.ndarray]
Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]
_KEPT = 3  # scenes whose networks are kept


class SceneDraw:
    """Draws each frame from the source pictures of its scene. May be called from several threads.

    Only the scenes that were needed last are kept, because each takes memory for its networks.

    Args:
        scenes: of the stream.
        count: of source pictures that are there.
        draw_from: numbers of pictures -> what draws from these.
    """

    def __init__(self, scenes: Scenes, count: int, draw_from: Callable[[Sequence[int]], Draw]) -> None:
        self._scenes, self._count = scenes, count
        self._draw_from = lru_cache(_KEPT)(draw_from)
        self._one_at_a_time = Lock()

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """Returns the picture, uint8 [S, S, 3]."""
        with self._one_at_a_time:
            draw = self._draw_from(self._scenes.pictures(inputs.frame, self._count))
        return draw(inputs)


@dataclass(frozen=True)
class Layered:
    """A frame for which the video layer has a picture.

    Attributes:
        inputs: what to draw the frame from; None: nothing is known of the face.
        picture: the layer's, uint8 [256, 256, 3].
    """

    inputs: DrawInputs | None
    picture: np.ndarray


class Renderer:
    """Draws one stream.

    Args:
        draw: inputs -> uint8 [S, S, 3]: networks bound to a source set, such as `models.inference.drawing.DrawRuntime`.
        rest: the frontal source's own sample, with the parts of the stream's profile.
        fps: of the stream.
        relative_motion: move the sources' face by what the stream's person has moved since the first frame, which
            keeps its shape (cross-reenactment, see `codec.motion.retarget`).
        fuse: (layer's picture, drawn picture) -> what is shown, uint8 [256, 256, 3] each, such as
            `models.inference.fusing.FuseRuntime`; None: the layer is not shown.
        side: S, of the pictures that are drawn: 256 or 512 pixels.

    Attributes:
        draw: may be replaced when the sources are: a call gets better ones as it goes on.
        rest: what to show before the first face arrives.
    """

    def __init__(
        self,
        draw: Draw,
        rest: DrivingSample,
        fps: Fraction,
        relative_motion: bool = False,
        fuse: Fuse | None = None,
        side: int = SIDE,
    ) -> None:
        self.draw, self.rest, self._fuse, self.side = draw, rest, fuse, side
        self._history = PoseHistory(fps)
        self._retarget = Retarget(rest) if relative_motion else None

    def prepare(self, index: int, sample: DrivingSample, is_cut: bool = False) -> DrawInputs:
        """Takes the sample of frame `index`; returns the inputs to draw it from. Indices rise from call to call.

        Args:
            is_cut: the frame begins a new scene: nothing from the frames before it fades out.
        """
        return self._history.add(index, self._retarget(sample) if self._retarget else sample, is_cut)

    @property
    def shows_layers(self) -> bool:
        """Whether pictures of a video layer are of use."""
        return self._fuse is not None

    def show(self, layered: Layered) -> np.ndarray:
        """The picture of a frame with a video layer: both fused, or the layer restored where no face is known."""
        assert self._fuse is not None
        drawn = layered.picture if layered.inputs is None else self.draw(layered.inputs)
        return resized(self._fuse(layered.picture, resized(drawn, SIDE)), self.side)
