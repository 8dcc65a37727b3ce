"""The training loop: time-boxed, resumable to the step, on a CPU or one GPU.

Imports torch, numpy, cv2, safetensors and tqdm only, so that it runs on a bare training machine.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from fvc.codec.sample import Profile
from fvc.models.flow import Points
from fvc.models.network import Network
from fvc.models.presets import PRESETS
from fvc.training.data import Batch, Pack, Sampler
from fvc.training.losses import equivariance_loss, load_perceptual, perceptual_loss, region_weights

PARTS = {profile.label: set(profile.parts) for profile in Profile}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides the data."""

    preset: str
    minutes: float
    batch: int = 6
    rate: float = 1e-3
    ema: float = 0.998
    seed: int = 0


def _snap(sup: Tensor) -> Tensor:
    """Sup keypoints as the wire delivers them: 8 bits over [-1, 1] (the paper's quantizer)."""
    return (sup * 127.5).round() / 127.5


def _loss(
    network: Network, perceptual: torch.nn.Module, batch: Batch, parts: set[str]
) -> tuple[Tensor, dict[str, float]]:
    result = network(batch.sources, batch.source_keypoints, batch.driving, _snap(batch.driving_keypoints), parts)
    picture, target = result["picture"], batch.driving
    count = len(target)
    error = (picture - target).abs()
    regions = region_weights(batch.driving_keypoints, target.shape[-1])
    relative, lpips = perceptual_loss(perceptual, picture, target, 0.75 + 0.25 * regions)
    faces = (error * regions).mean()
    small = F.avg_pool2d(target, 4)
    equivariance = equivariance_loss(
        network.motion.keypoints, small, result["unsup"][-count:], result["jacobians"][-count:]
    )
    loss = 4 * error.mean() + 3 * faces + relative + 3 * lpips + 10 * equivariance
    terms = {"l1": error.mean(), "faces": faces, "relative": relative, "lpips": lpips, "equivariance": equivariance}
    return loss, {name: float(value.detach()) for name, value in terms.items()}


@torch.no_grad()
def validate(
    network: Network,
    perceptual: torch.nn.Module,
    pack: Pack,
    n_sources: int = 3,
    frames: int = 6,
    profile: str = "sup+unsup+expr",
) -> float:
    """Mean LPIPS over clips: `frames` driving frames spread over each, sources chosen as at inference."""
    network.eval()
    device, parts = next(network.parameters()).device, PARTS[profile]
    scores = []
    for clip in pack.clips:
        chosen = pack.choose_sources(clip, n_sources)
        rest = np.setdiff1d(clip.frames, chosen)
        driving = rest[np.linspace(0, len(rest) - 1, min(frames, len(rest))).round().astype(int)]
        sources, target = pack.images(chosen).to(device), pack.images(driving).to(device)
        unsup, jacobians, code = network.motion(torch.cat([sources, target]))
        sup = torch.from_numpy(pack.keypoints[np.append(chosen, driving)]).to(device)
        points = network.points(torch.cat([sup[:n_sources], _snap(sup[n_sources:])]), unsup, jacobians, parts)
        embedding = network.generator.embed(sources[None], Points(*(t[:n_sources] for t in points)))
        for i in range(len(driving)):
            one = slice(n_sources + i, n_sources + i + 1)
            expression = code[one] if "expr" in parts else torch.full_like(code[one], 0.5)
            picture = network.generator.draw(embedding, Points(*(t[one] for t in points)), expression)
            scores.append(float(perceptual(picture.clamp(0, 1), target[i : i + 1], normalize=True)) / len(driving))
    network.train()
    return sum(scores) / len(pack.clips)


