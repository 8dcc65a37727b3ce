"""Values finer than a step: where the sender's landmarks most probably were, given the integers and their predictions
(bitstream_spec.md, 8.2). Receiver only; integers, and what is predicted from them, do not depend on it.

An integer says where one landmark is, to a step or what the sender thought its bits are worth. What became of the
predictions says more: they are finer than a step, and where some landmarks have moved away from theirs, the others have
probably moved as well, though not far enough for another integer. `refine.bin`, fitted by `fvc.training.refinement`,
says by how much. It holds for `sup`; the other parts stay as they are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from fvc.codec.priors import FINE
from fvc.codec.sample import PART_SHAPES

PART = "sup"
_N = int(np.prod(PART_SHAPES[PART]))
_HALF = 1 << (FINE - 1)
MOST = 1 << FINE  # a step: how far a value may move


def pack(fractions: np.ndarray, signs: np.ndarray) -> bytes:
    """Two matrices [66, 66] in 1/4096 -> the bytes of `refine.bin`."""
    return np.stack([fractions, signs]).astype(">i2").tobytes()


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """int64 [66, 66] each: what the fractions and the signs of all (columns) say of each component (rows)."""
    data = Path(__file__).with_name("refine.bin").read_bytes()
    fractions, signs = np.frombuffer(data, ">i2").reshape(2, _N, _N).astype(np.int64)
    return fractions, signs


def features(apart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions minus values in 1/4096 of a step, int64 [..., n] -> fractions in 1/4096, and signs of what is more.

    Up to half a step the difference counts as it is: the integer is the predicted one. Beyond, only its sign counts.
    """
    is_near = np.abs(apart) <= _HALF
    return np.where(is_near, apart, 0), np.where(is_near, 0, np.sign(apart))


def refine(values: np.ndarray, predictions: np.ndarray, top: int) -> np.ndarray:
    """A frame's components of sup in coding order, and their predictions in 1/4096 -> finer values, in 1/4096.

    Args:
        values, predictions: int64 [66].
        top: the largest integer.
    """
    near, far = features(predictions - (values << FINE))
    fractions, signs = _table()
    offset = (fractions @ near >> FINE) + signs @ far
    return np.clip((values << FINE) + np.clip(offset, -MOST, MOST), 0, top << FINE)
