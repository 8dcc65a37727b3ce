"""Trains from a plain checkout, with nothing installed but torch, numpy, OpenCV, safetensors and tqdm.

    python training/bare.py composed --data train.pack --perceptual lpips_squeeze/ --run runs/a --segment 9 --portable
    torchrun --nproc-per-node 8 training/bare.py composed ...

The package map (fvc.codec is codec/ ...) comes from pyproject.toml when fvc is installed; here it is made by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).resolve().parent.parent


def _map_packages() -> None:
    package = ModuleType("fvc")
    package.__path__ = [str(_ROOT / "fvc"), str(_ROOT)]  # fvc.jobs in fvc/, fvc.codec in codec/
    sys.modules["fvc"] = package


if __name__ == "__main__":
    _map_packages()
    from fvc.training.generator.run import console

    raise SystemExit(console())
