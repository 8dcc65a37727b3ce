"""What the page draws with: `draw` in two graphs, between and after which the page calls `c/fvc_blend.c`.

Runtimes for browsers look RGB up slowly (GridSample at 256x256 pixels, after flows and weights were enlarged). So that
is done in C, and so is putting the picture together:

    moved.onnx      the embedding without the RGB, a driving sample -> `models.generator.Moved`
    fvc_blend.c     flow and blend weights of it, the RGB           -> RGB in quarters
    maps.onnx       the rest of it, RGB in quarters, the expression -> picture and mask in quarters
    fvc_blend.c     these and the RGB                               -> bytes
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from fvc.codec.base.errors import FvcError
from fvc.export.onnx_graphs import write_graph
from fvc.export.openvino_graphs import RGB, MapsGraph, MovedGraph
from fvc.export.shipped import Graph, graphs_of, load_preset, run_module
from fvc.models.generator import PICTURE_SIDE, ComposedGenerator, Moved, blended

PAGE_NAMES = ("embed", "moved", "maps", "landmarks")
_PER_SOURCE = ("flow", "blend")  # of `Moved`


def page_graphs(preset: str) -> list[Graph]:
    """The graphs of `PAGE_NAMES`. Raises FvcError for a preset whose generator does not draw so."""
    network, sha256 = load_preset(preset)
    generator = network.generator
    if not isinstance(generator, ComposedGenerator):
        raise FvcError(f"the page does not draw with {preset}: its generator is no ComposedGenerator")
    whole = {graph.name: graph for graph in graphs_of(network, sha256, chooses=True)}
    return [whole["embed"], *split(whole["draw"], generator.eval()), whole["landmarks"]]


def split(draw: Graph, generator: ComposedGenerator) -> tuple[Graph, Graph]:
    """`draw` of `export.shipped` in two."""
    given = dict(zip(draw.inputs, draw.example, strict=True))
    rgb, expression = given.pop(draw.inputs[RGB]), given.pop("expression")
    moved = MovedGraph(generator).eval()
    found = Moved(*run_module(moved, tuple(given.values())))
    with torch.no_grad():
        quarters = F.pixel_unshuffle(blended(rgb, found.flow, found.blend, PICTURE_SIDE, 1), 2)
    rest = [name for name in Moved._fields if name not in _PER_SOURCE]
    example = quarters, *(getattr(found, name) for name in rest), expression
    per_source = (draw.per_source & given.keys()) | set(_PER_SOURCE)
    return (
        Graph("moved", moved, tuple(given.values()), tuple(given), Moved._fields, draw.sha256, per_source),
        Graph("maps", MapsGraph(generator).eval(), example, ("rgb", *rest, "expression"), ("maps",), draw.sha256),
    )


def export_page(preset: str, folder: Path, note: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Writes the graphs of `page_graphs` as .onnx; returns what is said of each. Raises FvcError as `export_onnx`."""
    folder.mkdir(parents=True, exist_ok=True)
    return {graph.name: write_graph(graph, folder, note) for graph in page_graphs(preset)}
