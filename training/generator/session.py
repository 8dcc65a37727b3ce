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
from fvc.models.model import borrow_weights, load_weights
from fvc.models.presets import PRESETS
from fvc.training.data.pack import Pack
from fvc.training.generator.batches import Batch, DeviceFrames, FileFrames, Prefetch
from fvc.training.generator.checkpoint import load_checkpoint, save_checkpoint, save_weights
from fvc.training.generator.discriminator import Discriminator, Judged, discriminator_loss, generator_losses
from fvc.training.generator.engine import Engine, computes_in_half
from fvc.training.generator.losses import ExpressionLoss
from fvc.training.generator.recipe import Recipe
from fvc.training.generator.sampling import Sampler
from fvc.training.generator.step import TrainingStep
from fvc.training.generator.validate import PARTS


@dataclass(frozen=True)
class Setup:
    """Where things are and how the machine is used: nothing that changes what is learned.

    Attributes:
        data, val: packs. perceptual, landmarker: folders of the judging networks (see `losses`).
        folder: of the run: `last.pt` to resume from, `weights.safetensors` (averaged), `log.jsonl`, `strip.png`.
        sup, mirror: which landmarks are sup, and their order in a mirror.
        device: "cpu", "cuda" or None for what there is.
        resident: keep all frames on the device (None: on a GPU).
        compile: compile the generator with torch.compile.
        tensorboard: write scalars and strips to `folder/tensorboard` (needs tensorboard).
        validate_every, save_every, log_every: steps. calibration: batches to measure batch-norm statistics with.
        init: weights that a new run starts from; borrow: weights of another preset, of which it takes what fits.
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
    """The learning rate of a step that begins after so many minutes of training; 50 steps of warm-up (not paper)."""
    if recipe.schedule == "paper":
        done = step / (recipe.steps or 1)
        return recipe.rate * (1.0 if done < 0.6 else 0.1 if done < 0.9 else 0.01)
    progress = min(minutes / recipe.minutes, 1.0)
    warm = min(1.0, (step + 1) / 50)
    return recipe.rate * warm * max(0.02, 0.5 * (1 + math.cos(math.pi * progress)))


class Run:
    """One training run; see `Setup` and `Recipe`. `judges`: perceptual network and, where wanted, expression loss."""

    def __init__(
        self, recipe: Recipe, setup: Setup, engine: Engine, pack: Pack, judges: tuple[Any, ExpressionLoss | None]
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.setup, self.engine = recipe, setup, engine
        device = engine.device
        setup.folder.mkdir(parents=True, exist_ok=True)
        preset = PRESETS[recipe.preset]
        self.profiles, self.most_sources = preset.profiles, preset.max_sources
        self.main = max(self.profiles, key=self.profiles.__getitem__)
        mean_sup = torch.from_numpy(pack.keypoints.mean(0))
        self.network = preset.build(mean_sup).to(device, memory_format=torch.channels_last)
        self.borrowed = 0 if setup.borrow is None else borrow_weights(self.network, setup.borrow)
        if setup.init is not None:
            load_weights(self.network, setup.init)
        self.network.motion.requires_grad_(not recipe.keep_motion)
        self.average = preset.build(mean_sup).to(device, memory_format=torch.channels_last)
        self.average.load_state_dict(self.network.state_dict())
        self.discriminator = None if recipe.adversarial_after is None else Discriminator().to(device)
        self.step, self.seconds = 0, 0.0
        state = load_checkpoint(setup.folder, device)
        if state is not None:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.step, self.seconds = state["step"], state["seconds"]
        self.network = engine.synchronize_norms(self.network)
        if recipe.keep_motion:
            self.network.motion.eval()
        self.step_module = TrainingStep(self.network, recipe, *judges)
        self.wrapped = engine.wrap(self.step_module)
        self.optimizer = self._adam(self.network, state and state["optimizer"])
        self.judge = None
        if self.discriminator is not None:
            known = state if state is not None and "discriminator" in state else None
            if known is not None:
                self.discriminator.load_state_dict(known["discriminator"])
            self.judge = engine.wrap(self.discriminator)
            self.judge_optimizer = self._adam(self.discriminator, known and known["discriminator_optimizer"])
        if setup.compile:
            generator = self.network.generator
            generator.embed, generator.draw = torch.compile(generator.embed), torch.compile(generator.draw)
        self._pairs = self._averaged_pairs()
        resident = engine.is_gpu if setup.resident is None else setup.resident
        kind = DeviceFrames if resident else FileFrames
        self.frames = kind(pack, setup.mirror, device)
        self.sampler = Sampler(
            pack,
            recipe.seed,
            recipe.sampling,
            recipe.coarse,
            recipe.weights.temporal > 0,
            recipe.turning,
            recipe.patched,
        )
        self.batches = Prefetch(lambda step: self.batch(step))
        self.half = computes_in_half(engine.kind)

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
        n_sources = n_sources or self.drawn(step)[1]
        return self.frames.batch(self.sampler.plan(step, size, n_sources, first=size * self.engine.rank))

    def drawn(self, step: int) -> tuple[str, int]:
        """Profile and number of sources of a step: by step, so that a run that was stopped draws the same."""
        draw = np.random.default_rng([self.recipe.seed, step, 1])
        profile = str(draw.choice(list(self.profiles), p=list(self.profiles.values())))
        n_sources = 2  # as in the paper
        if draw.random() < self.recipe.three:  # as `fvc encode` has
            n_sources = int(draw.integers(SOURCES, max(self.most_sources, SOURCES) + 1))
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
            state["discriminator_optimizer"] = self.judge_optimizer.state_dict()
        save_checkpoint(state, self.setup.folder)
        save_weights(self.average, self.setup.folder)

    @torch.no_grad()
    def recalibrate(self, batches: int) -> None:
        """Measures the averaged network's batch-norm statistics anew: averaged statistics fit no averaged weights.

        A run of fewer steps than `batches` measures with as many as it has steps.
        """
        measured = self.average.generator if self.recipe.keep_motion else self.average
        norms = [m for m in measured.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        measured.train()
        shown = TrainingStep(self.average, self.recipe, None, None)
        for n in range(max(1, min(batches, self.step))):
            shown.draw(self.batch(-1 - n, self.most_sources), PARTS[self.main])
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.average.eval()

    def one_step(self) -> dict[str, torch.Tensor]:
        """One optimizer step; returns the loss terms, which are still on the device."""
        recipe, engine = self.recipe, self.engine
        profile, _ = self.drawn(self.step)
        batch = self.batches(self.step)
        rate = rate_at(recipe, self.step, engine.agreed(self.step, self.seconds) / 60)
        judged = self.judge is not None and engine.agreed_seconds >= 60 * (recipe.adversarial_after or 0)
        with torch.autocast(engine.kind, torch.bfloat16, enabled=self.half):
            loss, pictures, terms = self.wrapped(batch, PARTS[profile])
            if judged:
                more = self._fooling(pictures, batch)
                loss = (
                    loss + recipe.weights.adversarial * more["adversarial"] + recipe.weights.matching * more["matching"]
                )
                terms |= {name: value.detach() for name, value in more.items()}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._update(self.optimizer, self.network, rate)
        if judged:
            terms["discriminator"] = self._judge_step(pictures.detach(), batch, rate)
        self.step += 1
        keep = min(recipe.ema, 1 - 1 / (self.step + 1))
        with torch.no_grad():
            torch._foreach_lerp_(*self._pairs, 1 - keep)
        return terms

    def _update(self, optimizer: torch.optim.Optimizer, module: nn.Module, rate: float) -> None:
        """A step of clipped gradients; none where they are not finite, decided on the device (no wait for it)."""
        for group in optimizer.param_groups:
            group["lr"] = rate
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        optimizer.step()

    def _fooling(self, pictures: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """The generator's adversarial and feature-matching losses; the discriminator learns nothing from them."""
        assert self.discriminator is not None
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real = self.discriminator(batch.driving.flatten(0, 1))
        adversarial, matching = generator_losses(real, self.discriminator(pictures.flatten(0, 1)))
        self.discriminator.requires_grad_(True)
        return {"adversarial": adversarial, "matching": matching}

    def _judge_step(self, pictures: torch.Tensor, batch: Batch, rate: float) -> torch.Tensor:
        assert self.judge is not None
        assert self.discriminator is not None
        with torch.autocast(self.engine.kind, torch.bfloat16, enabled=self.half):
            both = self.judge(torch.cat([batch.driving.flatten(0, 1), pictures.flatten(0, 1)]))
            count = len(pictures.flatten(0, 1))
            real: Judged = [(score[:count], []) for score, _ in both]
            loss = discriminator_loss(real, [(score[count:], []) for score, _ in both])
        self.judge_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._update(self.judge_optimizer, self.discriminator, rate)
        return loss.detach()
