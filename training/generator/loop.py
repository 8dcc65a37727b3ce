"""The training loop: time-boxed, logged, validated; on a CPU, a GPU, or one of either per process of `torchrun`.

Imports torch, numpy, cv2, safetensors and tqdm only, so that it runs on a bare training machine (`training/bare.py`).
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from fvc.codec.face.source_choice import SOURCES
from fvc.training.data.pack import Pack
from fvc.training.generator.checkpoint import append_log
from fvc.training.generator.engine import Engine
from fvc.training.generator.losses import ExpressionLoss, load_perceptual
from fvc.training.generator.recipe import Recipe
from fvc.training.generator.session import Run, Setup
from fvc.training.generator.validate import strip, validate

__all__ = ["Recipe", "Run", "Setup", "train", "validate"]


def train(recipe: Recipe, setup: Setup) -> Path:
    """Trains for `recipe.minutes` in all, or as far as `setup` says; returns the path of the averaged weights.

    Raises:
        ValueError: the data does not fit the recipe.
    """
    began = time.monotonic()
    with Engine.start(setup.device) as engine:
        judges = (
            load_perceptual(setup.perceptual, engine.device).to(memory_format=torch.channels_last),
            ExpressionLoss(setup.landmarker, engine.device) if setup.landmarker else None,
        )
        pack = Pack(setup.data, setup.sup)
        val = Pack(setup.val, setup.sup) if setup.val and engine.rank == 0 else None
        run = Run(recipe, setup, engine, pack, judges)
        _log(
            run,
            recipe=asdict(recipe),
            device=engine.device,
            processes=engine.size,
            threads=torch.get_num_threads(),
            borrowed=run.borrowed,
        )
        try:
            _loop(run, began, val, judges[0])
        finally:
            run.batches.close()
        _finish(run, val, judges[0])
    return setup.folder / "weights.safetensors"


def _ended(run: Run, began: float) -> bool:
    """Whether this call is over: decided by the first process for all, now and then."""
    recipe, setup = run.recipe, run.setup
    if (setup.stop_at is not None and run.step >= setup.stop_at) or (recipe.steps and run.step >= recipe.steps):
        return True
    over = setup.segment is not None and time.monotonic() - began >= 60 * setup.segment
    return run.engine.agree_to_stop(run.step, over or run.seconds >= recipe.minutes * 60)


def _loop(run: Run, began: float, val: Pack | None, perceptual: Any) -> None:
    setup, writer = run.setup, _writer(run)
    total = run.recipe.minutes * 60
    quiet = None if run.engine.rank == 0 else True
    with tqdm(total=total, initial=run.seconds, unit="s", disable=quiet, desc=run.recipe.preset) as bar:
        while not _ended(run, began):
            start = time.monotonic()
            terms = run.one_step()
            shown = run.step % setup.log_every == 0
            values = {name: round(float(value), 4) for name, value in terms.items()} if shown else {}
            run.seconds += time.monotonic() - start
            bar.n = min(run.seconds, total)
            if values:
                bar.set_postfix({"step": run.step, "lpips": values["lpips"]})
                _log(run, **values)
                for name, value in values.items() if writer else ():
                    writer.add_scalar(f"train/{name}", value, run.step)
            if run.step % setup.save_every == 0 and run.engine.rank == 0:
                run.save()
            if val is not None and run.step % setup.validate_every == 0:
                run.recalibrate(setup.calibration)
                _validate(run, val, perceptual, writer)
    if writer:
        writer.close()


def _validate(run: Run, val: Pack, perceptual: Any, writer: Any = None) -> None:
    """LPIPS and a strip of the averaged network, whose statistics must be fresh."""
    n_sources = min(SOURCES, run.most_sources)
    score = validate(run.average, perceptual, val, n_sources, profile=run.main)
    picture = strip(run.average, val, n_sources, profile=run.main)
    cv2.imwrite(str(run.setup.folder / "strip.png"), picture[..., ::-1])
    _log(run, val_lpips=round(score, 4))
    if writer:
        writer.add_scalar("val/lpips", score, run.step)
        writer.add_image("val/strip", picture, run.step, dataformats="HWC")


def _finish(run: Run, val: Pack | None, perceptual: Any) -> None:
    if run.engine.rank == 0:
        run.recalibrate(run.setup.calibration)
        run.save()  # before the validation, which takes its time
        if val is not None:
            _validate(run, val, perceptual)


def _writer(run: Run) -> Any:
    """A TensorBoard writer, or None where none is wanted."""
    if not run.setup.tensorboard or run.engine.rank:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run.setup.folder / "tensorboard"))


def _log(run: Run, **values: object) -> None:
    """Appends one line to the run's log."""
    if run.engine.rank == 0:
        append_log(run.setup.folder, {"step": run.step, "minutes": round(run.seconds / 60, 2), **values})
