"""What every export starts from: the shipped networks with folded batch norms, example inputs, and metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fvc.codec.base.constants import SIDE
from fvc.codec.base.hashing import file_hash
from fvc.codec.base.version import __version__
from fvc.codec.face.source_choice import INITIAL_PICTURES
from fvc.codec.motion.pose_history import MOMENTS
from fvc.codec.motion.sample import N_EXPRESSION, N_UNSUP
from fvc.export.openvino_graphs import (
    DRIVING,
    POINTS,
    DrawGraph,
    EmbedGraph,
    MotionGraph,
    embedding_per_source,
    fold_batch_norms,
    unit,
)
from fvc.models.inference.nearest import DRAWN_FROM
from fvc.models.landmark_net import LandmarkNet
from fvc.models.model import Network, load_network, load_weights
from fvc.models.presets import preset_named
from fvc.models.weights import folder_of, require_shipped, verify

LANDMARKS = "landmarks"  # the folder of the landmark network's weights, which serve every preset
LICENCE, AUTHOR = "Apache-2.0", "the fvc project"
ABOUT = {
    "landmarks": "Sender, per frame: face crop -> the 33 tracked landmarks (x, y) in [-1, 1] of the crop.",
    "motion": "Sender, per frame: face crop -> learned keypoints, their Jacobians and the expression code.",
    "embed": "Receiver, once per source set: source pictures and their keypoints -> what all frames share.",
    "draw": "Receiver, per frame: what embed gave and one driving sample -> the picture of the face.",
    "moved": "The page, per frame: as draw, up to where each source is sampled and what it weighs.",
    "maps": "The page, per frame: what was sampled -> the picture of the face and a mask, both in quarters.",
}


@dataclass(frozen=True)
class Graph:
    """One network to export.

    Attributes:
        module: see `openvino_graphs`; pictures go in as uint8 [N, 256, 256, 3] and come out as floats in [0, 1].
        example: likely inputs.
        inputs, outputs: their names.
        per_source: names of those with one row for each source: their first axis stays free.
        sha256: of the weights file.
    """

    name: str
    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sha256: str
    per_source: frozenset[str] = frozenset()

    @property
    def metadata(self) -> dict[str, str]:
        """What an exported file states about itself."""
        return {
            "description": ABOUT[self.name],
            "author": AUTHOR,
            "license": LICENCE,
            "version": __version__,
            "weights_sha256": self.sha256,
        }


class LandmarkGraph(nn.Module):
    """uint8 [1, 256, 256, 3] -> sup [1, 33, 2]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crop: Tensor) -> Tensor:
        return self.network(unit(crop))


class PictureGraph(DrawGraph):
    """As DrawGraph, but the picture is float32 [1, 256, 256, 3] in [0, 1]: rounding would hide small errors."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.picture(*tensors).clamp(0, 1).permute(0, 2, 3, 1)


def load_landmarks(path: Path) -> LandmarkNet:
    """The trained landmark network in evaluation mode, float32."""
    network = LandmarkNet()
    load_weights(network, path)
    return network.eval()


def load_preset(preset: str) -> tuple[Network, str]:
    """A shipped preset with folded batch norms, and the SHA-256 of its weights. Raises UsageError, FvcError."""
    require_shipped(preset)
    verify(folder_of(preset))
    weights = folder_of(preset) / "weights.safetensors"
    network = load_network(weights, preset)
    fold_batch_norms(network)
    return network, file_hash(weights)


def likely_inputs(network: Network, count: int = INITIAL_PICTURES) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Made-up inputs like real ones: of embed (`count` sources), and of draw without the embedding.

    Pictures are smooth, heads are near the reference position (or random, where the generator has none), turned,
    scaled and moved by usual amounts.
    """
    rng = torch.Generator().manual_seed(0)
    reference = getattr(network.generator, "reference", None)
    if reference is None:
        rest = torch.rand(1, network.n_sup + N_UNSUP, 2, generator=rng) - 0.5
    else:
        rest = reference.position.detach()[None]

    def points(batch: int) -> tuple[Tensor, Tensor, Tensor]:
        turn = torch.eye(2) + 0.06 * torch.randn(batch, 2, 2, generator=rng)
        moved = rest @ turn + 0.05 * torch.randn(batch, 1, 2, generator=rng)
        jitter = 0.01 * torch.randn(moved.shape, generator=rng)
        jacobian = turn[:, None].expand(-1, rest.shape[1], -1, -1).contiguous()
        return moved + jitter, jacobian, torch.ones(moved.shape[:2])

    coarse = torch.rand(count, 3, 12, 12, generator=rng)
    pictures = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1)
    source = ((pictures * 255).round().to(torch.uint8).contiguous(), *points(count))
    return source, (*points(1), torch.rand(1, N_EXPRESSION, generator=rng), points(MOMENTS)[0])


def shipped_graphs(preset: str, sources: int = INITIAL_PICTURES) -> list[Graph]:
    """Landmarks (once trained), motion, embed and draw. Raises UsageError for a preset that is not installed."""
    network, sha256 = load_preset(preset)
    return graphs_of(network, sha256, sources, preset_named(preset).draws_from_nearest)


def graphs_of(network: Network, sha256: str, sources: int = INITIAL_PICTURES, chooses: bool = False) -> list[Graph]:
    """The graphs of a network with folded batch norms.

    `chooses`: whether it draws from the nearest sources only (`models.inference.nearest`).
    """
    embed = EmbedGraph(network).eval()
    source, sample = likely_inputs(network, sources)
    embedding = run_module(embed, source)
    kept = tuple(f"embedding{n}" for n in range(len(embedding)))
    is_per_source = embedding_per_source(embed, source)
    per_source = frozenset(name for name, is_one in zip(kept, is_per_source, strict=True) if is_one)
    if chooses:  # then `draw` never gets more
        embedding = tuple(t[:DRAWN_FROM] if is_one else t for t, is_one in zip(embedding, is_per_source, strict=True))
    draw = PictureGraph(network).eval()
    crop = (source[0][:1],)
    landmark_graph = []
    if (weights := folder_of(LANDMARKS) / "weights.safetensors").exists():
        landmarks = LandmarkGraph(fold_batch_norms(load_landmarks(weights))).eval()
        landmark_graph = [Graph("landmarks", landmarks, crop, ("crop",), ("sup",), file_hash(weights))]
    return [
        *landmark_graph,
        Graph("motion", MotionGraph(network).eval(), crop, ("crop",), ("unsup", "jac", "expr"), sha256),
        Graph("embed", embed, source, ("pictures", *POINTS), kept, sha256, per_source | {"pictures", *POINTS}),
        Graph("draw", draw, (*embedding, *sample), (*kept, *DRIVING), ("picture",), sha256, per_source),
    ]


@torch.no_grad()
def run_module(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs as a tuple."""
    found = module(*inputs)
    return tuple(found) if isinstance(found, tuple | list) else (found,)
