"""Puts together what the page needs beside its own sources: ONNX Runtime for browsers, networks, decoder and tables.

    python -m fvc.web.build_page        needs npm, and the extra `export`

ONNX Runtime comes from npm in the version that `page/package.json` pins. All of it lies in `page/built`, which git
ignores and the wheel carries where it was built, so the page asks no other host for anything.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from fvc.codec.base.errors import FvcError
from fvc.codec.motion import landmark_basis
from fvc.export.wasm import BLEND, CODEC
from fvc.models.presets import DEFAULT
from fvc.models.weights import model_hash

PAGE = Path(__file__).with_name("page")
BUILT = PAGE / "built"
_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def build(preset: str = DEFAULT) -> Path:
    """Fills `page/built`. Raises FvcError where npm fails."""
    from fvc.export.page_graphs import PAGE_NAMES, export_page

    BUILT.mkdir(exist_ok=True)
    (BUILT / "draw.onnx").unlink(missing_ok=True)  # of an older version
    with TemporaryDirectory() as folder:
        shutil.copy(PAGE / "package.json", folder)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        except FileNotFoundError:
            raise FvcError("npm is not installed: the page needs ONNX Runtime from its registry") from None
        if done.returncode:
            raise FvcError(f"npm: {done.stderr.strip()[:300]}")
        for name in _RUNTIME:
            shutil.copy(Path(folder) / "node_modules" / "onnxruntime-web" / "dist" / name, BUILT)
        export_page(preset, Path(folder) / "onnx")
        for name in PAGE_NAMES:
            shutil.copy(Path(folder) / "onnx" / f"{name}.onnx", BUILT)
    tables = Path(landmark_basis.__file__).parent
    for path in (CODEC.path, BLEND.path, tables / "priors.bin", tables / "shape.bin"):
        shutil.copy(path, BUILT)
    manifest = {"preset": preset, "model_hash": model_hash(preset).hex()}
    (BUILT / "manifest.json").write_text(json.dumps(manifest) + "\n")
    return BUILT


if __name__ == "__main__":
    size = sum(path.stat().st_size for path in build().iterdir())
    print(f"{BUILT}: {size / 1e6:.1f} MB")
