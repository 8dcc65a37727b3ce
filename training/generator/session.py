"""A training run: networks, optimizers, sampling, and one step of them. Knows nothing about time limits and logs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fvc.codec.face.source_choice import SOURCES
from fvc.models.model import Network, borrow_weights, build_network, load_weights
from fvc.models.presets import preset_named
from fvc.training.data.pack import Pack
from fvc.training.generator.batches import Batch, DeviceFrames, FileFrames, Prefetch
from fvc.training.generator.checkpoint import load_checkpoint, save_checkpoint, save_weights
from fvc.training.generator.discriminator import Discriminator, discriminator_loss, generator_losses, score_both
from fvc.training.generator.engine import Engine, computes_in_half
from fvc.training.generator.losses import ExpressionLoss
from fvc.training.generator.projection import ProjectionDiscriminator
from fvc.training.generator.recipe import PAPER_DECAYS, Recipe
from fvc.training.generator.sampling import Sampler
from fvc.training.generator.step import PARTS, Drawn, TrainingStep

WARM_UP_STEPS = 50  # of the cosine schedule
MIN_RATE = 0.02  # share of the peak learning rate that the cosine schedule ends at
MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class RunOptions:
    """Paths of files, and use of the machine: nothing that changes the result of training.

    Attributes:
        data, val: packs. perceptual, landmarker: folders of the networks that measure losses (see `losses`).
        folder: of the run: `last.pt` to resume from, `weights.safetensors` (averaged), `log.jsonl`, `strip.png`.
        sup, mirror: which landmarks are sup, and their order in a mirror.
        device: "cpu", "cuda" or None for what there is.
        resident: keep all frames on the device (None: on a GPU).
        compile: compile the generator with torch.compile.
        tensorboard: write scalars and strips to `folder/tensorboard` (needs tensorboard).
        validate_every, save_every, log_every: steps. calibration: batches to measure batch-norm statistics with.
        init: weights that a new run starts from; borrow: the same of another preset: those that fit.
        stop_at: last step of this call; segment: its wall-clock minutes, loading included.
    """

    data: Path
    perceptual: Path
    folder: Path
    sup: tuple[int, ...]
    mirror: tuple[int, ...]
    val: Path | None = None
    landmarker: Path | None = None
    device: str | None = None
    resident: bool | None = None
    compile: bool = False
    tensorboard: bool = False
    validate_every: int = 400
    save_every: int = 100
    log_every: int = 20
    calibration: int = 24
    init: Path | None = None
    borrow: Path | None = None
    stop_at: int | None = None
    segment: float | None = None


def rate_at(recipe: Recipe, step: int, minutes: float) -> float:
    """The learning rate of a step that begins after this many minutes of training (`Recipe.schedule`)."""
    if recipe.schedule == "constant" or (recipe.adversarial_from is not None and step >= recipe.adversarial_from):
        return recipe.rate
    if recipe.schedule == "paper":
        return recipe.rate * 0.1 ** sum(step >= decay for decay in PAPER_DECAYS)
    progress = min(minutes / recipe.minutes, 1.0)
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return recipe.rate * warm * max(MIN_RATE, 0.5 * (1 + math.cos(math.pi * progress)))


class TrainingRun:
    """One training run; see `RunOptions` and `Recipe`.

    Attributes:
        network: the one that learns. average: its exponential running mean, which is validated and saved.
        discriminator: learns together with it, if the recipe has one.
        step, seconds: how far training has come, all calls together.
        main: the profile that most steps see.

    Args:
        measuring: the perceptual network and, where wanted, the expression loss.
    """

    def __init__(
        self,
        recipe: Recipe,
        options: RunOptions,
        engine: Engine,
        pack: Pack,
        measuring: tuple[Any, ExpressionLoss | None],
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.options, self.engine = recipe, options, engine
        self.half = computes_in_half(engine.kind)
        options.folder.mkdir(parents=True, exist_ok=True)
        self.preset = preset = preset_named(recipe.preset)
        self.profiles, self.most_sources = preset.profiles, preset.max_sources
        self.main = max(self.profiles, key=self.profiles.__getitem__)
        self._build_networks(torch.from_numpy(pack.keypoints.mean(0)), len(pack.clips))
        state = load_checkpoint(options.folder, engine.device)
        self._restore_networks(state)
        perceptual, expression = measuring
        self.step_module = TrainingStep(self.network, recipe, perceptual, expression)
        self.wrapped_step = engine.wrap(self.step_module)
        self.optimizer = self._adam(self.network, state and state["optimizer"])
        self.wrapped_discriminator = None
        if self.discriminator is not None:
            self._prepare_discriminator(self.discriminator, state)
        if options.compile:
            generator: Any = self.network.generator
            generator.embed, generator.draw = torch.compile(generator.embed), torch.compile(generator.draw)
        self._pairs = self._averaged_pairs()
        self._prepare_batches(pack)

    def _build_networks(self, mean_sup: torch.Tensor, clips: int) -> None:
        preset, device, options = self.recipe.preset, self.engine.device, self.options
        self.network: Network = build_network(preset, mean_sup).to(device, memory_format=torch.channels_last)
        self.borrowed = 0 if options.borrow is None else borrow_weights(self.network, options.borrow)
        if options.init is not None:
            load_weights(self.network, options.init)
        if self.recipe.keep_motion:
            self.network.motion.requires_grad_(False)
        self.average: Network = build_network(preset, mean_sup).to(device, memory_format=torch.channels_last)
        self.average.load_state_dict(self.network.state_dict())
        self.discriminator = self._new_discriminator(clips) if self.recipe.is_adversarial else None

    def _new_discriminator(self, clips: int) -> Any:
        if self.preset.discriminator == "projection":
            width = self.preset.size.get("width", 1.0)
            return ProjectionDiscriminator(clips, width).to(self.engine.device)
        return Discriminator().to(self.engine.device)

    def _restore_networks(self, state: dict[str, Any] | None) -> None:
        self.step, self.seconds = 0, 0.0
        if state is not None:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.step, self.seconds = state["step"], state["seconds"]
        self.network = self.engine.synchronize_norms(self.network)
        if self.recipe.keep_motion:
            self.network.motion.eval()

    def _prepare_discriminator(self, discriminator: Discriminator, state: dict[str, Any] | None) -> None:
        known = state if state is not None and "discriminator" in state else None
        if known is not None:
            discriminator.load_state_dict(known["discriminator"])
        self.wrapped_discriminator = self.engine.wrap(discriminator)
        self.discriminator_optimizer = self._adam(discriminator, known and known["discriminator_optimizer"])

    def _prepare_batches(self, pack: Pack) -> None:
        recipe, options, engine = self.recipe, self.options, self.engine
        resident = engine.is_gpu if options.resident is None else options.resident
        kind = DeviceFrames if resident else FileFrames
        self.frames = kind(pack, options.mirror, engine.device)
        temporal = recipe.weights.temporal > 0
        self.sampler = Sampler(
            pack, recipe.seed, recipe.sampling, recipe.coarse, temporal, recipe.turning, recipe.patched, recipe.jitter
        )
        self.batches = Prefetch(lambda step: self.batch(step))

    def _adam(self, module: nn.Module, state: dict[str, Any] | None) -> torch.optim.AdamW:
        options = {"lr": self.recipe.rate, "betas": (0.5, 0.99), "weight_decay": self.recipe.decay, "fused": True}
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, **options)
        if state is not None:
            optimizer.load_state_dict(state)
            for group in optimizer.param_groups:  # this run's options, not those of the run that was saved
                group.update(options, foreach=None)
            for values in optimizer.state.values():
                values["step"] = torch.as_tensor(values["step"], dtype=torch.float32, device=self.engine.device)
        return optimizer

    def _averaged_pairs(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        mine, theirs = self.average.state_dict(), self.network.state_dict()
        names = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        return [mine[name] for name in names], [theirs[name] for name in names]

    def batch(self, step: int, n_sources: int | None = None) -> Batch:
        """This process's share of a step's batch."""
        size = self.recipe.batch
        n_sources = n_sources or self.choose_profile(step)[1]
        return self.frames.batch(self.sampler.plan(step, size, n_sources, first=size * self.engine.rank))

    def choose_profile(self, step: int) -> tuple[str, int]:
        """Profile and number of sources of a step: random, but by step, so that a resumed run takes the same."""
        rng = np.random.default_rng([self.recipe.seed, step, 1])
        profile = str(rng.choice(list(self.profiles), p=list(self.profiles.values())))
        n_sources = self.recipe.sources
        if rng.random() < self.recipe.three:  # as `fvc encode` sends
            n_sources = int(rng.integers(SOURCES, max(self.most_sources, SOURCES) + 1))
        return profile, min(n_sources, self.most_sources)

    def save(self) -> None:
        """Writes the checkpoint and the averaged weights, each in one move."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        if self.discriminator is not None:
            state["discriminator"] = self.discriminator.state_dict()
            state["discriminator_optimizer"] = self.discriminator_optimizer.state_dict()
        save_checkpoint(state, self.options.folder)
        save_weights(self.average, self.options.folder)

    @torch.no_grad()
    def recalibrate(self, batches: int) -> None:
        """Measures batch-norm statistics of the averaged network again: averaged ones do not fit averaged weights.

        A run of fewer steps than `batches` measures with as many as it has steps.
        """
        measured: Any = self.average.generator if self.recipe.keep_motion else self.average
        norms = [m for m in measured.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        norms = [norm for norm in norms if norm.weight is None or norm.weight.requires_grad]  # not of frozen networks
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        measured.train()
        pass_of_average = TrainingStep(self.average, self.recipe, None, None)
        for n in range(max(1, min(batches, self.step))):
            pass_of_average.draw(self.batch(-1 - n, self.most_sources), PARTS[self.main])
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.average.eval()

    def _has_adversary(self) -> bool:
        """Whether the discriminator has joined by now."""
        if self.discriminator is None:
            return False
        if self.recipe.adversarial_from is not None:
            return self.step >= self.recipe.adversarial_from
        return self.engine.agreed_seconds >= 60 * (self.recipe.adversarial_after or 0)

    def one_step(self) -> dict[str, torch.Tensor]:
        """One optimizer step; returns the loss terms, which are still on the device."""
        recipe, engine = self.recipe, self.engine
        profile, _ = self.choose_profile(self.step)
        batch = self.batches(self.step)
        rate = rate_at(recipe, self.step, engine.agreed(self.step, self.seconds) / 60)
        adversarial = self._has_adversary()
        with torch.autocast(engine.kind, torch.bfloat16, enabled=self.half):
            loss, drawn, terms = self.wrapped_step(batch, PARTS[profile])
            if adversarial:
                more = self._adversarial_terms(drawn, batch)
                for name, value in more.items():
                    loss = loss + getattr(recipe.weights, name) * value
                    terms[name] = value.detach()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.update(self.optimizer, self.network, rate)
        if adversarial:
            terms["discriminator"] = self._train_discriminator(drawn.pictures.detach(), batch, rate)
        self.step += 1
        keep = min(recipe.ema, 1 - 1 / (self.step + 1))
        with torch.no_grad():
            torch._foreach_lerp_(*self._pairs, 1 - keep)
        return terms

    @staticmethod
    def update(optimizer: torch.optim.Optimizer, module: nn.Module, rate: float) -> None:
        """A step of clipped gradients; none where they are not finite, decided on the device (no wait for it)."""
        for group in optimizer.param_groups:
            group["lr"] = rate
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_GRADIENT_NORM)
        optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        optimizer.step()

    def _adversarial_terms(self, drawn: Drawn, batch: Batch) -> dict[str, torch.Tensor]:
        """The generator's adversarial and feature-matching losses; the discriminator learns nothing from them."""
        assert self.discriminator is not None
        self.discriminator.requires_grad_(False)
        beside = _beside(batch)
        with torch.no_grad():
            real = self.discriminator(batch.driving.flatten(0, 1), *beside)
        adversarial, matching = generator_losses(real, self.discriminator(drawn.pictures.flatten(0, 1), *beside))
        terms = {"adversarial": adversarial, "matching": matching}
        if self.discriminator.has_identities:
            known = self.discriminator.identities(batch.clips)
            terms["identity"] = (drawn.embedding[-1] - known).abs().mean()
        self.discriminator.requires_grad_(True)
        return terms

    def _train_discriminator(self, pictures: torch.Tensor, batch: Batch, rate: float) -> torch.Tensor:
        assert self.discriminator is not None
        assert self.wrapped_discriminator is not None
        pairs = batch.driving.flatten(0, 1), pictures.flatten(0, 1)
        with torch.autocast(self.engine.kind, torch.bfloat16, enabled=self.half):
            loss = discriminator_loss(*score_both(self.wrapped_discriminator, *pairs, *_beside(batch)))
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.update(self.discriminator_optimizer, self.discriminator, rate)
        return loss.detach()


def _beside(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """What a discriminator sees beside each driving picture: sup keypoints [B * D, 33, 2], and the clip [B * D]."""
    return batch.driving_keypoints.flatten(0, 1), batch.clips.repeat_interleave(batch.driving.shape[1])
