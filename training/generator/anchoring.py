"""Pre-trains the keypoints of `fom-mobile` to lie on the face: from scratch that takes days of training.

    python -m fvc.training.generator.anchoring DATA.pack WEIGHTS OUT [--steps 500] [--batch 24]

Learned keypoints move to ten positions on the face (`ANCHORS`, means of tracked landmarks), their Jacobians follow the
equivariance loss. Neither paper does this. The first-order model's authors trained for days on a GPU; with this start a
few hours on a CPU are enough, and later training is free to move the keypoints.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import trange

from fvc.codec.face.landmarks import (
    CHIN,
    EARS,
    EYES,
    FOREHEAD,
    INNER_LIP_CORNERS,
    INNER_LIPS,
    JAW_ANGLES,
    NOSE_TIP,
    OUTER_LIP_CORNERS,
    SUP,
    SUP_MIRROR,
)
from fvc.models.keypoints import INPUT_SIDE, KeypointNet
from fvc.models.model import build_network, load_weights
from fvc.training.data.pack import Pack
from fvc.training.generator.batches import FileFrames
from fvc.training.generator.engine import computes_in_half
from fvc.training.generator.losses import equivariance_losses
from fvc.training.generator.sampling import Sampler

ANCHORS = (  # sup indices; a keypoint's anchor is the mean of its group
    (FOREHEAD,),
    (CHIN,),
    (NOSE_TIP,),
    INNER_LIPS,
    *(eye[:4] for eye in EYES),  # without the iris
    *zip(OUTER_LIP_CORNERS, INNER_LIP_CORNERS, strict=True),
    *zip(EARS, JAW_ANGLES, strict=True),  # cheeks
)


def anchor_loss(keypoints: Tensor, sup: Tensor) -> Tensor:
    """L1 of learned keypoints [B, 10, 2] to the means of `ANCHORS` of sup [B, 33, 2]."""
    wanted = torch.stack([sup[:, list(group)].mean(1) for group in ANCHORS], 1)
    return (keypoints - wanted).abs().mean()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path, help="of `fom-mobile`; all but the keypoints stay as they are")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=24, help="pictures, half of them sources")
    parser.add_argument("--rate", type=float, default=2e-3)
    args = parser.parse_args()
    torch.manual_seed(0)
    pack = Pack(args.data, SUP)
    frames, sampler = FileFrames(pack, SUP_MIRROR), Sampler(pack, seed=0)
    network = build_network("fom-mobile")
    load_weights(network, args.weights)
    learner = network.motion.keypoints.train()
    learner.jacobians.load_state_dict(KeypointNet().jacobians.state_dict())  # back to the identity
    optimizer = torch.optim.AdamW(learner.parameters(), args.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    with trange(args.steps, unit="step") as bar:
        for step in bar:
            batch = frames.batch(sampler.plan(step, args.batch // 2, 1))
            pictures = torch.cat([batch.sources, batch.driving], 1).flatten(0, 1)
            sup = torch.cat([batch.source_keypoints, batch.driving_keypoints], 1).flatten(0, 1)
            small = F.avg_pool2d(pictures, pictures.shape[-1] // INPUT_SIDE)
            with torch.autocast("cpu", torch.bfloat16, enabled=computes_in_half("cpu")):
                keypoints, jacobians, _ = learner(small)
                theta = batch.theta.repeat_interleave(2, 0)
                positions, frames_error = equivariance_losses(learner, small, keypoints, jacobians, theta)
                moved = positions + 0.5 * frames_error
            error = anchor_loss(keypoints, sup)
            optimizer.param_groups[0]["lr"] = args.rate * 0.5 * (1 + math.cos(math.pi * step / args.steps))
            optimizer.zero_grad()
            (10 * error + moved).backward()
            optimizer.step()
            if step % 20 == 0:
                bar.set_postfix(anchors=f"{error.item():.4f}", equivariance=f"{moved.item():.4f}")
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, args.out)


if __name__ == "__main__":
    main()
