"""Speed of peers that could send or draw the same pictures on this machine: codecs, the dense first-order model."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from fvc.codec.base.reporting import Note
from fvc.codec.media.video import reason
from fvc.evaluation.compare.anchor import Anchor
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.pictures import read_pictures
from fvc.evaluation.speed.roofline import multiply_adds
from fvc.models.runtime import compile_like_ours

_CODECS = {"x265": 30.0, "svtav1": 40.0, "x264": 30.0}  # system -> value of its knob
_FRAMES = 60  # that each codec codes
_DENSE_RUNS = 4  # the fastest counts


def time_peers(
    pictures: list[np.ndarray], rate: Fraction, draw_ms: float, folder: Path, note: Note
) -> dict[str, dict[str, Any]]:
    """Speeds of peers that could send or draw these pictures. Codecs have one thread, networks all cores.

    Args:
        pictures: uint8 [256, 256, 3]; rate: frames per second.
        draw_ms: milliseconds that our networks take for a picture.
        folder: for temporary files; note: called for each peer that cannot be timed.
    """
    report: dict[str, dict[str, Any]] = {}
    known = anchors("slow")
    for system, quality in _CODECS.items():
        try:
            report.update(_time_codec(known[system], quality, list(islice(cycle(pictures), _FRAMES)), rate, folder))
        except av.FFmpegError as error:
            note(f"{system}: {reason(error)}")
    try:
        report.update(_time_dense(draw_ms))
    except ModuleNotFoundError as error:
        note(f"dense first-order model: {error.name} is not installed; pip install 'fvc[measure]'")
    return report


def _time_codec(
    anchor: Anchor, quality: float, pictures: list[np.ndarray], rate: Fraction, folder: Path
) -> dict[str, dict[str, Any]]:
    start, cpu = time.perf_counter(), time.process_time()
    coded = anchor.encode(quality, pictures, rate, folder)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    encoding = {
        "fps": round(len(pictures) / seconds, 1),
        "cpu_ms": round(1000 * cpu / len(pictures), 2),
        "kbps": round(coded.bits * float(rate) / len(pictures) / 1000, 1),
    }
    path = folder / "peer.mkv"
    path.write_bytes(coded.matroska)
    start = time.perf_counter()
    count = sum(1 for _ in read_pictures(path))
    decoding = {"fps": round(count / (time.perf_counter() - start), 1)}
    return {f"{anchor.label}, encode": encoding, f"{anchor.label.split()[0]}, decode": decoding}


def _time_dense(draw_ms: float) -> dict[str, dict[str, Any]]:
    """The dense first-order model in torch, and in OpenVINO as our networks run."""
    import openvino
    import torch

    from fvc.evaluation.speed.dense_first_order import DenseFirstOrder, example

    network, inputs = DenseFirstOrder().eval(), example()
    with torch.no_grad():
        torch_ms = 1000 * min(_seconds(lambda: network(*inputs)) for _ in range(_DENSE_RUNS))
        model = openvino.convert_model(network, example_input=inputs)
    model.reshape({n: list(tensor.shape) for n, tensor in enumerate(inputs)})
    request = compile_like_ours(model).create_infer_request()
    arrays = [tensor.numpy() for tensor in inputs]
    ours = 1000 * min(_seconds(lambda: request.infer(arrays)) for _ in range(_DENSE_RUNS))
    macs = round(multiply_adds(model) / 1e6, 1)
    return {
        "dense first-order model, torch": {"fps": round(1000 / torch_ms, 2), "mmacs": macs},
        "dense first-order model, OpenVINO": {
            "fps": round(1000 / ours, 2),
            "mmacs": macs,
            "times_slower_than_ours": round(ours / draw_ms, 1),
        },
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
