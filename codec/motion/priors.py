"""Prior knowledge of faces: weights, scales and error distributions (bitstream_spec.md, A).

`fvc fit-priors` makes the file (`fvc.training.tables.priors`); it is part of the format: another file would
be another version.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.motion.quantizer import COMPONENTS, USUAL_BITS

MAGIC = b"FVCP\2"
SHAPE_STEPS = 1024  # entries of an error distribution, 1/64 of a spread apart
_MIX = (  # the file's element `mix`: one byte each, in this order
    "key_spread_offset",
    "error_exponent",
    "recent_activity_exponent",
    "frame_activity_exponent",
    "key_activity_exponent",
    "hold_threshold",
)
_KEY_SPREAD_ZERO = 128  # the byte that stands for a key_spread_offset of 0


@dataclass(frozen=True)
class PartPriors:
    """Priors of one part with n components. All but `order` are in coding order; weights are in 1/4096.

    Attributes:
        order: int64 [n], the component that is coded first, second ...
        mean: [n], the mean face's values with 16 bits.
        key_weights: [n, n], strictly lower triangular: how a keyframe's earlier components correct a prediction.
        key_error: [n], expected error of that prediction, 1/4096 of a step of the usual bits.
        now_weights: [n, n], strictly lower triangular: the same for changes since the last frame.
        last_weights, mean_weights: [n, n], of the last frame's changes, and of the distances to the running means.
        error: [n], expected error of these right after a keyframe, 1/4096 of a step of the usual bits.
        spread: [n], logarithm of spread over expected error, 1/32 octave.
        key_spread_offset: the same for all components of keyframes, 1/32 octave, -128 to 127.
        error_exponent: by how much the spread follows the expected error, 1/64.
        recent_activity_exponent: by how much it follows the activity of the last frames, 1/64.
        frame_activity_exponent: by how much it follows the activity of this frame so far, 1/64.
        key_activity_exponent: the same in keyframes, 1/64.
        hold_threshold: the last value is held where its error is below this share of the learned prediction's, 1/64.
        shape: [SHAPE_STEPS], 65536 times the probability of an error between 0 and k/64 spreads.
    """

    order: np.ndarray
    mean: np.ndarray
    key_weights: np.ndarray
    key_error: np.ndarray
    now_weights: np.ndarray
    last_weights: np.ndarray
    mean_weights: np.ndarray
    error: np.ndarray
    spread: np.ndarray
    key_spread_offset: int
    error_exponent: int
    recent_activity_exponent: int
    frame_activity_exponent: int
    key_activity_exponent: int
    hold_threshold: int
    shape: np.ndarray


def _layout(n: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Element -> (type, shape) in the order of the file; a matrix (n, -1) is strictly lower triangular, row by row."""
    return {
        "order": (">u1", (n,)),
        "mean": (">u2", (n,)),
        "key_weights": (">i2", (n, -1)),
        "key_error": (">u4", (n,)),
        "now_weights": (">i2", (n, -1)),
        "last_weights": (">i2", (n, n)),
        "mean_weights": (">i2", (n, n)),
        "error": (">u4", (n,)),
        "spread": (">i2", (n,)),
        "mix": (">u1", (6,)),
        "shape": (">u2", (SHAPE_STEPS,)),
    }


def pack(priors: Mapping[str, PartPriors]) -> bytes:
    """The bytes of `priors.bin`."""
    out = bytearray(MAGIC)
    for part, n in COMPONENTS.items():
        out += struct.pack(">BB", n, USUAL_BITS[part])
        for name, (kind, shape) in _layout(n).items():
            array = _mix_of(priors[part]) if name == "mix" else getattr(priors[part], name)
            out += (array[np.tril_indices(n, -1)] if shape[-1] < 0 else array).astype(kind).tobytes()
    return bytes(out)


def unpack(data: bytes) -> dict[str, PartPriors]:
    """The inverse of `pack`; raises ValueError for anything else."""
    if not data.startswith(MAGIC):
        raise ValueError("not a priors file")
    at, result = len(MAGIC), {}
    for part, n in COMPONENTS.items():
        if struct.unpack_from(">BB", data, at) != (n, USUAL_BITS[part]):
            raise ValueError(f"priors of {part} are for other components")
        at += 2
        arrays: dict[str, np.ndarray] = {}
        for name, (kind, shape) in _layout(n).items():
            count = n * (n - 1) // 2 if shape[-1] < 0 else int(np.prod(shape))
            flat = np.frombuffer(data, kind, count, at).astype(np.int64)
            at += flat.nbytes // 8 * np.dtype(kind).itemsize
            if shape[-1] < 0:
                arrays[name] = np.zeros((n, n), np.int64)
                arrays[name][np.tril_indices(n, -1)] = flat
            else:
                arrays[name] = flat.reshape(shape)
        numbers = dict(zip(_MIX, arrays.pop("mix").tolist(), strict=True))
        numbers["key_spread_offset"] -= _KEY_SPREAD_ZERO
        named: dict[str, Any] = arrays | numbers
        result[part] = PartPriors(**named)
    if at != len(data):
        raise ValueError("the priors file is too long")
    return result


def _mix_of(priors: PartPriors) -> np.ndarray:
    numbers = np.array([getattr(priors, name) for name in _MIX])
    numbers[0] += _KEY_SPREAD_ZERO
    return numbers


@cache
def load() -> dict[str, PartPriors]:
    """The priors of this version of the format."""
    return unpack(Path(__file__).with_name("priors.bin").read_bytes())
