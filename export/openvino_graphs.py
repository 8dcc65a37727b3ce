"""Trained weights -> what the runtime loads: installs a run's weights as those of a preset (needs torch).

    python -m fvc.export.openvino_graphs RUN/weights.safetensors PRESET [--out FOLDER]

Writes into `models/weights/PRESET/`, or FOLDER: `weights.safetensors` (float16, the published form), the OpenVINO
graphs of `models.weights.graph_names` and `manifest.json` with the SHA-256 of each. The number of sources stays free.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fvc.codec.base.constants import SIDE
from fvc.codec.motion.pose_history import MOMENTS
from fvc.codec.motion.sample import N_EXPRESSION, N_UNSUP
from fvc.models.flow import Points
from fvc.models.generator import ComposedGenerator, Embedding
from fvc.models.model import Network, build_network, load_network, load_weights
from fvc.models.presets import PRESETS, preset_named
from fvc.models.weights import folder_of, graph_names, write_manifest

POINTS = ("position", "jacobian", "presence")  # fields of `models.flow.Points`, as inputs of graphs
RGB = Embedding._fields.index("rgb")
DRIVING = (*POINTS, "expression", "recent")  # inputs of `draw` after the embedding, see `tensors.driving_inputs`


class Converted(NamedTuple):
    """A module to convert.

    Attributes:
        example: likely inputs. per_source: which of them have a row for each source.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    per_source: Sequence[bool]


def unit(pictures: Tensor) -> Tensor:
    """Pictures uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [0, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def as_bytes(pictures: Tensor) -> Tensor:
    """The inverse of `unit`, with values outside [0, 1] cut off."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


class MotionGraph(nn.Module):
    """uint8 [1, 256, 256, 3] -> unsup [1, 10, 2], jac [1, 10, 2, 2], expr [1, 16]."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.motion = network.motion

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.motion(unit(crop))


class EmbedGraph(nn.Module):
    """Source pictures uint8 [N, 256, 256, 3] and their keypoints [N, 43, ...] -> the embedding, restorer included."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor, position: Tensor, jacobian: Tensor, presence: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.embed(unit(pictures)[None], Points(position, jacobian, presence)))


class ColouredEmbedGraph(EmbedGraph):
    """As EmbedGraph for a composed generator, but the RGB comes last, as uint8 [N, S, S, 3]: what is looked up."""

    def forward(self, pictures: Tensor, position: Tensor, jacobian: Tensor, presence: Tensor) -> tuple[Tensor, ...]:
        """`pictures`: uint8 [N, S, S, 3], S 256 pixels, or 512 for a `models.large.network.LargeGenerator`."""
        tensors = list(super().forward(pictures, position, jacobian, presence))
        small, large = tensors.pop(RGB), tensors.pop() if len(tensors) == len(Embedding._fields) else None
        return (*tensors, as_bytes(small if large is None else large))


