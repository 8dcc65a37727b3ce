"""The trained baselines: presets that `fvc evaluate` compares with ours, and that are not shipped for calls.

    python -m fvc.evaluation.presets.baselines RUN [START]     # keeps a run's weights, as int8 and float16

`evaluation/presets/weights/PRESET.safetensors` has all networks except the restorer, which is that of `composed`;
`records.json` beside them says how each was trained. Dense presets carry their width, e.g. `fom@0.25`. The files are
part of the repository, not of the wheel. `exported` converts one for the receiver when it is first used, into the
user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from fvc.models.presets import DEFAULT, is_preset
from fvc.models.weights import folder_of

_ROOT = Path(__file__).parent / "weights"
_SHARED = "restorer."
_RECORDS = "records.json"
_SCALE, _LARGE = ".scale", 4096  # suffix of scales; values from which on a tensor is kept as int8


def trained() -> list[str]:
    """The baselines whose weights are here."""
    return sorted(path.stem for path in _ROOT.glob("*.safetensors") if is_preset(path.stem))


def exported(preset: str) -> Path:
    """A folder called like the preset, as `fvc evaluate` takes one (needs torch). Raises ValueError: damaged."""
    own, shared = _ROOT / f"{preset}.safetensors", folder_of(DEFAULT) / "weights.safetensors"
    code = sorted((Path(__file__).parents[2] / "models").rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (own, shared, *code))).hexdigest()[:32]
    folder = platformdirs.user_cache_path("fvc") / "baselines" / digest / preset
    if not (folder / "manifest.json").is_file():
        from safetensors.torch import load_file, save_file

        from fvc.export.openvino_graphs import convert

        joined = {name: tensor for name, tensor in load_file(shared).items() if name.startswith(_SHARED)}
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            save_file(joined | _widened(load_file(own)), Path(made) / "joined.safetensors")
            convert(Path(made) / "joined.safetensors", preset, Path(made) / preset)
            shutil.rmtree(folder, ignore_errors=True)
            (Path(made) / preset).rename(folder)
    return folder


def records() -> dict[str, dict[str, Any]]:
    """Preset -> how its kept weights were trained: steps, batch, samples, minutes (if known), sampling, start."""
    path = _ROOT / _RECORDS
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _narrowed(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Large tensors as int8 with a scale for each output channel, NAME.scale; all others as float16."""
    kept = {}
    for name, tensor in weights.items():
        if tensor.dim() < 2 or tensor.numel() < _LARGE:
            kept[name] = tensor.half().contiguous()
            continue
        scale = (tensor.abs().flatten(1).amax(1) / 127).clamp(min=1e-6).half()
        rows = scale.float().view(-1, *[1] * (tensor.dim() - 1))
        kept[name] = (tensor / rows).round().clamp(-127, 127).char().contiguous()
        kept[name + _SCALE] = scale
    return kept


def _widened(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse, up to rounding, as float16."""
    weights = {}
    for name, tensor in kept.items():
        if name + _SCALE in kept:
            rows = kept[name + _SCALE].float().view(-1, *[1] * (tensor.dim() - 1))
            weights[name] = (tensor.float() * rows).half()
        elif not name.endswith(_SCALE):
            weights[name] = tensor
    return weights


def keep(run: Path, start: str = "") -> Path:
    """Keeps the weights of a run in `evaluation/presets/weights`, and how they were trained; returns the file.

    Args:
        run: the folder of `fvc train`. start: what the run started from, in words; empty: from nothing.
    """
    from safetensors.torch import load_file, save_file

    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    begun = next(line for line in lines if "recipe" in line)
    preset, steps, batch = begun["recipe"]["preset"], lines[-1]["step"], begun["recipe"]["batch"] * begun["processes"]
    record = {"steps": steps, "batch": batch, "samples": steps * batch, "minutes": lines[-1]["minutes"]}
    record |= {"sampling": begun["recipe"]["sampling"], "start": start}
    weights = load_file(run / "weights.safetensors")
    own = {name: tensor for name, tensor in weights.items() if not name.startswith(_SHARED)}
    _ROOT.mkdir(exist_ok=True)
    save_file(_narrowed(own), _ROOT / f"{preset}.safetensors")
    known = dict(sorted((records() | {preset: record}).items()))
    (_ROOT / _RECORDS).write_text(json.dumps(known, indent=1) + "\n")
    return _ROOT / f"{preset}.safetensors"


if __name__ == "__main__":
    print(keep(Path(sys.argv[1]), " ".join(sys.argv[2:])))
