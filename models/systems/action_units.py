"""Sixteen facial action units, measured on the 33 tracked landmarks: the stand-in for the paper's f_E as a code.

The paper takes f_E from a network that classifies action units (section 3.2.2), which has no free licence. Here each
unit of the Facial Action Coding System that moves landmarks is a distance between some of them, over the height of the
face; units without such a trace (wrinkles, cheeks) are absent. They are the oracle's code (`OracleExpression`) and what
a supervised code is taught; in the loss on pictures, f_E is blendshapes (`training.generator.losses.ExpressionLoss`).
"""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fvc.codec.face.landmarks import (
    CHIN,
    FOREHEAD,
    INNER_LIPS,
    LEFT_EYE,
    NOSE_TIP,
    NOSE_WINGS,
    OUTER_LIP_CORNERS,
    OUTER_LIPS,
    RIGHT_EYE,
    SUP,
    Eye,
    Mesh,
)
from fvc.codec.motion.sample import N_EXPRESSION
from fvc.models.landmark_net import LandmarkNet
from fvc.models.weights import folder_of

LANDMARKS = "landmarks"  # the folder of the landmark network's weights
_SPREAD = 3.0  # standard deviations between the middle and either end of [0, 1]

# Action unit -> mean and standard deviation of its measure: 9,075 frames of the 208 people of the training pack.
# "low" marks a unit that makes its measure smaller.
UNITS: dict[str, tuple[float, float]] = {
    "AU1 inner brows raised": (0.2825, 0.0453),
    "AU2 outer brows raised": (0.1866, 0.0299),
    "AU4 brows drawn together: low": (0.1662, 0.0174),
    "AU5 left upper lid raised, AU43 shut: low": (0.0453, 0.0153),
    "AU5 right upper lid raised, AU43 shut: low": (0.0450, 0.0159),
    "AU62 eyes to the right, AU61 to the left: low": (0.0013, 0.0322),
    "AU63 eyes up, AU64 down: low": (0.0474, 0.0141),
    "AU9 nose wrinkled: low": (0.4812, 0.0381),
    "AU10 upper lip raised: low": (0.1196, 0.0226),
    "AU12 left lip corner up, AU15 down: low": (0.0421, 0.0430),
    "AU12 right lip corner up, AU15 down: low": (0.0417, 0.0417),
    "AU20 lips stretched, AU18 puckered: low": (0.3024, 0.0464),
    "AU25 lips parted": (0.0533, 0.0431),
    "AU26 jaw dropped": (0.4566, 0.0367),
    "AU17 chin raised: low": (0.1898, 0.0298),
    "AU22 lips funnelled, AU24 pressed: low": (0.0938, 0.0169),
}


def _brow(side: str, part: str) -> int:
    return SUP.index(Mesh[f"{side}_BROW_{part}"])


def measures(sup: Tensor) -> Tensor:
    """Landmarks [B, 33, 2] -> the 16 measures [B, 16] in heights of the face, in the order of `UNITS`."""
    upwards = sup[:, FOREHEAD] - sup[:, CHIN]
    square = upwards.square().sum(-1, keepdim=True) + 1e-6  # [B, 1]: the height squared
    sideways = torch.stack([-upwards[:, 1], upwards[:, 0]], -1)

    def up(high: int, low: int) -> Tensor:
        return ((sup[:, high] - sup[:, low]) * upwards).sum(-1) / square[:, 0]

    def across(right: int, left: int) -> Tensor:
        return ((sup[:, right] - sup[:, left]) * sideways).sum(-1) / square[:, 0]

    def gaze(eye: Eye) -> Tensor:
        return across(eye.iris, eye.outer) + across(eye.iris, eye.inner)

    eyes = (("LEFT", LEFT_EYE), ("RIGHT", RIGHT_EYE))
    corners = [up(corner, OUTER_LIPS[0]) + up(corner, OUTER_LIPS[1]) for corner in OUTER_LIP_CORNERS]
    found = [
        sum(up(_brow(side, "INNER"), eye.inner) for side, eye in eyes),
        sum(up(_brow(side, "OUTER"), eye.outer) for side, eye in eyes),
        across(_brow("RIGHT", "INNER"), _brow("LEFT", "INNER")),
        *(up(eye.upper_lid, eye.lower_lid) for _, eye in eyes),
        sum(gaze(eye) for _, eye in eyes),
        sum(up(eye.iris, eye.lower_lid) for _, eye in eyes),
        sum(up(eye.inner, wing) for (_, eye), wing in zip(eyes, NOSE_WINGS, strict=True)),
        up(NOSE_TIP, OUTER_LIPS[0]),
        *corners,
        across(OUTER_LIP_CORNERS[1], OUTER_LIP_CORNERS[0]),
        up(*INNER_LIPS),
        up(NOSE_TIP, CHIN),
        up(OUTER_LIPS[1], CHIN),
        up(OUTER_LIPS[0], INNER_LIPS[0]) + up(INNER_LIPS[1], OUTER_LIPS[1]),
    ]
    return torch.stack(found, -1)


def action_units(sup: Tensor) -> Tensor:
    """Landmarks [B, 33, 2] in any unit -> action units [B, 16] in [0, 1]; 0.5 is the mean of the training data."""
    mean, deviation = torch.tensor(list(UNITS.values()), device=sup.device).unbind(-1)
    return ((measures(sup) - mean) / (2 * _SPREAD * deviation) + 0.5).clamp(0, 1)


class OracleExpression(nn.Module):
    """Crop [B, 3, 256, 256] in [0, 1] -> action units [B, 16] in [0, 1], as an expression code.

    The landmarks come from the landmark network for phones, so that a sender needs nothing but the crop. It is frozen.
    """

    def __init__(self) -> None:
        super().__init__()
        assert len(UNITS) == N_EXPRESSION
        self.landmarks = LandmarkNet()
        weights = folder_of(LANDMARKS) / "weights.safetensors"
        self.landmarks.load_state_dict(
            {name: tensor.float() for name, tensor in load_file(weights).items()}, strict=False
        )
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> OracleExpression:
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, crop: Tensor) -> Tensor:
        return action_units(self.landmarks(crop.float()))
