"""What the trainers of small networks share: a running average of the weights, a schedule by minutes, resuming."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fvc.training.generator.checkpoint import append_log, save_checkpoint
from fvc.training.generator.losses import perceptual_loss

LOSS_WEIGHTS = {"lpips": 8.0, "relative": 0.02, "l1": 4.0}  # of pictures
Network = TypeVar("Network", bound=nn.Module)
_Batch = TypeVar("_Batch")
_STATES = ("network", "average", "optimizer")


class AveragedRun(Generic[Network]):
    """A network, its running average, its optimizer, and how far training has come.

    Resumes from FOLDER/last.pt if that is there.

    Args:
        minutes: of the clock, all calls together.
        rate: the highest learning rate; each trainer has its schedule.
        decay: of the running average; less in the first steps.
        most_gradient: norm to which gradients are clipped; None: they are not.
    """

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        folder: Path,
        minutes: float,
        rate: float,
        decay: float,
        most_gradient: float | None = None,
    ) -> None:
        self.network, self.average, self.optimizer = network, copy.deepcopy(network), optimizer
        self.folder, self.minutes, self.rate = folder, minutes, rate
        self._decay, self._most_gradient = decay, most_gradient
        self.step, self.seconds = 0, 0.0
        if (folder / "last.pt").exists():
            state = torch.load(folder / "last.pt", weights_only=True)
            for name in _STATES:
                getattr(self, name).load_state_dict(state[name])
            self.step, self.seconds = state["step"], state["seconds"]

    @property
    def share(self) -> float:
        """How much of the minutes is over, 0 to 1."""
        return min(self.seconds / (60 * self.minutes), 1)

    @property
    def is_running(self) -> bool:
        """Whether minutes are left."""
        return self.seconds < 60 * self.minutes

    def run_ahead(
        self,
        samples: Callable[[int], _Batch],
        update: Callable[[_Batch], list[float]],
        note: Callable[[list[float]], None],
        every: int,
    ) -> None:
        """Trains until the minutes are over; the batch of the next step is made meanwhile.

        Args:
            samples: step -> its batch; update: takes a step and gives its losses; note: called every `every` steps,
                and at the end.
        """
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(samples, self.step)
            while self.is_running:
                start = time.monotonic()
                batch = ahead.result()
                ahead = pool.submit(samples, self.step + 1)
                losses = update(batch)
                self.step += 1
                if self.step % every == 0:
                    note(losses)
                self.seconds += time.monotonic() - start
        note(losses)

    def descend(self, loss: Tensor, rate: float) -> None:
        """Takes a step of the optimizer, and the average with it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._most_gradient is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._most_gradient)
        self.optimizer.step()
        keep = min(self._decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(new, 1 - keep)

    @torch.no_grad()
    def recalibrate(self, look: Callable[[int], object], batches: int) -> None:
        """Measures the averaged network's batch-norm statistics again; `look` shows it one of so many batches."""
        for norm in (m for m in self.average.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        self.average.train()
        for n in range(batches):
            look(n)
        self.average.eval()

    def record(self, line: dict[str, Any]) -> None:
        """Logs and prints minutes, step and this line, and keeps the state for the next call."""
        line = {"minutes": round(self.seconds / 60, 1), "step": self.step, **line}
        append_log(self.folder, line)
        print(line, flush=True)
        state = {name: getattr(self, name).state_dict() for name in _STATES}
        save_checkpoint(state | {"step": self.step, "seconds": self.seconds}, self.folder)


class PictureRun(AveragedRun[Network]):
    """A network that gives pictures, which LPIPS, relative L1 of the same features and L1 judge (`LOSS_WEIGHTS`).

    Args:
        perceptual: LPIPS, see `training.generator.losses.load_perceptual`.
        decay: see `AveragedRun`.
    """

    def __init__(
        self, network: Network, folder: Path, minutes: float, rate: float, perceptual: Any, decay: float
    ) -> None:
        optimizer = torch.optim.Adam(network.parameters(), rate, (0.9, 0.99))
        super().__init__(network, optimizer, folder, minutes, rate, decay, most_gradient=1.0)
        self.perceptual = perceptual

    def losses(self, found: Tensor, original: Tensor, scales: Sequence[int]) -> dict[str, Tensor]:
        """Of pictures [B, 3, H, W] in [0, 1], at these scales (see `perceptual_loss`)."""
        relative, lpips = perceptual_loss(self.perceptual, found, original, torch.ones_like(original[:, :1]), scales)
        return {"lpips": lpips, "relative": relative, "l1": (found - original).abs().mean()}

    def learn(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Takes a step of the optimizer; the rate rises at first, then falls with the minutes. Returns the losses."""
        rate = self.rate * 0.5 * (1 + math.cos(math.pi * self.share)) * min((self.step + 1) / 100, 1) + 1e-6
        self.descend(sum((LOSS_WEIGHTS[name] * loss for name, loss in losses.items()), torch.zeros(())), rate)
        return {name: round(float(loss.detach()), 4) for name, loss in losses.items()}

    def save_average(self, name: str) -> None:
        """Writes the average as safetensors of this name into the run's folder."""
        save_file({n: t.contiguous() for n, t in self.average.state_dict().items()}, self.folder / name)
