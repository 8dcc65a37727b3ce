"""All networks of one preset as one torch module: what is trained, stored and converted for the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fvc.codec.motion.sample import N_UNSUP
from fvc.models.baselines import FirstOrderGenerator, FusedGenerator, MultiScaleGenerator
from fvc.models.flow import Points
from fvc.models.generator import ComposedGenerator
from fvc.models.keypoints import MotionNet
from fvc.models.presets import PRESETS
from fvc.models.restorer import Restorer


def _older(network: Network, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Weights that have no restorer, as those of the baselines: with one that was never trained."""
    for name, tensor in network.state_dict().items():
        if name.startswith("restorer."):
            state.setdefault(f"{prefix}{name}", tensor)


_GENERATORS = {
    "composed": ComposedGenerator,
    "fused": FusedGenerator,
    "multi-scale": MultiScaleGenerator,
    "first-order": FirstOrderGenerator,
}


class Network(nn.Module):
    """Sender (`motion`) and receiver (`restorer`, `generator`).

    The restorer is trained by itself (`fvc.training.others.restoration`): training of the others sees pictures that
    need none.
    """

    def __init__(self, generator: str, mean_sup: Tensor, **size: int) -> None:
        super().__init__()
        self.n_sup = len(mean_sup)
        self.motion = MotionNet()
        self.restorer = Restorer().requires_grad_(False)
        self.register_load_state_dict_pre_hook(_older)
        self.generator: Any = _GENERATORS[generator](mean_sup, N_UNSUP, **size)

    def points(self, sup: Tensor, unsup: Tensor, jacobians: Tensor, parts: frozenset[str] | set[str]) -> Points:
        """Joins sup [B, 33, 2], unsup [B, 10, 2] and Jacobians [B, 10, 2, 2], hiding what `parts` does not name."""
        batch, device = len(sup), sup.device
        eye = torch.eye(2, device=device)
        if "jac" not in parts:
            jacobians = eye.expand(batch, N_UNSUP, 2, 2)
        shown = [float("sup" in parts)] * self.n_sup + [float("unsup" in parts)] * N_UNSUP
        return Points(
            torch.cat([sup, unsup], 1),
            torch.cat([eye.expand(batch, self.n_sup, 2, 2), jacobians], 1),
            torch.tensor(shown, device=device).expand(batch, -1),
        )

    def embed(self, sources: Tensor, points: Points) -> Any:
        """What a receiver does once: decoded source pictures [B, N, 3, 256, 256], their points [B * N, ...]."""
        restored = self.restorer(sources.flatten(0, 1)).unflatten(0, (len(sources), -1))
        return self.generator.embed(restored, points)

    def forward(
        self,
        sources: Tensor,
        source_sup: Tensor,
        driving: Tensor,
        driving_sup: Tensor,
        parts: frozenset[str] | set[str],
    ) -> dict[str, Tensor]:
        """One training pass: sources [B, N, 3, 256, 256], driving [B, 3, 256, 256], sup -> picture and codes."""
        batch, count = sources.shape[:2]
        everything = torch.cat([sources.flatten(0, 1), driving])
        unsup, jacobians, code = self.motion(everything)
        split = batch * count
        source_points = self.points(source_sup.flatten(0, 1), unsup[:split], jacobians[:split], parts)
        driving_points = self.points(driving_sup, unsup[split:], jacobians[split:], parts)
        expression = code[split:] if "expr" in parts else torch.full_like(code[split:], 0.5)
        embedding = self.generator.embed(sources, source_points)
        picture = self.generator.draw(embedding, driving_points, expression)
        return {"picture": picture, "unsup": unsup, "jacobians": jacobians, "expression": code}


def _read(weights: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file as float32. Raises ValueError if it is none."""
    try:
        return {name: tensor.float() for name, tensor in load_file(weights).items()}
    except SafetensorError as error:
        raise ValueError(f"{weights}: not weights ({error})") from None


def load_weights(network: nn.Module, weights: Path) -> None:
    """Fills `network` from a safetensors file, as float32. Raises ValueError if the file does not fit it.

    Such a file holds no code, and its header is checked against the file's size before memory is taken.
    """
    state = _read(weights)
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError:
        raise ValueError(f"{weights}: weights of networks of another size") from None
    wrong = [name for name in missing if "num_batches" not in name] + unexpected
    if wrong:
        raise ValueError(f"{weights}: not weights of this preset: {wrong[:3]}")


def borrow_weights(network: nn.Module, weights: Path) -> int:
    """Takes what another preset's networks share with `network`: tensors of the same name and shape.

    Returns how many values were taken. Raises ValueError if the file is none or nothing in it fits.
    """
    mine = network.state_dict()
    fits = {name: t for name, t in _read(weights).items() if name in mine and mine[name].shape == t.shape}
    if not fits:
        raise ValueError(f"{weights}: has nothing that fits this preset")
    network.load_state_dict(fits, strict=False)
    return sum(tensor.numel() for tensor in fits.values())


def load_network(weights: Path, preset: str) -> Network:
    """A trained network in evaluation mode, float32. Raises ValueError if the file does not fit the preset."""
    network = PRESETS[preset].build()
    load_weights(network, weights)
    return network.eval()
