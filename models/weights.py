"""Shipped weights: their folders, their hashes, their integrity. No torch.

Presets lie under `models/weights`, and in the folders that the environment variable `FVC_WEIGHTS` names: there every
`NAME/manifest.json`, as `export.openvino_graphs --out` writes one, is an installed preset called NAME.

Beside the folder of a preset that draws 512x512 pixels too lies one called `NAME-512`, with a graph made of the same
weights. Its `digests.json` has their SHA-256 and the hash of the weights.

A preset's identity is the SHA-256 of its `weights.safetensors`; streams carry its first eight bytes. `manifest.json`
has the hashes of the graphs that were converted from them, and names the preset.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fvc.codec.base.constants import LARGE_SIDE
from fvc.codec.base.errors import FvcError, UsageError
from fvc.codec.base.hashing import file_hash
from fvc.models.presets import is_preset, preset_named

LARGE_GRAPHS = ("embed",)
_DIGESTS = "digests.json"
_MAX_MANIFEST, _MAX_BYTES = 1 << 16, 1 << 28  # bytes of the manifest, of any other file
_ROOT = Path(__file__).parent / "weights"
MORE_WEIGHTS = "FVC_WEIGHTS"  # environment variable: folders of further presets, separated as in PATH


def _roots() -> list[Path]:
    return [_ROOT, *(Path(folder) for folder in os.environ.get(MORE_WEIGHTS, "").split(os.pathsep) if folder)]


def folder_of(preset: str) -> Path:
    """The folder of a preset's weights; an absolute path is given back as it is."""
    folders = [root / preset for root in _roots()]
    return next((folder for folder in folders if (folder / "manifest.json").is_file()), folders[0])


def shipped() -> list[str]:
    """Presets whose weights are installed."""
    return sorted({path.parent.name for root in _roots() for path in root.glob("*/manifest.json")})


def installed_presets() -> str:
    """The installed presets as text, for help texts."""
    return ", ".join(f"{name} ({preset_named(name).about})" for name in shipped() if is_preset(name))


def require_shipped(preset: str) -> None:
    """Raises UsageError for a preset whose weights are not installed."""
    if preset not in shipped():
        raise UsageError(f"preset {preset!r}: not installed; choose from {', '.join(shipped()) or 'none'}")


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Name -> SHA-256 in hexadecimal, of files in a folder. Raises OSError."""
    return {name: file_hash(folder / name) for name in names}


def is_intact(path: Path, digest: str, most_bytes: int = _MAX_BYTES) -> bool:
    """Whether a file is there, of no absurd size, and has this SHA-256. Raises OSError."""
    return path.is_file() and path.stat().st_size <= most_bytes and file_hash(path) == digest


def graph_names(preset: str) -> tuple[str, ...]:
    """The graphs of a preset (`models.presets`): a composed generator draws in two, see `models.inference.drawing`."""
    return ("motion", "embed", *(("moved", "redrawn") if preset_named(preset).draws_from_nearest else ("draw",)))


def weight_files(preset: str) -> list[str]:
    """Names of the files that the manifest of a preset covers."""
    return ["weights.safetensors", *_files_of(graph_names(preset))]


def _files_of(graphs: Iterable[str]) -> list[str]:
    return [f"{graph}.{end}" for graph in graphs for end in ("xml", "bin")]


def write_manifest(folder: Path, preset: str) -> None:
    """Records the digests of all files of a preset."""
    digests = digests_of(folder, weight_files(preset))
    (folder / "manifest.json").write_text(json.dumps({"preset": preset, "sha256": digests}, indent=1) + "\n")


def _manifest(folder: Path) -> tuple[str, dict[str, str]]:
    """The preset, and file -> SHA-256 in hexadecimal for each of the weights' files. Raises FvcError."""
    path = folder / "manifest.json"
    try:
        if path.is_file() and path.stat().st_size <= _MAX_MANIFEST:
            manifest = json.loads(path.read_text())
            preset = str(manifest["preset"])
            found = {name: str(manifest["sha256"][name]) for name in weight_files(preset)} if is_preset(preset) else {}
            if found and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in found.values()):
                return preset, found
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    if folder.parent == _ROOT:
        raise FvcError(f"{path}: damaged; reinstall fvc")
    fault = "damaged, or of another version of fvc"
    raise FvcError(f"{path}: {fault}; make the folder anew with python -m fvc.export.openvino_graphs")


def verify(folder: Path) -> None:
    """Raises FvcError if a file is missing or differs from the manifest (a damaged installation)."""
    _, digests = _manifest(folder)
    for name in digests:
        if not is_intact(folder / name, digests[name]):
            raise FvcError(f"{folder / name}: missing or not what its manifest says; reinstall fvc")


def manifest_preset(preset: str) -> str:
    """The preset of an installed one (its own name), or of an exported folder's absolute path. Raises FvcError."""
    return _manifest(folder_of(preset))[0]


@cache
def model_hash(preset: str) -> bytes:
    """The eight bytes that name these weights in streams. Raises FvcError where the manifest is damaged."""
    return bytes.fromhex(_manifest(folder_of(preset))[1]["weights.safetensors"])[:8]


@cache
def blends_parts(preset: str) -> bool:
    """Whether eyes and mouth may come from another source than the rest of the face (`models.presets`).

    Of an installed preset, or an exported folder's absolute path. Raises FvcError where the manifest is damaged.
    """
    return preset_named(manifest_preset(preset)).blends_parts


def profiles(preset: str) -> tuple[str, ...]:
    """Labels of the profiles that it was trained for, the usual one first (`models.presets`). As `blends_parts`."""
    return tuple(preset_named(manifest_preset(preset)).profiles)


@cache
def draws_from_nearest(preset: str) -> bool:
    """Whether it draws from the nearest sources only (`models.presets`). As `blends_parts`."""
    return preset_named(manifest_preset(preset)).draws_from_nearest


def preset_of(model: bytes) -> str | None:
    """The installed preset that a stream names, or None. Raises FvcError where one that ships with fvc is damaged."""
    for preset in shipped():
        try:
            if model_hash(preset) == model:
                return preset
        except FvcError:  # a damaged folder of somebody's own keeps nobody from drawing with other weights
            if folder_of(preset).parent == _ROOT:
                raise
    return None


def large_folder(preset: str) -> Path:
    """Where the networks of a preset that draw 512x512 pixels lie; of a preset at an absolute path, beside it."""
    own = folder_of(preset)
    return own.with_name(f"{own.name}-{LARGE_SIDE}")


def write_large_digests(folder: Path, preset: str) -> None:
    """Records the SHA-256 of the graphs in such a folder, and the hash of the preset's weights."""
    stated = {"model_hash": model_hash(preset).hex(), "sha256": digests_of(folder, _files_of(LARGE_GRAPHS))}
    (folder / _DIGESTS).write_text(json.dumps(stated, indent=1) + "\n")


@cache
def draws_large(preset: str) -> bool:
    """Whether a preset can draw 512x512 pixels. Raises FvcError where what it needs for that is damaged."""
    path = large_folder(preset) / _DIGESTS
    if not path.is_file():
        return False
    try:
        stated = json.loads(path.read_text()) if path.stat().st_size <= _MAX_MANIFEST else {}
        if stated["model_hash"] != model_hash(preset).hex():
            return False  # made of other weights
        if all(is_intact(path.with_name(name), stated["sha256"][name]) for name in _files_of(LARGE_GRAPHS)):
            return True
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    raise FvcError(f"{path.parent}: the networks for {LARGE_SIDE} pixels are damaged; reinstall fvc")
