"""All networks of one preset as one torch module: what is trained, stored and converted for the runtime."""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fvc.codec.motion.sample import N_SUP, N_UNSUP
from fvc.models.flow import Points
from fvc.models.interface import Generator
from fvc.models.keypoints import MotionNet
from fvc.models.presets import GENERATORS, SENDERS, load_class, preset_named
from fvc.models.restorer import Restorer

RESTORER = "restorer."  # prefix of the restorer's tensors in a weights file


def _fill_in_restorer(network: Network, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Lets weights load that are older than the restorer: theirs is untrained, which changes nothing."""
    for name, tensor in network.state_dict().items():
        if name.startswith(RESTORER):
            state.setdefault(f"{prefix}{name}", tensor)


class Network(nn.Module):
    """Sender (`motion`) and receiver (`restorer`, `generator`).

    The restorer is trained by itself (`training.others.restoration`): training of the other networks sees source
    pictures as they were before coding, and goes straight to `generator`.

    Args:
        make_generator: class of the generator, see `models.interface.Generator`.
        mean_sup: [33, 2].
        motion: the sender's networks, see `models.keypoints.MotionNet`; None: the mobile ones.
        size: keyword arguments of the class.
    """

    generator: Generator
    motion: Any

    def __init__(
        self, make_generator: Callable[..., Any], mean_sup: Tensor, motion: nn.Module | None = None, **size: Any
    ) -> None:
        super().__init__()
        self.n_sup = len(mean_sup)
        self.motion = MotionNet() if motion is None else motion
        self.restorer = Restorer().requires_grad_(False)
        self.register_load_state_dict_pre_hook(_fill_in_restorer)
        self.generator = make_generator(mean_sup, N_UNSUP, **size)

    def points(self, sup: Tensor, unsup: Tensor, jacobians: Tensor, parts: Set[str]) -> Points:
        """Joins sup [B, 33, 2], unsup [B, 10, 2] and Jacobians [B, 10, 2, 2] to keypoints [B, 43, ...].

        Parts that `parts` does not name get presence 0, Jacobians that it does not name the identity.
        """
        batch, device = len(sup), sup.device
        eye = torch.eye(2, device=device)
        if "jac" not in parts:
            jacobians = eye.expand(batch, N_UNSUP, 2, 2)
        presence = [float("sup" in parts)] * self.n_sup + [float("unsup" in parts)] * N_UNSUP
        return Points(
            torch.cat([sup, unsup], 1),
            torch.cat([eye.expand(batch, self.n_sup, 2, 2), jacobians], 1),
            torch.tensor(presence, device=device).expand(batch, -1),
        )

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        """Once per source set: restores and embeds pictures [B, N, 3, 256, 256] with keypoints [B * N, ...]."""
        restored = self.restorer(pictures.flatten(0, 1)).unflatten(0, (len(pictures), -1))
        return self.generator.embed(restored, kp_source)


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
    """Loads from another preset's weights the tensors with the same name and shape as in `network`.

    Returns how many values were loaded. Raises ValueError if the file is none or nothing in it fits.
    """
    mine = network.state_dict()
    fits = {name: t for name, t in _read(weights).items() if name in mine and mine[name].shape == t.shape}
    if not fits:
        raise ValueError(f"{weights}: has nothing that fits this preset")
    network.load_state_dict(fits, strict=False)
    return sum(tensor.numel() for tensor in fits.values())


def build_network(preset: str, mean_sup: Tensor | None = None) -> Network:
    """The untrained network of a preset.

    `mean_sup` [33, 2]: mean landmarks, where the reference position starts; not needed where weights are loaded.

    Raises ValueError for an unknown preset.
    """
    chosen = preset_named(preset)
    mean_sup = torch.zeros(N_SUP, 2) if mean_sup is None else mean_sup
    motion = load_class(SENDERS[chosen.sender])(**chosen.sender_size)
    return Network(GENERATORS[chosen.generator].load(), mean_sup, motion, **chosen.size)


def load_network(weights: Path, preset: str) -> Network:
    """A trained network in evaluation mode, float32. Raises ValueError if the file does not fit the preset."""
    network = build_network(preset)
    load_weights(network, weights)
    return network.eval()
