"""The trained baselines: presets that `fvc evaluate` compares with ours, and that are not shipped for calls.

    python -m fvc.evaluation.presets.baselines keep RUN [START]      # keeps a run's weights; --as PRESET: as another's
    python -m fvc.evaluation.presets.baselines restore PRESET OUT    # kept weights as `fvc train --init` takes them

`evaluation/presets/weights/PRESET.safetensors.xz` has all networks except the restorer, which is that of `composed`;
`records.json` beside them says how each was trained (`keep`). Dense presets carry their width, e.g. `fom@0.25`. The
files are part of the repository, not of the wheel. `exported` converts one for the receiver when it is first used,
into the user's cache folder.

Weights are rounded to a third of their tensor's standard deviation, those of the large dense networks to half of it,
which compresses to 3.8 and 3.2 bits each and costs less than one percent of LPIPS (training/LOG.md).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from fvc.models.presets import DEFAULT, is_preset, preset_named
from fvc.models.weights import folder_of, shipped

_ROOT = Path(__file__).parent / "weights"
_SHARED = "restorer."
_RECORDS = "records.json"
_ENDING = ".safetensors.xz"
_STEP = ".step"  # suffix of a tensor's step
_STEPS, _DENSE_STEPS = 3, 2  # how many steps a tensor's standard deviation has
_LARGE = 4096  # values from which on a tensor is rounded to steps; smaller ones are float16


def trained() -> list[str]:
    """The baselines whose weights are here."""
    names = (path.name.removesuffix(_ENDING) for path in _ROOT.glob(f"*{_ENDING}"))
    return sorted(name for name in names if is_preset(name))


def exported(preset: str) -> Path:
    """A folder called like the preset, as `fvc evaluate` takes one (needs torch). Raises ValueError: damaged."""
    own, shared = _kept(preset), folder_of(DEFAULT) / "weights.safetensors"
    code = sorted((Path(__file__).parents[2] / "models").rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (own, shared, *code))).hexdigest()[:32]
    folder = platformdirs.user_cache_path("fvc") / "baselines" / digest / preset
    if not (folder / "manifest.json").is_file():
        from fvc.export.openvino_graphs import convert

        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            joined = Path(made) / "joined.safetensors"
            restore(preset, joined)
            convert(joined, preset, Path(made) / preset)
            shutil.rmtree(folder, ignore_errors=True)
            (Path(made) / preset).rename(folder)
    return folder


def restore(preset: str, out: Path) -> None:
    """Writes the kept weights of a preset as a run's `weights.safetensors`, float16. Raises ValueError: damaged."""
    from safetensors.torch import load, load_file, save_file

    try:
        own = _widened(load(lzma.decompress(_kept(preset).read_bytes())))
    except (OSError, lzma.LZMAError) as error:
        raise ValueError(f"{_kept(preset)}: missing or damaged") from error
    shared = load_file(folder_of(DEFAULT) / "weights.safetensors").items()
    save_file({name: tensor for name, tensor in shared if name.startswith(_SHARED)} | own, out)


def _kept(preset: str) -> Path:
    return _ROOT / f"{preset}{_ENDING}"


def records() -> dict[str, dict[str, Any]]:
    """Preset -> how its kept weights were trained, see `keep`; older records lack some of its keys."""
    path = _ROOT / _RECORDS
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def record_of(weights: str) -> dict[str, Any] | None:
    """The record of the weights that `fvc evaluate` takes for this name; None: there is none.

    Installed weights come before kept ones of the same name, so they have no record.
    """
    return None if weights in shipped() else records().get(weights)


