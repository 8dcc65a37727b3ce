"""Everything that determines a training run, except the data. Imports nothing that a bare machine lacks."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

SAMPLINGS = ("spread", "three", "four")
SCHEDULES = ("cosine", "paper")


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms; a term of weight 0 is not computed.

    Attributes:
        l1: mean absolute error of pixels in [0, 1].
        faces: the same, weighted by eyes and mouth (`losses.region_weights`).
        relative: multi-scale perceptual loss: L1 of SqueezeNet features, relative to their mean.
        lpips: LPIPS-squeeze at full scale, weighted by eyes and mouth.
        equivariance: of the learned keypoints (weight of the first-order model: 10) and, by half, their Jacobians.
        expression: L1 of 52 blendshapes between drawing and target (the paper's f_E); needs the face landmarker.
        landmarks: L1 of its 478 landmarks, in units of the half side (the paper's f_L); needs the face landmarker.
        grain: how much more one-pixel checkerboard the drawing has than the target, per block of 8x8 pixels.
        temporal: L1 of the change between two neighbouring frames; costs a second drawing per sample.
        adversarial: least-squares GAN; matching: L1 of the discriminator's features. Both off until
            `Recipe.adversarial_after`.
    """

    l1: float = 4.0
    faces: float = 3.0
    relative: float = 1.0
    lpips: float = 3.0
    equivariance: float = 10.0
    expression: float = 10.0
    landmarks: float = 10.0
    grain: float = 0.0
    temporal: float = 0.0
    adversarial: float = 1.0
    matching: float = 10.0


@dataclass(frozen=True)
class Recipe:
    """Defaults for two CPU cores. How the shipped weights were trained is in training/LOG.md.

    Attributes:
        preset: name in `models.presets`.
        minutes: training time of the run, without stops; the cosine schedule spans it.
        batch: samples per step and process.
        rate: peak learning rate (AdamW, betas 0.5 and 0.99).
        ema: decay of the averaged weights.
        decay: weight decay; 0 makes it Adam.
        schedule: cosine: to 2 % over `minutes`; paper: a tenth after 60 % and a hundredth after 90 % of `steps`.
        steps: end of the run by steps (None: by minutes only).
        sampling: spread: half of the samples with sources chosen as at inference, half with sources far apart in yaw;
            eyes and mouths unlike the sources' preferred; three, four: the paper's A, B, C and A, B1, B2, C (section
            3.3).
        three: share of steps with three sources, or more if the preset has them, instead of the paper's two.
        scales: factors by which the picture is shrunk for the perceptual loss. (SqueezeNet needs 35 pixels: up to 4.)
        coarse: driving keypoints and codes are quantized as in the stream, up to 2^coarse times coarser, at random.
        turning: share of samples from clips whose head turns by more than the paper's 0.3 rad; rare in most data.
        keep_motion: freeze the sender's networks, and so their output, its priors and existing streams.
        patched: share of samples of three sources whose last one is the first with the eyes or the mouth of another
            frame, as `fvc encode` sends it (`fvc.codec.face.patching`).
        adversarial_after: minutes until the discriminator joins; None: never; 0: from scratch, as the paper.
    """

    preset: str
    minutes: float
    batch: int = 6
    rate: float = 1e-3
    ema: float = 0.998
    seed: int = 0
    decay: float = 1e-3
    schedule: str = "cosine"
    steps: int | None = None
    sampling: str = "spread"
    three: float = 0.5
    scales: tuple[int, ...] = (1, 2)
    coarse: int = 0
    turning: float = 0.3
    keep_motion: bool = False
    patched: float = 0.0
    adversarial_after: float | None = None
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling {self.sampling}: choose from {', '.join(SAMPLINGS)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule {self.schedule}: choose from {', '.join(SCHEDULES)}")
        if not all(0 <= share <= 1 for share in (self.three, self.turning, self.patched)):
            raise ValueError("three, turning, patched: a share of samples is out of range 0..1")
        if self.schedule == "paper" and not self.steps:
            raise ValueError("schedule paper: needs a number of steps (the paper's 100000)")

    def reweighted(self, texts: list[str]) -> Recipe:
        """With weights replaced by texts such as "temporal=2". Raises ValueError for an invalid one."""
        known = {item.name for item in fields(Weights)}
        changes = {}
        for text in texts:
            name, _, value = text.partition("=")
            try:
                changes[name] = float(value)
            except ValueError:
                raise ValueError(f"weight {text}: say NAME=NUMBER") from None
            if name not in known or not 0 <= changes[name] < float("inf"):
                raise ValueError(f"weight {text}: names are {', '.join(sorted(known))}; numbers are not negative")
        return replace(self, weights=replace(self.weights, **changes))


def paper_recipe(preset: str, minutes: float, seed: int = 0) -> Recipe:
    """Sections 3.3 and 6.1.3: four-frame sampling, Adam 2e-4 in three stages, batch 32, adversarial from scratch.

    The perceptual network is ours (SqueezeNet at three scales for VGG-19 at four); the first-order model's weights:
    perceptual 10, equivariance 10, feature matching 10, adversarial 1, and the paper's 40 for expression.
    """
    weights = Weights(
        l1=0, faces=0, relative=10, lpips=0, equivariance=10, expression=40, landmarks=40, adversarial=1, matching=10
    )
    return Recipe(
        preset,
        minutes,
        batch=32,
        rate=2e-4,
        decay=0.0,
        seed=seed,
        schedule="paper",
        steps=100_000,
        sampling="four",
        three=0.0,
        scales=(1, 2, 4),
        adversarial_after=0.0,
        weights=weights,
    )
