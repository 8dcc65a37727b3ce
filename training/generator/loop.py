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
from fvc.training.generator.session import RunOptions, TrainingRun
from fvc.training.generator.validate import strip, validate


def train(recipe: Recipe, options: RunOptions) -> Path:
    """Trains for `recipe.minutes` in all, or as far as `options` allow; returns the path of the averaged weights.

    Raises:
        OptionError: the device is not there. ValueError: the data does not fit the recipe.
    """
    began = time.monotonic()
    with Engine.start(options.device) as engine:
        measuring = (
            load_perceptual(options.perceptual, engine.device).to(memory_format=torch.channels_last),
            ExpressionLoss(options.landmarker, engine.device) if options.landmarker else None,
        )
        pack = Pack(options.data, options.sup)
        val = Pack(options.val, options.sup) if options.val and engine.rank == 0 else None
        run = TrainingRun(recipe, options, engine, pack, measuring)
        _log(
            run,
            recipe=asdict(recipe),
            device=engine.device,
            processes=engine.size,
            threads=torch.get_num_threads(),
            borrowed=run.borrowed,
        )
        try:
            _loop(run, began, val, measuring[0])
        finally:
            run.batches.close()
        _finish(run, val, measuring[0])
    return options.folder / "weights.safetensors"


def _ended(run: TrainingRun, began: float) -> bool:
    """Whether this call is over; the first process decides for all, every few steps."""
    recipe, options = run.recipe, run.options
    if (options.stop_at is not None and run.step >= options.stop_at) or (recipe.steps and run.step >= recipe.steps):
        return True
    over = options.segment is not None and time.monotonic() - began >= 60 * options.segment
    return run.engine.agree_to_stop(run.step, over or run.seconds >= recipe.minutes * 60)


def _loop(run: TrainingRun, began: float, val: Pack | None, perceptual: Any) -> None:
    options, writer = run.options, _writer(run)
    total = run.recipe.minutes * 60
    quiet = None if run.engine.rank == 0 else True
    with tqdm(total=total, initial=run.seconds, unit="s", disable=quiet, desc=run.recipe.preset) as bar:
        while not _ended(run, began):
            start = run.engine.work_seconds()
            terms = run.one_step()
            shown = run.step % options.log_every == 0
            values = {name: round(float(value), 4) for name, value in terms.items()} if shown else {}
            run.seconds += run.engine.work_seconds() - start
            bar.n = min(run.seconds, total)
            if values:
                bar.set_postfix({"step": run.step, "lpips": values["lpips"]})
                _log(run, **values)
                for name, value in values.items() if writer else ():
                    writer.add_scalar(f"train/{name}", value, run.step)
            if run.step % options.save_every == 0 and run.engine.rank == 0:
                run.save()
            if val is not None and run.step % options.validate_every == 0:
                run.recalibrate(options.calibration)
                _validate(run, val, perceptual, writer)
    if writer:
        writer.close()


def _validate(run: TrainingRun, val: Pack, perceptual: Any, writer: Any = None) -> None:
    """Logs LPIPS and writes a strip of the averaged network, which must have been recalibrated."""
    n_sources = min(SOURCES, run.most_sources)
    score = validate(run.average, perceptual, val, n_sources, profile=run.main)
    picture = strip(run.average, val, n_sources, profile=run.main)
    cv2.imwrite(str(run.options.folder / "strip.png"), picture[..., ::-1])
    _log(run, val_lpips=round(score, 4))
    if writer:
        writer.add_scalar("val/lpips", score, run.step)
        writer.add_image("val/strip", picture, run.step, dataformats="HWC")


def _finish(run: TrainingRun, val: Pack | None, perceptual: Any) -> None:
    if run.engine.rank == 0:
        run.recalibrate(run.options.calibration)
        run.save()  # before the validation, which takes long
        _log(run, saved=True)
        if val is not None:
            _validate(run, val, perceptual)


def _writer(run: TrainingRun) -> Any:
    """A TensorBoard writer, or None if none is wanted."""
    if not run.options.tensorboard or run.engine.rank:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run.options.folder / "tensorboard"))


def _log(run: TrainingRun, **values: object) -> None:
    """Appends one line to the run's log."""
    if run.engine.rank == 0:
        append_log(run.options.folder, {"step": run.step, "minutes": round(run.seconds / 60, 2), **values})
