"""The graphs of installed networks, compiled for this CPU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fvc.codec.base.constants import SIDE
from fvc.codec.base.inference import EXACT, ONE_AT_A_TIME, compile_kept, core, read_model
from fvc.models.inference.nearest import drawn_from
from fvc.models.weights import folder_of, graph_names, large_folder, manifest_preset, verify


@dataclass(frozen=True)
class Graph:
    """A graph of an installed preset, and how it is compiled.

    Attributes:
        name: see `models.weights.graph_names`.
        sources: how many source pictures it takes; None: it takes none.
        streams: above 1: this many concurrent inferences, each on one thread; 1: one inference on all cores.
        exact: float32 on any CPU; else the precision that OpenVINO chooses for the CPU.
        side: of the pictures; for 512 pixels see `models.weights.draws_large`.
    """

    preset: str
    name: str
    sources: int | None = None
    streams: int = 1
    exact: bool = False
    side: int = SIDE


@cache
def _verified(preset: str) -> Path:
    folder = folder_of(preset)
    verify(folder)
    return folder


def graph_file(preset: str, graph: str, side: int = SIDE) -> Path:
    """The .xml of one of an installed preset's graphs, for pictures of this side. Raises FvcError: a damaged file."""
    folder = _verified(preset) if side == SIDE else large_folder(preset)
    return folder / f"{graph}.xml"


def properties(streams: int = 1, exact: bool = False) -> dict[str, Any]:
    """OpenVINO's properties for networks that draw; `streams` and `exact`: see `Graph`."""
    how: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if streams > 1:
        how = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams, "ENABLE_CPU_PINNING": False}
    return how | (EXACT if exact else {})


def compile_like_ours(model: Any) -> Any:
    """Compiles an OpenVINO model as `DrawRuntime` does one that draws a picture at a time."""
    with ONE_AT_A_TIME:
        return core().compile_model(model, "CPU", properties())


def drawing_graphs(preset: str, sources: int) -> list[tuple[Any, Any]]:
    """The graphs that `DrawRuntime` runs for a picture of so many sources, to count operations.

    Each as OpenVINO's model and compiled.
    """
    names = [name for name in graph_names(manifest_preset(preset)) if name not in ("motion", "embed")]
    models = [read_model(graph_file(preset, name), drawn_from(preset, sources)) for name in names]
    return [(model, compile_like_ours(model)) for model in models]


def compile_graph(graph: Graph) -> Any:
    """The compiled graph. Raises FvcError where a file of the preset is damaged."""
    path = graph_file(graph.preset, graph.name, graph.side)
    return compile_kept(path, properties(graph.streams, graph.exact), graph.sources)
