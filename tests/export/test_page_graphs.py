"""The page's drawing in parts, the C among them in wasmtime, gives what the whole network gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime", reason="needs fvc[export]")
pytest.importorskip("wasmtime", reason="needs fvc[wasm]")

import torch
import wasmtime
from torch.nn import functional as F

from fvc.export.onnx_graphs import TOLERANCE, session, write_graph
from fvc.export.page_graphs import RGB, split
from fvc.export.shipped import Graph, load_preset, run_module, shipped_graphs
from fvc.export.wasm import BLEND
from fvc.models.generator import PICTURE_SIDE, blended
from fvc.models.layers import identity_grid
from fvc.models.presets import DEFAULT


class Blend:
    """fvc_blend.wasm, used as fvc/web/page/blend.js does."""

    def __init__(self) -> None:
        self._store: Any = wasmtime.Store()
        module = wasmtime.Module(self._store.engine, BLEND.path.read_bytes())
        assert len(module.imports) == 0
        self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        if "_initialize" in self._exports:
            self._exports["_initialize"](self._store)

    def _call(self, name: str, *arguments: int) -> int:
        return self._exports[f"fvc_blend_{name}"](self._store, *arguments)

    def _write(self, name: str, data: np.ndarray) -> None:
        self._exports["memory"].write(self._store, np.ascontiguousarray(data, np.float32).tobytes(), self._call(name))

    def _read(self, name: str, size: int) -> bytes:
        return bytes(self._exports["memory"].read(self._store, self._call(name), self._call(name) + size))

    def sample(self, sources: Any, flow: Any, weights: Any) -> np.ndarray:
        """RGB [N, 3, 256, 256], flow [N, 64, 64, 2], weights [N, 1, 64, 64] -> quarters [1, 12, 128, 128]."""
        for n, source in enumerate(sources):
            self._write("picture", source.numpy())
            self._call("source", n)
        self._write("flow", flow.numpy())
        self._write("weights", weights.numpy())
        self._call("sample", len(sources))
        return np.frombuffer(self._read("rgb", 4 * 12 * 128 * 128), np.float32).reshape(1, 12, 128, 128)

    def finish(self, maps: np.ndarray) -> np.ndarray:
        """Maps [1, 16, 128, 128] -> RGBA, uint8 [256, 256, 4]."""
        self._write("maps", maps)
        self._call("finish")
        return np.frombuffer(self._read("pixels", 4 * 256 * 256), np.uint8).reshape(256, 256, 4)


@pytest.fixture(scope="module")
def blend() -> Blend:
    return Blend()


@pytest.fixture(scope="module")
def draw() -> Graph:
    return next(graph for graph in shipped_graphs(DEFAULT) if graph.name == "draw")


@pytest.mark.parametrize("count", [4, 2, 1])
@pytest.mark.parametrize("reach", [0.05, 0.5, 1e9], ids=["near", "beyond the border", "far outside"])
def test_the_sources_are_sampled_as_torch_does(blend: Blend, count: int, reach: float) -> None:
    rng = torch.Generator().manual_seed(count)
    sources = torch.rand(count, 3, PICTURE_SIDE, PICTURE_SIDE, generator=rng)
    flow = identity_grid(64).expand(count, -1, -1, -1) + reach * torch.randn(count, 64, 64, 2, generator=rng)
    weights = torch.randn(count, 1, 64, 64, generator=rng).softmax(0)
    wanted = F.pixel_unshuffle(blended(sources, flow, weights, PICTURE_SIDE, 1), 2).numpy()
    assert np.abs(blend.sample(sources, flow, weights) - wanted).max() < 1e-4


def test_a_flow_that_is_not_a_number_does_no_harm(blend: Blend) -> None:
    sources, weights = torch.full((1, 3, PICTURE_SIDE, PICTURE_SIDE), 0.5), torch.ones(1, 1, 64, 64)
    assert np.allclose(blend.sample(sources, torch.full((1, 64, 64, 2), torch.nan), weights), 0.5)


def test_the_parts_draw_what_the_whole_draws(blend: Blend, draw: Graph, tmp_path: Path) -> None:
    parts = {part.name: part for part in split(draw, load_preset(DEFAULT)[0].generator.eval())}
    for part in parts.values():
        assert max(write_graph(part, tmp_path)["max_error"].values()) < TOLERANCE
    given = {name: tensor.numpy() for name, tensor in zip(draw.inputs, draw.example, strict=True)}
    rgb, expression = torch.from_numpy(given.pop(draw.inputs[RGB])), given.pop("expression")
    moved = session(tmp_path / "moved.onnx")
    found = dict(zip(parts["moved"].outputs, moved.run(None, given), strict=True))
    flow, weights = (torch.from_numpy(found.pop(name)) for name in ("flow", "blend"))
    rest = {**found, "rgb": blend.sample(rgb, flow, weights), "expression": expression}
    drawn = blend.finish(session(tmp_path / "maps.onnx").run(None, rest)[0])
    (wanted,) = run_module(draw.module, draw.example)
    assert np.abs(drawn[..., :3] - 255 * wanted[0].numpy()).max() < 0.6
    assert (drawn[..., 3] == 255).all()
    two = {name: array[:2] if name in draw.per_source else array for name, array in given.items()}
    assert len(moved.run(["flow"], two)[0]) == 2
