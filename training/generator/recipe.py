"""Everything that determines a training run, except the data. Imports nothing that a bare machine lacks."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

SAMPLINGS = ("spread", "three", "four")
SCHEDULES = ("cosine", "paper", "constant")
PAPER_STEPS = 100_000
PAPER_DECAYS = (60_000, 90_000)  # steps after which the paper divides the learning rate by ten
FINE_TUNING_STEPS = 50_000  # with an adversary, of the paper's first-order models
SPADE_STEPS = 400_000  # of the paper's mobile model with SPADE


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms; a term of weight 0 is not computed.

    Attributes:
        l1: mean absolute error of pixels in [0, 1].
        faces: the same, weighted by eyes and mouth (`losses.region_weights`).
        relative: multi-scale perceptual loss: L1 of SqueezeNet features, relative to their mean.
        lpips: LPIPS-squeeze at full scale, weighted by eyes and mouth.
        equivariance: of the learned keypoints; equivariance_jacobian: of their Jacobians (first-order model: 10 each).
        code: L1 between expression code and action units, of presets whose code is supervised.
        expression: L1 of 52 blendshapes between drawing and target (the paper's f_E); needs the face landmarker.
        landmarks: L1 of its 478 landmarks, in units of the half side (the paper's f_L); needs the face landmarker.
        grain: how much more one-pixel checkerboard the drawing has than the target, per block of 8x8 pixels.
        temporal: L1 of the change between two neighbouring frames; costs a second drawing per sample.
        adversarial: least-squares GAN; matching: L1 of the discriminator's features. Both off until
            `Recipe.adversarial_after` or `adversarial_from`.
        identity: L1 between a projection discriminator's vector of a clip and the embedder's (Zakharov et al., 2019).
    """

    l1: float = 4.0
    faces: float = 3.0
    relative: float = 1.0
    lpips: float = 3.0
    equivariance: float = 10.0
    equivariance_jacobian: float = 5.0
    code: float = 10.0
    expression: float = 10.0
    landmarks: float = 10.0
    grain: float = 0.0
    temporal: float = 0.0
    adversarial: float = 1.0
    matching: float = 10.0
    identity: float = 80.0


@dataclass(frozen=True)
class Recipe:
    """Defaults for two CPU cores. How the shipped weights were trained is in training/LOG.md.

    Attributes:
        preset: name in `models.presets`.
        minutes: training time of the run, see `Engine.work_seconds`; the cosine schedule spans it.
        batch: samples per step and process.
        rate: peak learning rate (AdamW, betas 0.5 and 0.99).
        ema: decay of the averaged weights.
        decay: weight decay; 0 makes it Adam.
        schedule: cosine: to 2 % over `minutes`; paper: a tenth after 60,000 and a hundredth after 90,000 steps, and the
            whole again once fine-tuning with an adversary begins (`adversarial_from`); constant.
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
        adversarial_from: the step at which it joins, instead.
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
    adversarial_from: int | None = None
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling {self.sampling}: choose from {', '.join(SAMPLINGS)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule {self.schedule}: choose from {', '.join(SCHEDULES)}")
        if not all(0 <= share <= 1 for share in (self.three, self.turning, self.patched)):
            raise ValueError("three, turning, patched: a share of samples is out of range 0..1")

    @property
    def is_adversarial(self) -> bool:
        """Whether there is a discriminator, now or later."""
        return self.adversarial_after is not None or self.adversarial_from is not None

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
    """Sections 3.3, 4.2 and 6.1.3: four-frame sampling, Adam 2e-4 in three stages, batch 32, 100,000 steps.

    Frontalizers train with an adversary from scratch, first-order models get one for 50,000 more steps ("FOM adv", as
    in their authors' configuration at the full rate). The SPADE model has neither adversary nor decay, and 400,000
    steps. The perceptual network is ours (SqueezeNet at three scales for VGG-19 at four); the first-order model's
    weights: perceptual 10, equivariance 10 and 10, feature matching 10, adversarial 1, and the paper's 40 for
    expression.
    """
    weights = Weights(
        l1=0,
        faces=0,
        relative=10,
        lpips=0,
        equivariance=10,
        equivariance_jacobian=10,
        code=40,
        expression=40,
        landmarks=40,
        adversarial=1,
        matching=10,
    )
    base = Recipe(
        preset,
        minutes,
        batch=32,
        rate=2e-4,
        decay=0.0,
        seed=seed,
        schedule="paper",
        steps=PAPER_STEPS,
        sampling="four",
        three=0.0,
        scales=(1, 2, 4),
        weights=weights,
    )
    if preset.startswith("fom"):
        return replace(base, steps=PAPER_STEPS + FINE_TUNING_STEPS, adversarial_from=PAPER_STEPS)
    if preset.endswith("-spade"):
        return replace(base, schedule="constant", steps=SPADE_STEPS)
    return replace(base, adversarial_after=0.0)
