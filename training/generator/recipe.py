"""Everything that determines a training run, except the data. Imports nothing that a bare machine lacks."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from fvc.models.presets import AT

SAMPLINGS = ("spread", "random", "three", "four")
SCHEDULES = ("cosine", "paper", "constant")
PAPER_STEPS = 100_000
PAPER_DECAYS = (60_000, 90_000)  # steps after which the paper divides the learning rate by ten
FINE_TUNING_STEPS = 50_000  # with an adversary, of the paper's first-order models
SPADE_STEPS = 400_000  # of the paper's mobile model with SPADE
JITTER = (0.08, 0.06)  # see `Recipe.jitter`
DENSE_FIRST_ORDER = ("fom", "fom-fau", "fom-dm-expr", "fom-dec-expr", "fom-light-expr", "fom-light-free")
PAPER_SAMPLING = {  # of the paper's systems (section 3.3); only its Frontalizers have a sampling of their own
    **dict.fromkeys((*DENSE_FIRST_ORDER, "fom-mobile", "hybrid-spade", "nth"), "random"),
    **dict.fromkeys(("frontalizer", "frontalizer-jac", "frontalizer-mobile", "frontalizer-multiscale"), "three"),
    **dict.fromkeys(("frontalizer-new-sampling", "frontalizer-mobile-spade"), "four"),
}


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
            eyes and mouths unlike the sources' preferred; random: any frames of a clip; three, four: the paper's A, B,
            C and A, B1, B2, C (section 3.3).
        sources: source pictures of a sample, as far as the preset takes them.
        three: share of steps with three sources, or more if the preset has them, instead.
        scales: factors by which the picture is shrunk for the perceptual loss. (SqueezeNet needs 35 pixels: up to 4.)
        coarse: driving keypoints and codes are quantized as in the stream, up to 2^coarse times coarser, at random.
        turning: share of samples from clips whose head turns by more than the paper's 0.3 rad; rare in most data.
        jitter: standard deviations of the equivariance loss's affine motion: of its matrix and of its shift.
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
    sources: int = 2
    three: float = 0.5
    scales: tuple[int, ...] = (1, 2)
    coarse: int = 0
    turning: float = 0.3
    jitter: tuple[float, float] = JITTER
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


PAPER_WEIGHTS = Weights(
    l1=0,
    faces=0,
    relative=10,
    lpips=0,
    equivariance=10,
    equivariance_jacobian=10,
    code=40,
    expression=40,  # gamma_E
    landmarks=40,  # gamma_E
    adversarial=1,
    matching=10 * 4,  # 10 for each of four blocks; the loss is their mean
)


def paper_recipe(preset: str, minutes: float, seed: int = 0) -> Recipe:
    """Sections 3.3, 4.2, 6.1.2 and 6.1.3: Adam at 2e-4 in three stages, batch 32, 100,000 steps.

    The frames of a sample: `PAPER_SAMPLING`; a preset that is no system of the paper takes the new sampling. Two
    sources at most; Neural Talking Heads have their authors' eight.

    The dense first-order models get an adversary for 50,000 more steps ("FOM adv"), at the full rate, which their
    authors keep all the time. `frontalizer-mobile-spade` has no adversary, no decay and 400,000 steps. All others have
    an adversary from scratch: section 6.1.3 says so of all but the dense first-order model.

    Weights are those of the first-order model, and 40 for expression. What differs from the paper:

    - The perceptual network is SqueezeNet at three scales, relative to its features; theirs is VGG-19 at four.
    - The discriminator looks at two scales, has 32 to 256 channels and no keypoints; its authors' looks at one, has 64
      to 512 and sees the keypoints. Each loss is a mean over scales.
    - The equivariance loss's motion is affine, with the authors' noise; theirs adds a thin-plate spline (0.005).
    - The expression loss is a mean over blendshapes and over landmarks of another network (`losses.ExpressionLoss`).
    - A preset with several profiles learns them in turns; the paper trains one network for each.
    - `nth` has these losses, and a matching of 10 for each of its discriminator's six blocks.
    - Augmentation, quantized driving samples, clipped gradients and averaged weights are ours.
    """
    name = preset.partition(AT)[0]
    recipe = Recipe(
        preset,
        minutes,
        batch=32,
        rate=2e-4,
        decay=0.0,
        seed=seed,
        schedule="paper",
        steps=PAPER_STEPS,
        sampling=PAPER_SAMPLING.get(name, "four"),
        three=0.0,
        scales=(1, 2, 4),
        turning=0.0,
        jitter=(0.05, 0.05),
        weights=PAPER_WEIGHTS,
    )
    if name in DENSE_FIRST_ORDER:
        return replace(recipe, steps=PAPER_STEPS + FINE_TUNING_STEPS, adversarial_from=PAPER_STEPS)
    if name == "frontalizer-mobile-spade":
        return replace(recipe, schedule="constant", steps=SPADE_STEPS)
    if name == "nth":
        recipe = replace(recipe, sources=8, weights=replace(PAPER_WEIGHTS, matching=10 * 6))
    return replace(recipe, adversarial_after=0.0)
