"""What is known of faces before the first packet: weights, scales and shapes of `priors.bin` (bitstream_spec.md, A).

`fvc fit-priors` makes the file (`fvc.training.priors`); it is part of the format: another file is another version.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np

from fvc.codec.quantizer import COMPONENTS, USUAL_BITS

MAGIC = b"FVCP\2"
FINE = 12  # predictions are in 1/4096 of a step
OCTAVE = 32  # spreads are in 1/32 octave; 0 is 1/16 of a step
SHAPE_STEPS = 1024  # of a shape, 1/64 of a spread each


@dataclass(frozen=True)
class PartPriors:
    """Priors of one part with n components. All but `order` are in coding order; weights are in 1/4096.

    Attributes:
        order: [n], component that is coded first, second ...
        mean: [n], usual value with 16 bits.
        key_weights: [n, n], strictly lower triangular: what a keyframe's component owes to those before it.
        key_error: [n], expected error of that, 1/4096 of a step of usual bits.
        now_weights: [n, n], strictly lower triangular: the same for changes against the last frame.
        last_weights, mean_weights: [n, n], from the last changes, and from the distances to the running mean.
        error: [n], expected error of these after a keyframe, 1/4096 of a step of usual bits.
        spread: [n], logarithm of spread over expected error, 1/32 octave.
        mix: [6], that of keyframes plus 128; then in 1/64: exponents of expected error, of the last frames' liveliness,
            of this frame's liveliness so far in other frames and in keyframes; how small the last value's error must
            be against the learned prediction's for it to be taken instead.
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
    mix: np.ndarray
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


def pack(priors: dict[str, PartPriors]) -> bytes:
    """The bytes of `priors.bin`."""
    out = bytearray(MAGIC)
    for part, n in COMPONENTS.items():
        out += struct.pack(">BB", n, USUAL_BITS[part])
        for name, (kind, shape) in _layout(n).items():
            array = getattr(priors[part], name)
            out += (
                array[np.tril_indices(n, -1)].astype(kind).tobytes() if shape[-1] < 0 else array.astype(kind).tobytes()
            )
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
        arrays = {}
        for name, (kind, shape) in _layout(n).items():
            count = n * (n - 1) // 2 if shape[-1] < 0 else int(np.prod(shape))
            flat = np.frombuffer(data, kind, count, at).astype(np.int64)
            at += flat.nbytes // 8 * np.dtype(kind).itemsize
            if shape[-1] < 0:
                arrays[name] = np.zeros((n, n), np.int64)
                arrays[name][np.tril_indices(n, -1)] = flat
            else:
                arrays[name] = flat.reshape(shape)
        result[part] = PartPriors(**arrays)
    if at != len(data):
        raise ValueError("the priors file is too long")
    return result


@cache
def load() -> dict[str, PartPriors]:
    """The priors of this version of the format."""
    return unpack(Path(__file__).with_name("priors.bin").read_bytes())


assert [field.name for field in fields(PartPriors)] == list(_layout(1))
