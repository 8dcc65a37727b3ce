"""Neural Talking Heads (Zakharov et al., "Few-shot adversarial learning of realistic neural talking head models", ICCV
2019), the paper's NTH in Table 5.

    once       source_n, its landmarks drawn as lines -> embedder -> vector_n;  identity = mean over n
               styles = P identity + personal styles

    per frame  landmarks drawn as lines -> 4 down blocks -> 5 residual blocks, 4 up blocks, all with AdaIN(styles)
               -> picture

Nothing is warped: a face is drawn from its identity alone. So it is trained on many people, then on a few pictures of
one (`training.others.talking_head`), which changes all of the generator; `personal` is that person's change of the
styles, and zero before. Channels are the paper's, 64 to 512, times `width`; at width 1 the embedder has 15 and the
generator 38 million parameters, as published. Spectral norm is left out of these two, as exports cannot fold it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.base.constants import SIDE
from fvc.codec.motion.sample import N_SUP
from fvc.models.flow import Points
from fvc.models.systems.dense_layers import doubled, scaled
from fvc.models.systems.landmark_maps import N_MAPS, LandmarkMaps

IDENTITY = 512  # size of the identity vector, times width


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class DownBlock(nn.Module):
    """Residual block that halves the resolution: [B, inputs, H, W] -> [B, outputs, H / 2, W / 2]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second, self.skip = _conv(inputs, outputs), _conv(outputs, outputs), _conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(F.relu(x))))
        return F.avg_pool2d(y + self.skip(x), 2)


class SelfAttention(nn.Module):
    """Self-attention over all pixels (Zhang et al., SAGAN, 2019); [B, C, H, W], the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key = _conv(channels, channels // 8, 1), _conv(channels, channels // 8, 1)
        self.value, self.out = _conv(channels, channels // 2, 1), _conv(channels // 2, channels, 1)
        self.share = nn.Parameter(torch.tensor(0.1))  # SAGAN's begins at 0, which hides the rest from gradients

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part(x).flatten(2) for part in (self.query, self.key, self.value))
        attention = (query.transpose(1, 2) @ key).softmax(-1)  # [B, P, P]
        found = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.share * self.out(found)


class IdentityTrunk(nn.Module):
    """Picture and landmark maps [B, 3 + 8, 256, 256] -> vector [B, 512 * width], and the features of each block.

    Embedder and discriminator both have this form.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        channels = [3 + N_MAPS, *(scaled(min(64 * 2**n, IDENTITY), width) for n in range(6))]
        self.blocks = nn.ModuleList(DownBlock(channels[n], channels[n + 1]) for n in range(6))
        self.attention = SelfAttention(channels[3])  # at 32x32

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for n, block in enumerate(self.blocks):
            x = block(x)
            if n == 2:
                x = self.attention(x)
            features.append(x)
        return F.relu(x.sum((2, 3))), features


class AdaptiveBlock(nn.Module):
    """Residual block whose instance norms take scale and shift from outside (AdaIN; Huang and Belongie, 2017)."""

    def __init__(self, inputs: int, outputs: int, up: bool = False) -> None:
        super().__init__()
        self.up, self.styles = up, [inputs, inputs, outputs, outputs]
        self.first, self.second = _conv(inputs, outputs), _conv(outputs, outputs)
        self.skip = _conv(inputs, outputs, 1) if up or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """x [B, inputs, H, W], styles [B, sum(self.styles)] -> [B, outputs, H', W']."""
        scale, shift, second_scale, second_shift = (part[..., None, None] for part in styles.split(self.styles, 1))
        y = F.relu(F.instance_norm(x) * (1 + scale) + shift)
        x, y = (doubled(x), doubled(y)) if self.up else (x, y)
        y = F.relu(F.instance_norm(self.first(y)) * (1 + second_scale) + second_shift)
        return self.skip(x) + self.second(y)


class TalkingHeadsGenerator(nn.Module):
    """See `models.interface.Generator`. It uses tracked landmarks only.

    Embedding: styles [B, S], and the identity vector [B, 512 * width], at which only training looks.
    """

    def __init__(self, mean_sup: Tensor, n_unsup: int, width: float = 1.0) -> None:
        super().__init__()
        base, middle, deep, widest = (scaled(channels, width) for channels in (64, 128, 256, 512))
        self.maps, self.embedder = LandmarkMaps(SIDE), IdentityTrunk(width)
        self.down = nn.ModuleList(
            DownBlock(*ends) for ends in ((N_MAPS, base), (base, middle), (middle, deep), (deep, widest))
        )
        self.attention = SelfAttention(deep)
        plain = [(widest, widest, False)] * 5
        up = [(widest, deep, True), (deep, middle, True), (middle, base, True), (base, base, True)]
        self.adaptive = nn.ModuleList(AdaptiveBlock(*sizes) for sizes in (*plain, *up))
        self.counts = [sum(block.styles) for block in self.adaptive]
        self.project = nn.Linear(scaled(IDENTITY, width), sum(self.counts))
        nn.init.normal_(self.project.weight, std=0.01)
        nn.init.zeros_(self.project.bias)
        self.personal = nn.Parameter(torch.zeros(sum(self.counts)))
        self.out = _conv(base, 3)

    def lines(self, points: Points) -> Tensor:
        """The tracked landmarks [B, K, ...] drawn as lines, [B, 8, 256, 256] in [0, 1]."""
        return self.maps(points.position[:, :N_SUP].float(), points.presence[:, :N_SUP])

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        """See `models.interface.Generator.embed`."""
        vectors, _ = self.embedder(torch.cat([pictures.flatten(0, 1), self.lines(kp_source)], 1))
        identity = vectors.float().unflatten(0, pictures.shape[:2]).mean(1)
        return self.project(identity).float() + self.personal, identity

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """See `models.interface.Generator.draw`; `expression` and `recent` are ignored."""
        y = self.lines(kp_driving)
        for n, block in enumerate(self.down):
            y = block(y)
            if n == 2:
                y = self.attention(y)
        for adaptive, styles in zip(self.adaptive, embedding[0].split(self.counts, 1), strict=True):
            y = adaptive(y, styles)
        return torch.sigmoid(self.out(F.relu(y)).float())