class Run:
    """One training run in `folder`: `last.pt` to resume from, `weights.safetensors` (EMA) and `log.jsonl`."""

    def __init__(self, recipe: Recipe, pack: Pack, mirror: tuple[int, ...], folder: Path, device: str) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.device = recipe, folder, device
        folder.mkdir(parents=True, exist_ok=True)
        self.profiles = PRESETS[recipe.preset].profiles
        mean_sup = torch.from_numpy(pack.keypoints.mean(0))
        self.network = PRESETS[recipe.preset].build(mean_sup).to(device, memory_format=torch.channels_last)
        self.average = PRESETS[recipe.preset].build(mean_sup).to(device)
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(self.network.parameters(), recipe.rate, (0.5, 0.99), weight_decay=1e-3)
        # bf16 pays where the hardware has it; on a CPU without AVX-512 BF16 or AMX it is emulated, ten times slower.
        self.half = device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.step, self.seconds = 0, 0.0
        if (folder / "last.pt").exists():
            state = torch.load(folder / "last.pt", map_location=device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
        self.sampler = Sampler(pack, mirror, recipe.seed)

    def save(self) -> None:
        """Writes the checkpoint and the averaged weights, each in one move."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, self.folder / "last.pt.part")
        (self.folder / "last.pt.part").replace(self.folder / "last.pt")
        tensors = {name: t.contiguous() for name, t in self.average.state_dict().items() if "num_batches" not in name}
        save_file(tensors, self.folder / "weights.safetensors.part")
        (self.folder / "weights.safetensors.part").replace(self.folder / "weights.safetensors")

    @torch.no_grad()
    def recalibrate(self, batches: int) -> None:
        """Measures the averaged network's batch-norm statistics anew: averaged statistics fit no averaged weights."""
        norms = [m for m in self.average.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        self.average.train()
        for n in range(batches):
            batch = self.sampler.batch(-1 - n, self.recipe.batch, 3).to(self.device)
            args = (batch.sources, batch.source_keypoints, batch.driving, _snap(batch.driving_keypoints))
            self.average(*args, PARTS["sup+unsup+expr"])
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.average.eval()

    def log(self, **values: object) -> None:
        """Appends one line to the run's log."""
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, "minutes": round(self.seconds / 60, 2), **values}) + "\n")

    def one_step(self, perceptual: torch.nn.Module) -> dict[str, float]:
        """One optimizer step; returns the loss terms."""
        recipe = self.recipe
        progress = min(self.seconds / 60 / recipe.minutes, 1.0)
        warm = min(1.0, (self.step + 1) / 50)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate * warm * max(0.02, 0.5 * (1 + math.cos(math.pi * progress)))
        draw = np.random.default_rng([recipe.seed, self.step, 1])  # by step: a run that was stopped draws the same
        torch.manual_seed(recipe.seed + self.step)
        profile = draw.choice(list(self.profiles), p=list(self.profiles.values()))
        n_sources = 3 if draw.random() < 0.3 else 2  # two as in the paper, three now and then: it is what ships
        batch = self.sampler.batch(self.step, recipe.batch, n_sources).to(self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            loss, terms = _loss(self.network, perceptual, batch, PARTS[profile])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        keep = min(recipe.ema, 1 - 1 / (self.step + 1))
        with torch.no_grad():
            for mine, theirs in zip(
                self.average.state_dict().values(), self.network.state_dict().values(), strict=True
            ):
                if mine.is_floating_point():
                    mine.lerp_(theirs, 1 - keep)
        return terms


def train(
    recipe: Recipe,
    pack_path: Path,
    val_path: Path | None,
    perceptual_folder: Path,
    folder: Path,
    sup: tuple[int, ...],
    mirror: tuple[int, ...],
    validate_every: int = 400,
    save_every: int = 100,
    stop_at: int | None = None,
    calibration: int = 24,
) -> Path:
    """Trains for `recipe.minutes` in all, or to step `stop_at`; returns the path of the averaged weights."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    perceptual = load_perceptual(perceptual_folder, device)
    pack = Pack(pack_path, sup)
    val = Pack(val_path, sup) if val_path else None
    run = Run(recipe, pack, mirror, folder, device)
    run.log(recipe=asdict(recipe), device=device, threads=torch.get_num_threads())
    with tqdm(total=recipe.minutes * 60, initial=run.seconds, unit="s", disable=None, desc=recipe.preset) as bar:
        while run.seconds < recipe.minutes * 60 and (stop_at is None or run.step < stop_at):
            start = time.monotonic()
            terms = run.one_step(perceptual)
            run.seconds += time.monotonic() - start
            bar.n = run.seconds
            bar.set_postfix({"step": run.step, "lpips": f"{terms['lpips']:.3f}"})
            if run.step % 20 == 0:
                run.log(**{name: round(value, 4) for name, value in terms.items()})
            if run.step % save_every == 0:
                run.save()
            if val is not None and run.step % validate_every == 0:
                run.recalibrate(calibration)
                run.log(val_lpips=round(validate(run.average, perceptual, val), 4))
    run.recalibrate(calibration)
    run.save()
    if val is not None:
        run.log(val_lpips=round(validate(run.average, perceptual, val), 4))
    return folder / "weights.safetensors"
