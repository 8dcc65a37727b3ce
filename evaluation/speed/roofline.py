"""Roofline of a network: its multiplications and bytes against a big matrix product and a big copy, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

_MATMUL = 1536  # side of the square matrices
_COPY = 1 << 27  # bytes, well beyond the caches


def _best(work: Callable[[], object], seconds: float) -> float:
    """The shortest of many runs, seconds."""
    work()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def machine_peak(seconds: float = 1.0) -> dict[str, float]:
    """Measures the machine's limits, for `seconds` each.

    Returns:
        "gmacs": 10^9 float32 multiply-adds per second of a big matrix product, on all cores that NumPy's BLAS uses;
        "gb_s": 10^9 bytes per second, read and written, of a big copy on one core.
    """
    a, b = (np.random.default_rng(n).random((_MATMUL, _MATMUL), np.float32) for n in range(2))
    out, source, target = np.empty_like(a), np.ones(_COPY, np.uint8), np.empty(_COPY, np.uint8)
    return {
        "gmacs": _MATMUL**3 / _best(lambda: np.matmul(a, b, out), seconds) / 1e9,
        "gb_s": 2 * _COPY / _best(lambda: np.copyto(target, source), seconds) / 1e9,
    }


def multiply_adds(model: Any) -> int:
    """Multiply-adds of the convolutions and matrix products of an OpenVINO model with static shapes."""
    total = 0
    for op in model.get_ops():
        kind = op.get_type_name()
        if kind in ("Convolution", "GroupConvolution"):
            kernel = list(op.input_value(1).get_shape())  # [(groups,) outputs, inputs, height, width]
            per_output = int(np.prod(kernel[2 if kind == "GroupConvolution" else 1 :]))
            total += int(np.prod(list(op.output(0).get_shape()))) * per_output
        elif kind == "MatMul":
            first = list(op.input_value(0).get_shape())
            inner = first[-2] if op.get_attributes()["transpose_a"] else first[-1]
            total += int(np.prod(list(op.output(0).get_shape()))) * inner
    return total


def bytes_moved(compiled: Any) -> int:
    """Bytes that the operations of a compiled OpenVINO network read and write, each by itself, weights included."""
    total = 0
    for op in compiled.get_runtime_model().get_ops():
        info = op.get_rt_info()
        if "layerType" not in info or info["layerType"].value in ("Input", "Output", "Const", "Reshape"):
            continue
        ports = [*(op.input_value(n) for n in range(op.get_input_size())), *op.outputs()]
        for port in ports:
            shape = port.get_partial_shape()
            if shape.is_static:
                total += int(np.prod(list(shape.to_shape()), initial=1)) * port.get_element_type().size
    return total


def distance(macs: int, moved: int, milliseconds: float, peak: dict[str, float]) -> dict[str, float]:
    """The shortest time in which this machine could run a network, and its share of the measured time.

    Args:
        macs: multiply-adds; moved: bytes; milliseconds: measured; peak: of `machine_peak`.
    """
    compute, memory = macs / peak["gmacs"] / 1e6, moved / peak["gb_s"] / 1e6
    limit = max(compute, memory)
    return {
        "mmacs": round(macs / 1e6, 1),
        "mbytes": round(moved / 1e6, 1),
        "compute_limit_ms": round(compute, 2),
        "memory_limit_ms": round(memory, 2),
        "measured_ms": round(milliseconds, 2),
        "share_of_limit": round(limit / milliseconds, 3),
    }
