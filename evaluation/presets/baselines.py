"""The trained baselines: presets that `fvc evaluate` compares with ours, and that are not shipped for calls.

    python -m fvc.evaluation.presets.baselines RUN/weights.safetensors PRESET     # keeps a run's weights, as float16

`evaluation/presets/weights/PRESET.safetensors` has all networks except the restorer, which is that of `composed`. The
files are part of the repository, not of the wheel. `exported` converts one for the receiver when it is first used, into
the user's cache folder.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

import platformdirs

from fvc.models.presets import DEFAULT, PRESETS
from fvc.models.weights import folder_of

_ROOT = Path(__file__).parent / "weights"
_SHARED = "restorer."


def trained() -> list[str]:
    """The baselines whose weights are here."""
    return sorted(path.stem for path in _ROOT.glob("*.safetensors") if path.stem in PRESETS)


def exported(preset: str) -> Path:
    """A folder called like the preset, as `fvc evaluate` takes one (needs torch). Raises ValueError: damaged."""
    own, shared = _ROOT / f"{preset}.safetensors", folder_of(DEFAULT) / "weights.safetensors"
    code = sorted((Path(__file__).parents[2] / "models").glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (own, shared, *code))).hexdigest()[:32]
    folder = platformdirs.user_cache_path("fvc") / "baselines" / digest / preset
    if not (folder / "manifest.json").is_file():
        from safetensors.torch import load_file, save_file

        from fvc.export.openvino_graphs import convert

        joined = {name: tensor for name, tensor in load_file(shared).items() if name.startswith(_SHARED)}
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            save_file(joined | load_file(own), Path(made) / "joined.safetensors")
            convert(Path(made) / "joined.safetensors", preset, Path(made) / preset)
            shutil.rmtree(folder, ignore_errors=True)
            (Path(made) / preset).rename(folder)
    return folder


def keep(weights: Path, preset: str) -> Path:
    """Writes the weights of a run to `evaluation/presets/weights`; returns the file."""
    from safetensors.torch import load_file, save_file

    own = {name: t.half().contiguous() for name, t in load_file(weights).items() if not name.startswith(_SHARED)}
    _ROOT.mkdir(exist_ok=True)
    save_file(own, _ROOT / f"{preset}.safetensors")
    return _ROOT / f"{preset}.safetensors"


if __name__ == "__main__":
    print(keep(Path(sys.argv[1]), sys.argv[2]))
