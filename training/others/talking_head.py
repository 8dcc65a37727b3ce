"""Fine-tunes Neural Talking Heads on a few pictures of one person (Zakharov et al., ICCV 2019, section 3.3).

    python -m fvc.training.others.talking_head RUN PACK CLIP OUT --perceptual LPIPS [--frames 8] [--steps 40]

RUN is the folder of `fvc train nth`, CLIP a clip of the pack, OUT a .safetensors. The embedder's vector of the pictures
stays as it is; the generator changes, its personal styles included. With an adversary the discriminator begins with the
embedder's vector in the place of its own of the clip, which it has never seen. The result is weights of the same
preset, for this person.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fvc.codec.face.landmarks import SUP
from fvc.models.flow import Points
from fvc.models.model import Network, load_network
from fvc.training.data.pack import Pack
from fvc.training.generator.checkpoint import load_checkpoint
from fvc.training.generator.discriminator import discriminator_loss, generator_losses, score_both
from fvc.training.generator.losses import load_perceptual
from fvc.training.generator.projection import ProjectionDiscriminator

FRAMES, STEPS, RATE = 8, 40, 5e-5  # the paper fine-tunes on 1 to 32 pictures for 40 epochs; its rate is 5e-5
MATCHING = 10.0  # weight of the discriminator's features


def personal_discriminator(state: dict[str, Tensor], identity: Tensor) -> ProjectionDiscriminator:
    """A trained discriminator that knows one clip only, by the embedder's vector [512 * width]."""
    size = state["identities.weight"].shape[1]
    discriminator = ProjectionDiscriminator(1, size / 512)
    discriminator.load_state_dict({**state, "identities.weight": identity.detach()[None]})
    return discriminator


def fine_tune(
    network: Network,
    pictures: Tensor,
    keypoints: Tensor,
    perceptual: Any,
    steps: int = STEPS,
    rate: float = RATE,
    discriminator_state: dict[str, Tensor] | None = None,
) -> list[float]:
    """Changes the generator of `network` in place, one picture a step; returns the perceptual distance of each step.

    Args:
        pictures: float32 [K, 3, 256, 256] in [0, 1]. keypoints: their sup landmarks [K, 33, 2].
        discriminator_state: of the run's discriminator; None: without an adversary.
    """
    generator: Any = network.generator
    count = len(pictures)
    points = network.points(keypoints, torch.zeros(count, 10, 2), torch.eye(2).expand(count, 10, 2, 2), {"sup"})
    with torch.no_grad():
        _, identity = generator.embed(pictures[None], points)
    fixed = (*generator.embedder.parameters(), *generator.project.parameters())
    changing = [p for p in generator.parameters() if all(p is not other for other in fixed)]
    optimizer = torch.optim.Adam(changing, rate, (0.5, 0.99))
    adversary = discriminator_state and personal_discriminator(discriminator_state, identity[0])
    its_optimizer = adversary and torch.optim.Adam(adversary.parameters(), 4 * rate, (0.5, 0.99))
    distances = []
    for step in range(steps):
        n = slice(step % count, step % count + 1)
        styles = generator.project(identity).detach() + generator.personal
        drawn = generator.draw((styles, identity), Points(*(t[n] for t in points)), torch.full((1, 16), 0.5))
        distance = perceptual(drawn, pictures[n], normalize=True).mean()
        loss = distance + (drawn - pictures[n]).abs().mean()
        beside = keypoints[n], torch.zeros(1, dtype=torch.int64)
        if adversary:
            adversarial, matching = generator_losses(adversary(pictures[n], *beside), adversary(drawn, *beside))
            loss = loss + adversarial + MATCHING * matching
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if adversary and its_optimizer:
            its_optimizer.zero_grad(set_to_none=True)
            discriminator_loss(*score_both(adversary, pictures[n], drawn.detach(), *beside)).backward()
            its_optimizer.step()
        distances.append(distance.item())
    return distances


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("pack", type=Path)
    parser.add_argument("clip")
    parser.add_argument("out", type=Path)
    parser.add_argument("--perceptual", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--steps", type=int, default=STEPS, help="pictures that are seen in all")
    given = parser.parse_args()
    pack, state = Pack(given.pack, SUP), load_checkpoint(given.run, "cpu")
    clip = next((clip for clip in pack.clips if clip.name == given.clip), None)
    if clip is None or state is None:
        parser.error(f"{given.clip}: no such clip" if state else f"{given.run}: has no checkpoint")
    frames = clip.frames[np.linspace(0, len(clip.frames) - 1, given.frames).round().astype(int)]
    width = state["network"]["generator.embedder.blocks.5.second.bias"].shape[0] / 512
    preset = "nth" if width == 1 else f"nth@{width:g}"
    network = load_network(given.run / "weights.safetensors", preset)
    keypoints = torch.from_numpy(pack.keypoints[frames])
    perceptual = load_perceptual(given.perceptual, "cpu")
    found = fine_tune(
        network, pack.images(frames), keypoints, perceptual, given.steps, RATE, state.get("discriminator")
    )
    names = load_file(given.run / "weights.safetensors")
    save_file({name: t.contiguous() for name, t in network.state_dict().items() if name in names}, given.out)
    print(f"{given.out}: LPIPS of the pictures {found[0]:.3f} -> {found[-1]:.3f}")


if __name__ == "__main__":
    main()