class MovedGraph(nn.Module):
    """The embedding without the RGB, then the tensors of `DRIVING` but the expression -> `models.generator.Moved`."""

    def __init__(self, generator: ComposedGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        *embedding, position, jacobian, presence, recent = tensors
        embedding.insert(RGB, embedding[0])  # of the RGB, only the number of rows is read
        return tuple(self.generator.moved(Embedding(*embedding), Points(position, jacobian, presence), recent[None]))


class MapsGraph(nn.Module):
    """RGB in quarters [1, 12, 128, 128], `Moved` but for flow and blend, expression -> maps [1, 16, 128, 128]."""

    def __init__(self, generator: ComposedGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(
        self, rgb: Tensor, deep: Tensor, middle: Tensor, occlusion: Tensor, features: Tensor, expression: Tensor
    ) -> Tensor:
        return self.generator.maps((deep, middle, rgb), occlusion, features, expression)


class RedrawnGraph(MapsGraph):
    """As MapsGraph, but of what was looked up as bytes, uint8 [1, 256, 256, 3], and as bytes, [1, 256, 256, 4].

    They are the picture, and how much of the looked-up colours takes its place.
    """

    def forward(self, rgb: Tensor, *rest: Tensor) -> Tensor:
        split = rgb.reshape(1, SIDE // 2, 2, SIDE // 2, 2, 3).permute(0, 5, 2, 4, 1, 3)  # while it is small
        quarters = split.reshape(1, 12, SIDE // 2, SIDE // 2).float() / 255  # as pixel_unshuffle gives them
        return as_bytes(F.pixel_shuffle(super().forward(quarters, *rest), 2))


class DrawGraph(nn.Module):
    """The embedding, then `models.inference.tensors.driving_inputs` -> picture uint8 [1, 256, 256, 3]."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.generator = network.generator

    def picture(self, *tensors: Tensor) -> Tensor:
        """Float32 [1, 3, 256, 256] in [0, 1]."""
        count = len(tensors) - len(DRIVING)
        embedding, (position, jacobian, presence, expression, recent) = tensors[:count], tensors[count:]
        return self.generator.draw(embedding, Points(position, jacobian, presence), expression, recent[None])

    def forward(self, *tensors: Tensor) -> Tensor:
        return as_bytes(self.picture(*tensors))


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Folds every batch norm that follows a convolution into it; in place, for evaluation only."""
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            for name, (first, second) in enumerate(itertools.pairwise(list(module))):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    module[name], module[name + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return network


def graphs(network: Network, side: int = SIDE) -> dict[str, Converted]:
    """The modules by name, with example inputs (three sources of `side` x `side` pixels).

    Of a composed generator "moved" and "redrawn" in place of "draw"; of one for 512 pixels only "embed" differs.
    """
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    n_points = network.n_sup + N_UNSUP
    pictures = (rand(3, side, side, 3) * 255).to(torch.uint8)

    def points(count: int) -> tuple[Tensor, Tensor, Tensor]:
        eye = torch.eye(2).expand(count, n_points, 2, 2) + 0.05 * rand(count, n_points, 2, 2)
        return rand(count, n_points, 2) - 0.5, eye.contiguous(), torch.ones(count, n_points)

    composed = getattr(network.generator, "generator", network.generator)  # a LargeGenerator holds it
    embed = (ColouredEmbedGraph if isinstance(composed, ComposedGenerator) else EmbedGraph)(network).eval()
    source = (pictures, *points(3))
    with torch.no_grad():
        embedding = embed(*source)
    sample, expression = (*points(1), points(MOMENTS)[0]), rand(1, N_EXPRESSION)
    made = {
        "motion": Converted(MotionGraph(network), (pictures[:1, :SIDE, :SIDE],), [False]),
        "embed": Converted(embed, source, [True] * len(source)),
    }
    if not isinstance(composed, ComposedGenerator):
        per_source = embedding_per_source(embed, source) + [False] * len(DRIVING)
        driving = (*sample[:-1], expression, sample[-1])
        return made | {"draw": Converted(DrawGraph(network), (*embedding, *driving), per_source)}
    given, moved = (*embedding[:-1], *sample), MovedGraph(composed).eval()
    with torch.no_grad():
        _, _, *rest = moved(*given)
    looked_up = (rand(1, SIDE, SIDE, 3) * 255).to(torch.uint8), *rest, expression
    per_source = [True] * (len(embedding) - 1) + [False] * len(sample)
    made["moved"] = Converted(moved, given, per_source)
    made["redrawn"] = Converted(RedrawnGraph(composed), looked_up, [False] * len(looked_up))
    return made


@torch.no_grad()
def embedding_per_source(embed: nn.Module, source: Sequence[Tensor]) -> list[bool]:
    """Which tensors of the embedding have a row for each source: those that lose one when a source is left out."""
    whole, less = embed(*source), embed(*(tensor[:-1] for tensor in source))
    return [len(a) != len(b) for a, b in zip(whole, less, strict=True)]


def convert(run_weights: Path, preset: str, folder: Path | None = None) -> Path:
    """Installs trained weights as the shipped ones of `preset`, or writes them to `folder`; returns the folder.

    Raises:
        ValueError: the weights do not fit the preset.
    """
    folder = folder or folder_of(preset)
    load_weights(build_network(preset), run_weights)  # before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.half().contiguous() for name, tensor in load_file(run_weights).items()}
    save_file(half, folder / "weights.safetensors")
    save_graphs(fold_batch_norms(load_network(folder / "weights.safetensors", preset)), folder, graph_names(preset))
    write_manifest(folder, preset)
    return folder


def save_graphs(network: Network, folder: Path, names: Sequence[str], side: int = SIDE) -> None:
    """Writes these graphs of a network, see `graphs`, with weights in float16."""
    import openvino

    converted = graphs(network, side)
    for name in names:
        openvino.save_model(to_openvino(*converted[name]), folder / f"{name}.xml", compress_to_fp16=True)


def to_openvino(module: nn.Module, example: tuple[Tensor, ...], per_source: Sequence[bool]) -> Any:
    """OpenVINO's model of a module; the first axis stays free in inputs that have a row for each source."""
    import openvino

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: shapes become constants
        traced = torch.jit.trace(module.eval(), example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example)
    for index, (port, tensor, is_free) in enumerate(zip(model.inputs, example, per_source, strict=True)):
        shape = openvino.PartialShape([-1 if is_free else len(tensor), *tensor.shape[1:]])
        port.get_node().set_partial_shape(shape)
        port.get_tensor().set_names({f"in{index}"})
    model.validate_nodes_and_infer_types()
    return model


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="weights.safetensors of a run")
    about = "; ".join(f"{p.name}: {p.about}" for p in PRESETS.values())
    parser.add_argument("preset", help=f"{about}; with @0.25 after its name a dense one has a quarter of its channels")
    parser.add_argument("--out", type=Path, help="folder to write instead of the preset's installed weights")
    args = parser.parse_args()
    if not args.weights.is_file():
        parser.error(f"{args.weights}: no such file")
    try:
        preset_named(args.preset)
        print(convert(args.weights, args.preset, args.out))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
