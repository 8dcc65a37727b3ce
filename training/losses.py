"""Losses: multi-scale perceptual (SqueezeNet features and LPIPS), L1 with extra weight on eyes and mouth, equivariance.

The perceptual networks are not part of the package: `load_perceptual` takes a folder that holds
`load_lpips_squeeze.py` with its weights (LPIPS v0.1 heads on SqueezeNet 1.1). Weights as in the first-order model
where it has the term.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALES = (1, 2)
# Positions in the sup set (codec.tracking.SUP) of what people look at: lips, lids and irises.
EYES_AND_MOUTH = (3, 4, 5, 6, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 29, 30, 31, 32)


def load_perceptual(folder: Path, device: str) -> nn.Module:
    """Imports `load_lpips_squeeze.py` from `folder` and returns its frozen network."""
    spec = importlib.util.spec_from_file_location("load_lpips_squeeze", folder / "load_lpips_squeeze.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(folder)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(device=device)


def _normalized(x: Tensor) -> Tensor:
    return x / (x.pow(2).sum(1, keepdim=True) + 1e-6).sqrt()


def perceptual_loss(network: Any, picture: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Perceptual losses of [B, 3, H, W] in [0, 1].

    Returns (relative L1 of features over all scales, LPIPS at full scale, where errors count `weights` [B, 1, H, W]).
    """

    def features(x: Tensor) -> list[Tensor]:
        return network.net(((2 * x - 1) - network.shift) / network.scale, taps=True)

    relative = picture.new_zeros(())
    lpips = picture.new_zeros(())
    for scale in SCALES:
        with torch.no_grad():
            wanted = [f.float() for f in features(F.avg_pool2d(target, scale))]
        got = [f.float() for f in features(F.avg_pool2d(picture, scale))]
        for a, b in zip(got, wanted, strict=True):
            relative = relative + (a - b).abs().mean() / (b.abs().mean() + 1e-3)
        if scale == 1:
            for a, b, head in zip(got, wanted, network.lin, strict=True):
                error = ((_normalized(a) - _normalized(b)).pow(2) * head).sum(1, keepdim=True)
                lpips = lpips + (error * F.adaptive_avg_pool2d(weights, error.shape[-2:])).mean()
    return relative, lpips


def region_weights(keypoints: Tensor, side: int) -> Tensor:
    """[B, 33, 2] -> [B, 1, side, side], mean 1: Gaussians of about 8 % of the crop around eyes and mouth."""
    axis = (torch.arange(side, device=keypoints.device) + 0.5) / side * 2 - 1
    spots = keypoints[:, list(EYES_AND_MOUTH)]
    x = torch.exp(-((axis[None, None] - spots[..., :1]) ** 2) / 0.006)
    y = torch.exp(-((axis[None, None] - spots[..., 1:]) ** 2) / 0.006)
    weights = torch.einsum("bkh,bkw->bhw", y, x).clamp(max=1)[:, None]
    return weights / weights.mean((2, 3), keepdim=True).clamp(min=1e-3)


def equivariance_loss(keypoint_net: nn.Module, crop: Tensor, keypoints: Tensor, jacobians: Tensor) -> Tensor:
    """Keypoints of an affinely moved crop must be the moved keypoints (first-order model, section 3.4).

    `crop` [B, 3, 64, 64]; the moved crop shows at x what the crop shows at theta(x), so theta(new keypoints) =
    keypoints.
    """
    batch = len(crop)
    matrix = torch.eye(2, device=crop.device) + torch.randn(batch, 2, 2, device=crop.device) * 0.08
    shift = torch.randn(batch, 2, device=crop.device) * 0.06
    theta = torch.cat([matrix, shift[..., None]], -1)
    moved = F.grid_sample(
        crop,
        F.affine_grid(theta, list(crop.shape), align_corners=False),
        padding_mode="reflection",
        align_corners=False,
    )
    new_points, new_jacobians, _ = keypoint_net(moved)
    back = (matrix[:, None] @ new_points[..., None])[..., 0] + shift[:, None]
    # d theta(new) / d x = matrix @ J_new must agree with J: J^-1 matrix J_new = I, written without the inverse.
    frames = matrix[:, None] @ new_jacobians
    return (back - keypoints).abs().mean() + 0.5 * (frames - jacobians).abs().mean()
