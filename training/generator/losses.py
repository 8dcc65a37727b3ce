"""Losses: multi-scale perceptual (SqueezeNet features and LPIPS), eyes and mouth, equivariance, expression, flicker.

The networks that losses are measured with are not part of the package: `load_perceptual` takes a folder that holds
`load_lpips_squeeze.py` with its weights (LPIPS v0.1 heads on SqueezeNet 1.1), `ExpressionLoss` one that holds
`load_face_landmarker.py` (MediaPipe's face landmarker in torch). Weights as in the first-order model where it has the
term. All means are over samples of equal weight, so that N processes with a share of the batch each have the gradient
of the whole.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.face.landmarks import EYES, MOUTH, OUTER_EYE_CORNERS
from fvc.models.flow import inverse

EYES_AND_MOUTH = tuple(sorted((*EYES[0], *EYES[1], *MOUTH)))  # sup indices of the landmarks that people look at
REGION_VARIANCE = 0.003  # of the Gaussians around these landmarks; half side of the crop = 1
WINDOW_ROOM = 1.5  # ratio of the face landmarker's window to the face's extent


def _load(folder: Path, name: str, device: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(folder)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(device=device)


def load_perceptual(folder: Path, device: str) -> Any:
    """Imports `load_lpips_squeeze.py` from `folder` and returns its frozen network."""
    return _load(folder, "load_lpips_squeeze", device)


def _lpips_map(a: Tensor, b: Tensor, head: Tensor) -> Tensor:
    """sum over c of head_c (a_c / |a| - b_c / |b|)^2, [B, C, h, w] -> [B, h, w]; `b` gets no gradient.

    The square is expanded, so that few passes go over all channels: this takes half the time.
    """
    with torch.no_grad():
        unit = b * (b.square().sum(1, keepdim=True) + 1e-6).rsqrt()
        weighted = head * unit
        bb = (weighted * unit).sum(1)
    sums = F.conv2d(a * a, torch.cat([torch.ones_like(head), head]))  # sum a^2, sum head a^2
    over = (sums[:, 0] + 1e-6).rsqrt()
    return (sums[:, 1] * over * over - 2 * (a * weighted).sum(1) * over + bb).clamp(min=0)


def perceptual_loss(
    network: Any, picture: Tensor, target: Tensor, weights: Tensor, scales: Sequence[int] = (1, 2)
) -> tuple[Tensor, Tensor]:
    """Perceptual losses of pictures [B, 3, H, W] in [0, 1].

    Returns relative L1 of features, summed over `scales`, and LPIPS at full scale, weighted by `weights` [B, 1, H, W].
    """

    def features(x: Tensor, scale: int) -> list[Tensor]:
        x = F.avg_pool2d(x, scale) if scale > 1 else x
        return [f.float() for f in network.net(((2 * x - 1) - network.shift) / network.scale, taps=True)]

    relative = picture.new_zeros(())
    lpips = picture.new_zeros(())
    for scale in scales:
        with torch.no_grad():
            wanted = features(target, scale)
        got = features(picture, scale)
        with torch.autocast(picture.device.type, enabled=False):  # differences of large numbers: not in half precision
            for a, b in zip(got, wanted, strict=True):
                relative = relative + ((a - b).abs().mean((1, 2, 3)) / (b.abs().mean((1, 2, 3)) + 1e-3)).mean()
            if scale == 1:
                for a, b, head in zip(got, wanted, network.lin, strict=True):
                    error = _lpips_map(a, b, head.detach())
                    lpips = lpips + (error * F.adaptive_avg_pool2d(weights, error.shape[-2:])[:, 0]).mean()
    return relative, lpips


def region_weights(keypoints: Tensor, side: int) -> Tensor:
    """[B, 33, 2] -> [B, 1, side, side], mean 1: Gaussians around eyes and mouth, about 8 % of the crop wide."""
    axis = (torch.arange(side, device=keypoints.device) + 0.5) / side * 2 - 1
    spots = keypoints[:, list(EYES_AND_MOUTH)]
    x = torch.exp(-((axis[None, None] - spots[..., :1]) ** 2) / (2 * REGION_VARIANCE))
    y = torch.exp(-((axis[None, None] - spots[..., 1:]) ** 2) / (2 * REGION_VARIANCE))
    weights = torch.einsum("bkh,bkw->bhw", y, x).clamp(max=1)[:, None]
    return weights / weights.mean((2, 3), keepdim=True).clamp(min=1e-3)


def equivariance_losses(
    keypoint_net: nn.Module, crop: Tensor, keypoints: Tensor, jacobians: Tensor, theta: Tensor
) -> tuple[Tensor, Tensor]:
    """Keypoints of an affinely moved crop must be the moved keypoints (first-order model, section 3.4).

    `crop` [B, 3, 64, 64]; the moved crop shows at x what the crop shows at theta(x), so theta(new keypoints) =
    keypoints. `theta` [B, 2, 3]: matrix and shift.

    Returns the losses of positions and of Jacobians.
    """
    matrix, shift = theta[:, :, :2], theta[:, :, 2]
    grid = F.affine_grid(theta, list(crop.shape), align_corners=False)
    moved = F.grid_sample(crop, grid, padding_mode="reflection", align_corners=False)
    new_points, new_jacobians, _ = keypoint_net(moved)
    back = (matrix[:, None] @ new_points[..., None])[..., 0] + shift[:, None]
    # matrix @ J_new must equal J. The quotient is compared with the identity: a difference would be least for J = 0.
    quotient = inverse(jacobians) @ (matrix[:, None] @ new_jacobians)
    jacobian_error = (quotient - torch.eye(2, device=quotient.device)).abs().mean()
    return (back - keypoints).abs().mean(), jacobian_error


def grain_loss(picture: Tensor, target: Tensor) -> Tensor:
    """How much more one-pixel checkerboard the picture has than the target, both [B, 3, H, W], per block of 8x8 pixels.

    Perceptual networks begin with a stride of two pixels and hardly see such patterns.
    """

    def grain(x: Tensor) -> Tensor:
        rows = x[..., 1:, :] - x[..., :-1, :]
        return F.avg_pool2d((rows[..., 1:] - rows[..., :-1]).abs(), 8, 4)

    return (grain(picture) - grain(target)).clamp(min=0).mean()


def temporal_loss(pictures: Tensor, targets: Tensor, neighbours: Tensor) -> Tensor:
    """L1 between the change from the last frame but one to the last, and that of the targets, [B, D, 3, H, W] each.

    Samples with neighbours [B] = 0, whose last two frames are not consecutive, do not count.
    """
    change = (pictures[:, -1] - pictures[:, -2]) - (targets[:, -1] - targets[:, -2])
    return (change.abs().mean((1, 2, 3)) * neighbours).mean()


def face_windows(keypoints: Tensor, side: int) -> Tensor:
    """Sup keypoints [B, 33, 2] in [-1, 1] -> (centre x, centre y, size, angle) [B, 4] in pixels.

    The window for the face landmarker: WINDOW_ROOM times the face's extent, rotated so that the eyes are level.
    """
    points = (keypoints + 1) * side / 2
    left, right = OUTER_EYE_CORNERS
    x, y = (points[:, right] - points[:, left]).unbind(-1)
    angle = torch.atan2(y, x)
    turn = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], -1).unflatten(-1, (2, 2))
    level = points @ turn.transpose(1, 2)
    low, high = level.amin(1), level.amax(1)
    centre = (((low + high) / 2)[:, None] @ turn)[:, 0]
    return torch.cat([centre, WINDOW_ROOM * (high - low).amax(-1, keepdim=True), angle[:, None]], -1)


class ExpressionLoss:
    """The paper's expression loss (section 3.2.2): f_E is 52 blendshapes, f_L 478 landmarks, of one frozen network.

    The paper's own network (action units and landmarks, EmoNet's family) has no free licence. Where f_E is an
    expression code, 16 action units measured on landmarks stand for it (`models.systems.action_units`).
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._net = _load(folder, "load_face_landmarker", device)

    def __call__(self, picture: Tensor, target: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, H, W] in [0, 1], sup keypoints [B, 33, 2] -> L1 of blendshapes, L1 of landmarks.

        Landmarks are in units of the half side; samples whose target shows no face do not count.
        """
        side = target.shape[-1]
        with torch.autocast(picture.device.type, enabled=False):
            windows = face_windows(keypoints.float(), side)
            with torch.no_grad():
                wanted, confidence = self._net.landmarks(target.float(), windows)
                shapes = self._net.blendshapes(wanted)
                seen = (confidence > 0).float()
            got, _ = self._net.landmarks(picture.float(), windows)
            expression = (self._net.blendshapes(got) - shapes).abs().mean(1)
            landmarks = (got[..., :2] - wanted[..., :2]).abs().mean((1, 2)) * (2 / side)
        return (expression * seen).mean(), (landmarks * seen).mean()
