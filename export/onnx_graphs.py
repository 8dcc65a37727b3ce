"""Shipped weights -> ONNX, for ONNX Runtime on servers, in browsers and on Android: `fvc export onnx`.

Four files, float32, opset 17 (GridSample is in every runtime since 16). The number of sources stays free. Pictures go
in as uint8 [N, 256, 256, 3] and come out as float32 [1, 256, 256, 3] in [0, 1]. A file that does not compute what torch
computes is not kept.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from fvc.codec.base.errors import FvcError
from fvc.codec.base.hashing import file_hash
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import DrivingSample
from fvc.export.openvino_graphs import DRIVING, POINTS
from fvc.export.shipped import Graph, run_module, shipped_graphs
from fvc.models.inference.nearest import DRAWN_FROM, NearestRows
from fvc.models.inference.tensors import driving_inputs, source_inputs
from fvc.models.presets import preset_named

OPSET = 17
TOLERANCE = 1e-3  # largest difference of any output value from torch's


def export_onnx(preset: str, folder: Path, note: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Writes landmarks, motion, embed and draw as .onnx, and manifest.json, whose content it returns.

    Raises:
        FvcError: ONNX Runtime does not compute what torch does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {"preset": preset, "opset": OPSET, "graphs": {}}
    for graph in shipped_graphs(preset):
        manifest["graphs"][graph.name] = write_graph(graph, folder, note)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def write_graph(graph: Graph, folder: Path, note: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Writes one graph as NAME.onnx, and returns what the manifest says of it.

    Raises:
        FvcError: ONNX Runtime does not compute what torch does.
    """
    path = folder / f"{graph.name}.onnx"
    _convert(graph, path)
    errors = difference(graph, session(path))
    if max(errors.values()) >= TOLERANCE:
        path.unlink()
        raise FvcError(f"{path}: differs from torch by {errors}")
    note(f"{path.name}: {path.stat().st_size} bytes, differs from torch by at most {max(errors.values()):.1e}")
    return {
        "sha256": file_hash(path),
        "bytes": path.stat().st_size,
        "inputs": input_names(session(path)),
        "outputs": list(graph.outputs),
        "max_error": errors,
        **graph.metadata,
    }


def _convert(graph: Graph, path: Path) -> None:
    sources = {name: {0: "sources"} for name in graph.per_source}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: shapes become constants, all but the number of sources
        torch.onnx.export(
            graph.module,
            graph.example,
            str(path),
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes=sources,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
        )
    model = onnx.load(str(path))
    _free_axes(model, sources)
    onnx.helper.set_model_props(model, graph.metadata)
    model.doc_string, model.producer_name = graph.metadata["description"], "fvc"
    model.producer_version = graph.metadata["version"]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _free_axes(model: Any, sources: dict[str, dict[int, str]]) -> None:
    """The exporter writes the example's number where an output's first axis is the number of sources."""
    for output in model.graph.output:
        if output.name in sources:
            output.type.tensor_type.shape.dim[0].dim_param = "sources"


def session(path: Path) -> Any:
    """An ONNX Runtime session on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def input_names(runs: Any) -> list[str]:
    """The inputs of a session. Those that a network ignores are not in its file."""
    return [port.name for port in runs.get_inputs()]


def difference(graph: Graph, runs: Any, inputs: tuple[torch.Tensor, ...] | None = None) -> dict[str, float]:
    """Output -> largest absolute difference between ONNX Runtime and torch."""
    inputs = inputs or graph.example
    known = input_names(runs)
    feeds = {name: tensor.numpy() for name, tensor in zip(graph.inputs, inputs, strict=True) if name in known}
    found, wanted = runs.run(list(graph.outputs), feeds), run_module(graph.module, inputs)
    return {name: float(np.abs(a - b.numpy()).max()) for name, a, b in zip(graph.outputs, found, wanted, strict=True)}


class OnnxDraw:
    """As `models.inference.drawing.DrawRuntime`, with the exported embed.onnx and draw.onnx of a folder.

    Args:
        pictures: N source pictures, uint8 [256, 256, 3] each.
        samples: of each source.
    """

    def __init__(self, folder: Path, pictures: Sequence[np.ndarray], samples: Sequence[DrivingSample]) -> None:
        embed, self._draw = session(folder / "embed.onnx"), session(folder / "draw.onnx")
        source = dict(zip(("pictures", *POINTS), source_inputs(pictures, samples), strict=True))
        kept = embed.run(None, {name: source[name] for name in input_names(embed)})
        self._names = [port.name for port in embed.get_outputs()]
        preset = preset_named(json.loads((folder / "manifest.json").read_text())["preset"])
        self._rows = NearestRows(samples, kept, DRAWN_FROM if preset.draws_from_nearest else len(samples))

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """Returns the picture, uint8 [256, 256, 3]."""
        embedding = dict(zip(self._names, self._rows(inputs), strict=True))
        given = embedding | dict(zip(DRIVING, driving_inputs(inputs), strict=True))
        picture = self._draw.run(None, {name: given[name] for name in input_names(self._draw)})[0][0]
        return np.asarray(np.rint(picture * 255), np.uint8)
