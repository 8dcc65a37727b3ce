"""Shipped weights: where they lie, what they are called by, that they are whole. No torch.

A preset's identity is the SHA-256 of its `weights.safetensors`; streams carry its first eight bytes. `manifest.json`
ties the converted graphs to it.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

GRAPHS = ("motion", "embed", "draw")
_ROOT = Path(__file__).parent / "weights"


def folder_of(preset: str) -> Path:
    """The folder of a preset's weights."""
    return _ROOT / preset


def shipped() -> list[str]:
    """Presets whose weights are installed."""
    return sorted(path.parent.name for path in _ROOT.glob("*/manifest.json"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files() -> list[str]:
    return ["weights.safetensors", *(f"{graph}.{end}" for graph in GRAPHS for end in ("xml", "bin"))]


def write_manifest(folder: Path) -> None:
    """Records the digests of all files of a preset."""
    digests = {name: _digest(folder / name) for name in _files()}
    (folder / "manifest.json").write_text(json.dumps({"sha256": digests}, indent=1) + "\n")


def verify(folder: Path) -> None:
    """Raises ValueError if a file differs from the manifest (a damaged installation)."""
    digests = json.loads((folder / "manifest.json").read_text())["sha256"]
    for name in _files():
        if _digest(folder / name) != digests[name]:
            raise ValueError(f"{folder / name}: differs from its manifest; reinstall fvc")


@cache
def model_hash(preset: str) -> bytes:
    """The eight bytes by which streams name these weights."""
    digests = json.loads((folder_of(preset) / "manifest.json").read_text())["sha256"]
    return bytes.fromhex(digests["weights.safetensors"])[:8]


def preset_of(model: bytes) -> str | None:
    """The installed preset that a stream names, or None."""
    return next((preset for preset in shipped() if model_hash(preset) == model), None)
