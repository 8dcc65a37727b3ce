"""Landmarks as coefficients of a basis of faces: what the default profile codes instead of coordinates.

A point distribution model (Cootes et al., CVIU 1995) whose axes are those of change, not of faces: sup = mean + basis^T
coefficients, 66 of each. With M the form that says what of an error is seen in the drawn face and S the covariance of
the changes between frames, the basis makes both diagonal, M to the identity (a Karhunen-Loeve transform in a metric).
So errors of the coefficients do not add up, each can be rounded by itself, and what moves together, and is seen, is in
the first few; the rest are nearly always 0, which costs next to nothing.

`shape.bin`, made by `fvc.training.tables.shape`, is part of the format (bitstream_spec.md, A.3).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from fvc.codec.motion.sample import PART_SHAPES

COUNT = int(np.prod(PART_SHAPES["sup"]))
_UNIT = 16384  # of the integers in the file


def pack(mean: np.ndarray, basis: np.ndarray) -> bytes:
    """mean [66], basis [66, 66] (a coefficient in each row), all below 2 in size -> the bytes of `shape.bin`."""
    return np.rint(_UNIT * np.concatenate([mean, basis.ravel()])).astype(">i2").tobytes()


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64: mean [66], basis [66, 66], its inverse."""
    numbers = np.frombuffer(Path(__file__).with_name("shape.bin").read_bytes(), ">i2") / _UNIT
    basis = numbers[COUNT:].reshape(COUNT, COUNT)
    return numbers[:COUNT], basis, np.linalg.inv(basis)


def coefficients(sup: np.ndarray) -> np.ndarray:
    """Landmarks [33, 2] in [-1, 1] of the crop -> float64 [66], of about that size times 8 at most."""
    mean, _, inverse = _tables()
    return (np.asarray(sup, np.float64).ravel() - mean) @ inverse


def landmarks(values: np.ndarray) -> np.ndarray:
    """Coefficients [66] -> float32 [33, 2]."""
    mean, basis, _ = _tables()
    return (mean + np.asarray(values, np.float64) @ basis).astype(np.float32).reshape(PART_SHAPES["sup"])
