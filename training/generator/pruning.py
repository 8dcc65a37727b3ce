"""Weights of `composed` -> a start for a smaller preset of the same generator.

    python -m fvc.training.generator.pruning WEIGHTS PRESET OUT

Of the channels between the decoder's layers, those with the least energy are dropped: squared weights that make the
channel, times squared weights that read it. Layers that do not depend on `models.generator.Size` are copied. The result
needs training: `fvc train PRESET --init OUT --keep-motion`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fvc.models.generator import ComposedGenerator, Size
from fvc.models.layers import InvertedResidual
from fvc.models.model import build_network, load_weights
from fvc.models.presets import DEFAULT, PRESETS


def _energy(*layers: nn.Module, axis: int) -> Tensor:
    """Sum of squared weights per output (axis 0) or input (axis 1) channel of convolutions and batch norms."""
    total = torch.zeros(())
    for layer in layers:
        weight: Tensor = layer.weight.detach()  # type: ignore[assignment]
        total = total + (weight.square().transpose(0, axis).flatten(1).sum(1) if weight.dim() > 1 else weight.square())
    return total


def _most(energy: Tensor, count: int) -> Tensor:
    """The `count` channels of most energy, in ascending order."""
    return energy.topk(count).indices.sort().values


def _conv(small: nn.Module, large: nn.Module, rows: Tensor | None, columns: Tensor | None) -> None:
    """Copies these output and input channels of a convolution; of a depthwise one, rows only."""
    assert isinstance(small, nn.Conv2d)
    assert isinstance(large, nn.Conv2d)
    weight = large.weight if rows is None else large.weight[rows]
    small.weight.data.copy_(weight if columns is None else weight[:, columns])
    if small.bias is not None and large.bias is not None:
        small.bias.data.copy_(large.bias if rows is None else large.bias[rows])


def _norm(small: nn.Module, large: nn.Module, rows: Tensor) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(small, name).data.copy_(getattr(large, name)[rows])


def _block(small: InvertedResidual, large: InvertedResidual, inputs: Tensor, outputs: Tensor) -> None:
    carried = _energy(large.filter[1], axis=0) * _energy(large.project[0], axis=1)
    hidden = _most(carried, small.filter[0].weight.shape[0])
    _conv(small.expand[0], large.expand[0], hidden, inputs)
    _norm(small.expand[1], large.expand[1], hidden)
    _conv(small.filter[0], large.filter[0], hidden, None)
    _norm(small.filter[1], large.filter[1], hidden)
    _conv(small.project[0], large.project[0], outputs, hidden)
    _norm(small.project[1], large.project[1], outputs)


def prune(large: ComposedGenerator, small: ComposedGenerator, size: Size) -> None:
    """Fills the layers of `small` that depend on its size, `size`, from `large`."""
    deep_kept, middle_kept = _prune_levels(large, small, size)
    deep = _prune_deep(large, small, size, deep_kept)
    _prune_decoder(large, small, size, deep, middle_kept)


def _prune_levels(large: ComposedGenerator, small: ComposedGenerator, size: Size) -> tuple[Tensor, Tensor]:
    """The levels of the sources, and the vote on them; returns the channels of each level that are kept."""
    full = Size()
    deep_read = _energy(large.deep[0], axis=1)[: full.deep_kept]
    deep_kept = _most(_energy(large.keep_deep, axis=0) * deep_read, size.deep_kept)
    middle_read = _energy(large.join_middle.expand[0], axis=1)[full.middle : full.middle + full.middle_kept]
    middle_kept = _most(_energy(large.keep_middle, axis=0) * middle_read, size.middle_kept)
    _conv(small.keep_deep, large.keep_deep, deep_kept, None)
    _conv(small.keep_middle, large.keep_middle, middle_kept, None)
    logit = torch.tensor([full.middle_kept])  # inputs of `ComposedGenerator.vote`: features, logit, differences, masks
    differs = full.middle_kept + 1 + middle_kept
    masks = 2 * full.middle_kept + 1 + torch.arange(2)
    _conv(small.vote[0], large.vote[0], None, torch.cat([middle_kept, logit, differs, masks]))
    return deep_kept, middle_kept


def _prune_deep(large: ComposedGenerator, small: ComposedGenerator, size: Size, deep_kept: Tensor) -> Tensor:
    """The residual blocks at 32 pixels, which share their channels; returns those that stay."""
    full = Size()
    blocks = [*list(large.deep)[1 : size.blocks], large.deep[full.blocks]]  # the first ones and the last
    readers = [block.expand[0] for block in blocks] + [large.up_middle.expand[0]]
    makers = [large.deep[0], *(block.project[1] for block in blocks)]
    deep = _most(_energy(*makers, axis=0) * _energy(*readers, axis=1), size.deep)
    others = torch.arange(full.deep_kept, large.deep[0].weight.shape[1])  # motion features and expression
    _conv(small.deep[0], large.deep[0], deep, torch.cat([deep_kept, others]))
    for mine, theirs in zip(list(small.deep)[1:], blocks, strict=True):
        _block(mine, theirs, deep, deep)
    return deep


def _prune_decoder(
    large: ComposedGenerator, small: ComposedGenerator, size: Size, deep: Tensor, middle_kept: Tensor
) -> None:
    """The layers from 64 pixels to the picture."""
    full = Size()

    def between(maker: InvertedResidual, reader: nn.Module, width: int, count: int) -> Tensor:
        return _most(_energy(maker.project[1], axis=0) * _energy(reader, axis=1)[:width], count)

    up_middle = between(large.up_middle, large.join_middle.expand[0], full.middle, size.middle)
    join_middle = between(large.join_middle, large.up_fine.expand[0], full.middle, size.middle)
    up_fine = between(large.up_fine, large.join_fine.expand[0], full.fine, size.fine)
    join_fine = between(large.join_fine, large.out, full.fine, size.fine)
    rgb = torch.arange(full.fine, full.fine + 12)
    _block(small.up_middle, large.up_middle, deep, up_middle)
    _block(small.join_middle, large.join_middle, torch.cat([up_middle, full.middle + middle_kept]), join_middle)
    _block(small.up_fine, large.up_fine, join_middle, up_fine)
    _block(small.join_fine, large.join_fine, torch.cat([up_fine, rgb]), join_fine)
    _conv(small.out, large.out, None, join_fine)


def prune_weights(weights: Path, preset: str, out: Path) -> None:
    """Writes pruned weights of `preset`. Raises ValueError where either is not of the default's generator."""
    if PRESETS[preset].generator != PRESETS[DEFAULT].generator:
        raise ValueError(f"{preset}: is not a smaller {DEFAULT}")
    large, small = build_network(DEFAULT), build_network(preset)
    load_weights(large, weights)
    known, state = large.state_dict(), small.state_dict()
    same = {name: known[name] for name, tensor in state.items() if known[name].shape == tensor.shape}
    small.load_state_dict(same, strict=False)
    generators = large.generator, small.generator
    prune(*cast(tuple[ComposedGenerator, ComposedGenerator], generators), Size(**PRESETS[preset].size))
    save_file({name: t.contiguous() for name, t in small.state_dict().items() if "num_batches" not in name}, out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help=f"of {DEFAULT}")
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    try:
        prune_weights(args.weights, args.preset, args.out)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
