"""Parameters and multiply-adds of a preset's networks at any width, counted in one run with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fvc.codec.base.constants import SIDE
from fvc.codec.motion.sample import N_EXPRESSION, N_SUP, N_UNSUP
from fvc.models.model import Network, build_network

_T = TypeVar("_T")
_PARTS = {"sup", "unsup", "jac"}


@dataclass(frozen=True)
class Counts:
    """Of a preset.

    Attributes:
        sender, generator: parameters.
        motion, draw: multiply-adds of convolutions and matrix products a frame, of the sender and of the receiver.
        embed: the same of the source pictures, once.
    """

    sender: int
    generator: int
    motion: int
    embed: int
    draw: int


def parameters(module: nn.Module) -> int:
    """How many the module has."""
    return sum(parameter.numel() for parameter in module.parameters())


def counted(preset: str, sources: int = 1) -> Counts:
    """Counts of a preset with so many source pictures. Raises ValueError: the preset is unknown."""
    network = build_network(preset).eval().requires_grad_(False)
    generator: Any = network.generator
    sizes = parameters(network.motion), parameters(generator)
    # Not with tensors that have shapes alone: layers keep constants for later use (`models.layers.bilinear`)
    pictures = torch.rand(1, sources, 3, SIDE, SIDE)
    _, motion = _multiply_adds(lambda: network.motion(pictures[:, 0]))
    embedding, embed = _multiply_adds(lambda: generator.embed(pictures, _points(network, sources)))
    inputs = _points(network, 1), torch.zeros(1, N_EXPRESSION), torch.zeros(1, 4, N_SUP + N_UNSUP, 2)
    _, draw = _multiply_adds(lambda: generator.draw(embedding, *inputs))
    return Counts(*sizes, motion, embed, draw)


def _points(network: Network, batch: int) -> Any:
    shapes = (batch, N_SUP, 2), (batch, N_UNSUP, 2), (batch, N_UNSUP, 2, 2)
    sup, unsup, jacobians = (torch.zeros(shape) for shape in shapes)
    jacobians = jacobians + torch.eye(2)
    return network.points(sup, unsup, jacobians, _PARTS)


def _multiply_adds(work: Callable[[], _T]) -> tuple[_T, int]:
    """What it returns, and its multiply-adds."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = work()
    return result, counter.get_total_flops() // 2  # a multiply-add is two operations