def _narrowed(weights: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Large tensors as integers of a step, NAME.step, of which their deviation has `steps`; all others as float16."""
    kept = {}
    for name, tensor in weights.items():
        if tensor.dim() < 2 or tensor.numel() < _LARGE:
            kept[name] = tensor.half().contiguous()
            continue
        step = (tensor.float().std() / steps).clamp(min=1e-6)
        kept[name] = (tensor / step).round().clamp(-127, 127).char().contiguous()
        kept[name + _STEP] = step[None]
    return kept


def _widened(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse, up to rounding, as float16."""
    return {
        name: (tensor.float() * kept[name + _STEP]).half() if name + _STEP in kept else tensor
        for name, tensor in kept.items()
        if not name.endswith(_STEP)
    }


def _record(lines: Sequence[Mapping[str, Any]], start: str) -> dict[str, Any]:
    """The record of a run from the lines of its log."""
    begun = next(line for line in lines if "recipe" in line)
    steps, batch = lines[-1]["step"], begun["recipe"]["batch"] * begun["processes"]
    record = {"steps": steps, "batch": batch, "samples": steps * batch, "minutes": lines[-1]["minutes"]}
    record |= {"sampling": begun["recipe"]["sampling"], "start": start, "adversarial_steps": _adversarial_steps(lines)}
    record["expression_loss"] = any("expression" in line for line in lines)
    return record | {key: begun[key] for key in ("data", "people") if key in begun}


def _adversarial_steps(lines: Sequence[Mapping[str, Any]]) -> int:
    """Steps since the last line of losses without an adversary; a log has such a line every few steps."""
    losses = [line for line in lines if "lpips" in line]
    alone = [line["step"] for line in losses if "adversarial" not in line]
    has_adversary = len(alone) < len(losses)
    return int(lines[-1]["step"] - max(alone, default=0)) if has_adversary else 0


def _architecture(preset: str) -> tuple[object, ...]:
    """What presets whose weights fit each other have in common."""
    found = preset_named(preset)
    return found.generator, dict(found.size), found.sender, dict(found.sender_size)


def keep(run: Path, start: str = "", preset: str = "") -> Path:
    """Keeps the weights of a run in `evaluation/presets/weights`, and how they were trained; returns the file.

    The record has: steps, batch, samples (their product), minutes, sampling; start; adversarial_steps (those with an
    adversary); expression_loss (whether there was the loss of action units); and, where the run's log has them, data
    (the name of the training set) and people (how many are in it).

    Args:
        run: the folder of `fvc train`.
        start: what the run started from, in words, with the steps and minutes of earlier runs; empty: from nothing.
        preset: under which the weights are kept, of the same networks as the run's, e.g. with another sampling; empty:
            the run's.

    Raises:
        ValueError: the presets have different networks.
    """
    from safetensors.torch import load_file, save

    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    trained_as: str = next(line for line in lines if "recipe" in line)["recipe"]["preset"]
    preset = preset or trained_as
    if _architecture(preset) != _architecture(trained_as):
        raise ValueError(f"{run}: has weights of {trained_as}, whose networks are not those of {preset}")
    record = _record(lines, start)
    weights = load_file(run / "weights.safetensors")
    own = {name: tensor for name, tensor in weights.items() if not name.startswith(_SHARED)}
    _ROOT.mkdir(exist_ok=True)
    narrowed = _narrowed(own, _DENSE_STEPS if preset_named(preset).is_dense else _STEPS)
    _kept(preset).write_bytes(lzma.compress(save(narrowed), preset=9 | lzma.PRESET_EXTREME))
    known = dict(sorted((records() | {preset: record}).items()))
    (_ROOT / _RECORDS).write_text(json.dumps(known, indent=1) + "\n")
    return _kept(preset)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=["keep", "restore"])
    parser.add_argument("name", metavar="RUN | PRESET")
    parser.add_argument("rest", metavar="START | OUT", nargs="*", default=[])
    parser.add_argument("--as", dest="preset", default="", help="keep: the preset under which the weights are kept")
    args = parser.parse_args()
    if args.way == "keep":
        print(keep(Path(args.name), " ".join(args.rest), args.preset))
    else:
        restore(args.name, Path(args.rest[0]))


if __name__ == "__main__":
    main()
