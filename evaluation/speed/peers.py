"""Speed of peers that could send or draw the same pictures on this machine: codecs, the dense first-order model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.base.errors import FvcError
from fvc.codec.base.reporting import Note
from fvc.evaluation.compare.anchor import Anchor
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.pictures import Originals, read_pictures, write_lossless
from fvc.evaluation.speed.roofline import multiply_adds
from fvc.models.inference.graphs import compile_like_ours

_CODECS = {"x265": 30.0, "svtav1": 40.0, "x264": 30.0}  # system -> value of its knob
_FRAMES = 60  # that each codec codes
_DENSE_RUNS = 4  # the fastest counts


def time_peers(
    pictures: list[np.ndarray], rate: Fraction, draw_ms: float, folder: Path, note: Note
) -> dict[str, dict[str, Any]]:
    """Speeds of peers that could send or draw these pictures. Codecs have one thread, networks all cores.

    Args:
        pictures: uint8 [S, S, 3]; rate: frames per second.
        draw_ms: milliseconds that our networks take for a picture.
        folder: for temporary files; note: called for each peer that cannot be timed.
    """
    report: dict[str, dict[str, Any]] = {}
    known = anchors("slow")
    path = folder / "peers.mkv"
    clip = Originals(path, rate, *write_lossless(path, islice(cycle(pictures), _FRAMES), rate))
    for system, quality in _CODECS.items():
        try:
            report.update(_time_codec(known[system], quality, clip, folder))
        except FvcError as error:
            note(f"{system}: {error}")
    try:
        report.update(_time_dense(draw_ms))
    except ModuleNotFoundError as error:
        note(f"dense first-order model: {error.name} is not installed; pip install 'fvc[measure]'")
    return report


def _time_codec(anchor: Anchor, quality: float, clip: Originals, folder: Path) -> dict[str, dict[str, Any]]:
    """Of a process of its own, which starts and reads the pictures in that time too."""
    start, cpu = time.perf_counter(), _cpu_of_children()
    coded = anchor.encode(quality, clip, folder)
    seconds, cpu = time.perf_counter() - start, _cpu_of_children() - cpu
    encoding = {
        "fps": round(clip.frames / seconds, 1),
        "cpu_ms": round(1000 * cpu / clip.frames, 2),
        "kbps": round(8 * int(coded.frame_bytes.sum()) / clip.seconds / 1000, 1),
    }
    path = folder / "peer.mkv"
    path.write_bytes(coded.matroska)
    start = time.perf_counter()
    count = sum(1 for _ in read_pictures(path))
    decoding = {"fps": round(count / (time.perf_counter() - start), 1)}
    return {f"{anchor.label}, encode": encoding, f"{anchor.label.split()[0]}, decode": decoding}


def _cpu_of_children() -> float:
    """Seconds of processor time of all processes that were started and have ended."""
    times = os.times()
    return times.children_user + times.children_system


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
