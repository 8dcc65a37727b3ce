"""The arguments of `fvc train`, which are also those of `training/bare.py`. Standard library and the loop only."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from fvc.codec.base.errors import FvcError, InputError, OptionError, UsageError
from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.models.presets import AT, PRESETS, Preset, preset_named
from fvc.training.generator.recipe import SAMPLINGS, SCHEDULES, Recipe, paper_recipe


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"train: {message}")


def _positive(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..1")
    return value


def _sampling(text: str) -> str:
    name = {"3": "three", "4": "four"}.get(text, text)
    if name not in SAMPLINGS:
        raise argparse.ArgumentTypeError(f"{text}: choose from {', '.join(SAMPLINGS)}, 3, 4")
    return name


def command_line() -> argparse.ArgumentParser:
    """The options of `fvc train`."""
    parser = _Parser(
        "fvc train",
        description="Train a preset. A run that was stopped goes on where it was; so does one whose folder holds a"
        " portable checkpoint. Several processes: torchrun --nproc-per-node N -m fvc.training.generator.run ...",
        epilog="Example:  fvc train composed --data a.pack --val b.pack --perceptual lpips/ --minutes 90 --run runs/a",
        allow_abbrev=False,
    )
    _add_files(parser)
    _add_recipe(parser.add_argument_group("recipe").add_argument)
    _add_machine(parser.add_argument_group("machine").add_argument)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("preset", help="; ".join(f"{preset.name}: {preset.about}" for preset in PRESETS.values()))
    add("--data", type=Path, required=True, help="training pack from `fvc prepare`")
    add("--perceptual", type=Path, required=True, help="folder with load_lpips_squeeze.py and its weights")
    add("--run", type=Path, required=True, help="folder of the run")
    add("--minutes", type=_positive, default=90.0, help="CPU minutes of the run over its threads (90)")
    add("--segment", type=_positive, help="stop this call after this many minutes, loading included")
    add("--steps", type=_count, help="end of the run by steps")
    add("--init", type=Path, metavar="WEIGHTS", help="start a new run from these weights of the same preset")
    add("--borrow", type=Path, metavar="WEIGHTS", help="start a new run from what fits of another preset's weights")
    add("--val", type=Path, help="validation pack: its LPIPS is logged, pictures go to strip.png")
    add("--landmarker", type=Path, help="folder with load_face_landmarker.py: adds expression and landmark losses")


def _add_recipe(add: Callable[..., object]) -> None:
    add("--paper", action="store_true", help="the paper's sampling, losses, schedule and batch")
    add("--width", type=_share, help="share of a dense preset's channels, e.g. 0.25: PRESET is then PRESET@0.25")
    add("--batch", type=_count, help="samples per step and process (6; paper 32)")
    add("--rate", type=_positive, help="peak learning rate (1e-3; paper 2e-4)")
    add("--schedule", choices=SCHEDULES, help="cosine over --minutes; paper: a tenth after 60k and 90k steps")
    add("--sampling", type=_sampling, help="spread, random, or the paper's three or four frames (3, 4)")
    add("--adversarial-after", type=float, metavar="MIN", help="minutes until the discriminator joins (never)")
    add("--adversarial-from", type=_count, metavar="STEP", help="the step at which it joins, instead")
    add("--coarse", type=int, choices=range(5), help="quantizers up to 2^N coarser than the stream's (0)")
    add("--keep-motion", action="store_true", default=None, help="train the generator only, with --init")
    add("--patched", type=float, metavar="SHARE", help="share of samples with a patched source picture (0)")
    add("--weight", action="append", default=[], metavar="NAME=X", help="weight of a loss term, e.g. temporal=2")
    add("--seed", type=int, default=0)


def _add_machine(add: Callable[..., object]) -> None:
    add("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    add("--resident", action=argparse.BooleanOptionalAction, help="all frames on the device (on a GPU)")
    add("--compile", action="store_true", help="torch.compile for the generator")
    add("--tensorboard", action="store_true", help="scalars and strips to RUN/tensorboard (needs tensorboard)")
    add("--portable", action="store_true", help="at the end, a checkpoint in pieces of at most 15 MiB")
    add("--validate-every", type=_count, default=400, metavar="STEPS", help="(400)")
    add("--save-every", type=_count, default=100, metavar="STEPS", help="(100)")


def _fields_of(kind: type, given: argparse.Namespace) -> dict[str, Any]:
    """The arguments that were given and are fields of a dataclass."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in vars(given).items() if name in names and value is not None}


def _recipe(given: argparse.Namespace) -> Recipe:
    base = paper_recipe(given.preset, given.minutes) if given.paper else Recipe(given.preset, given.minutes)
    try:
        return replace(base, **_fields_of(Recipe, given)).reweighted(given.weight)
    except ValueError as error:
        raise UsageError(f"train: {error}") from None


def _preset(given: argparse.Namespace) -> str:
    """The preset's name, width included. Raises UsageError."""
    try:
        preset = preset_named(given.preset)
        if given.width is not None:
            if AT in given.preset:
                raise ValueError(f"preset {given.preset}: has a width already; leave one of the two out")
            preset = preset.narrowed(given.width)
    except ValueError as error:
        raise UsageError(f"train: {error}") from None
    if not given.landmarker:
        _check_expression_loss(preset, given.paper)
    return preset.name


def _check_expression_loss(preset: Preset, is_paper: bool) -> None:
    """Raises UsageError if training needs the network that is not given."""
    if preset.expression_loss == "all":
        raise UsageError(f"train: preset {preset.name}: needs --landmarker, the network of its loss")
    has_code = any("expr" in profile for profile in preset.profiles)
    if is_paper and has_code and preset.expression_loss != "none":
        raise UsageError(f"train: preset {preset.name}: --paper needs --landmarker, the network of its expression loss")


def _check_files(given: argparse.Namespace) -> None:
    loaders = [given.perceptual / "load_lpips_squeeze.py"]
    loaders += [given.landmarker / "load_face_landmarker.py"] if given.landmarker else []
    for path in (given.data, given.val, given.init, given.borrow, *loaders):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: no such file")


def main(arguments: Sequence[str] | None = None) -> str:
    """Runs a training; returns the path of the weights for the user.

    Raises:
        UsageError: an argument is invalid, or the device is not there. InputError: a file is missing or does not fit.
    """
    given = command_line().parse_args(arguments)
    given.preset = _preset(given)
    _check_files(given)
    recipe = _recipe(given)
    from fvc.training.generator.checkpoint import write_portable
    from fvc.training.generator.loop import train
    from fvc.training.generator.session import RunOptions

    options = RunOptions(folder=given.run, sup=SUP, mirror=SUP_MIRROR, **_fields_of(RunOptions, given))
    try:
        weights = train(recipe, options)
    except ValueError as error:
        raise InputError(str(error)) from None
    pieces = write_portable(given.run) if given.portable else []
    return "\n".join(map(str, [weights, *pieces]))


def console() -> int:
    """`main` with errors as one line on stderr; returns the exit code."""
    try:
        print(main())
    except FvcError as error:
        message = error.on_command_line() if isinstance(error, OptionError) else error
        print(f"fvc: {message}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(console())
