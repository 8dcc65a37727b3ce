"""Transform of the 33 landmarks into 66 coefficients, which the default profile codes instead of coordinates.

    sup = mean + basis^T coefficients

A point distribution model (Cootes et al., CVIU 1995) whose basis is that of changes between frames rather than of
faces. Let M be the quadratic form that weighs a landmark error by what it does to the drawn face, and S the covariance
of the changes. The basis diagonalises both, M to the identity (a Karhunen-Loeve transform in the metric M). Therefore
the distortion is the sum of squares over the coefficients, each can be quantized by itself, and most of the visible
motion is in the first few. The others are nearly always 0 and cost almost no bits.

`shape.bin`, made by `fvc.training.tables.shape`, is part of the format (bitstream_spec.md, A.3).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from fvc.codec.motion.sample import PART_SHAPES

COUNT = int(np.prod(PART_SHAPES["sup"]))  # coefficients, as many as coordinates
_UNIT = 16384  # an integer of the file stands for itself divided by this


def pack(mean: np.ndarray, basis: np.ndarray) -> bytes:
    """The bytes of `shape.bin` for a mean [66] and a basis [66, 66] (one coefficient a row), all within -2..2."""
    return np.rint(_UNIT * np.concatenate([mean, basis.ravel()])).astype(">i2").tobytes()


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64: mean [66], basis [66, 66], its inverse."""
    numbers = np.frombuffer(Path(__file__).with_name("shape.bin").read_bytes(), ">i2") / _UNIT
    basis = numbers[COUNT:].reshape(COUNT, COUNT)
    return numbers[:COUNT], basis, np.linalg.inv(basis)


def coefficients(sup: np.ndarray) -> np.ndarray:
    """The coefficients of landmarks [33, 2] in [-1, 1] of the crop: float64 [66], at most about 8 in size."""
    mean, _, inverse = _tables()
    return (np.asarray(sup, np.float64).ravel() - mean) @ inverse


def landmarks(values: np.ndarray) -> np.ndarray:
    """The landmarks, float32 [33, 2], of coefficients [66]."""
    mean, basis, _ = _tables()
    return (mean + np.asarray(values, np.float64) @ basis).astype(np.float32).reshape(PART_SHAPES["sup"])
