"""For a Mac: checks that exported packages compute there what torch computed here, and measures how fast.

    pip install coremltools numpy pillow
    python verify_on_mac.py build/coreml > report.json

Needs only the folder that `fvc export coreml` wrote: the packages, and check.npz with inputs and torch's outputs.
Prints one JSON object:

    {"machine": "arm64 Darwin ...", "coremltools": "9.0", "ok": true,
     "packages": {"draw": {"CPU_ONLY": {"psnr": {"picture": 58.1}, "first_ms": 80.2, "median_ms": 9.1}, ...}, ...}}

psnr is in dB relative to the largest value of torch's output; `ok` means that all reach 40. first_ms is the first
prediction (loading excluded), median_ms the median of 50 more. Exit code 1 if not ok. The authors have no Mac: this
file has not been run.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

LEAST = 40.0  # dB
ROUNDS = 50
UNITS = ("CPU_ONLY", "CPU_AND_GPU", "ALL")


def psnr(found: np.ndarray, wanted: np.ndarray) -> float:
    """dB, relative to the largest expected value; images as numbers up to 255."""
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    error = float(((found - wanted) ** 2).mean())
    return min(10 * math.log10(float(np.abs(wanted).max()) ** 2 / error), 99.0) if error else 99.0


def measure(package: Path, arrays: dict[str, np.ndarray], unit: str) -> dict[str, Any]:
    """One package on one kind of compute unit."""
    import coremltools as ct
    from PIL import Image

    name = package.stem
    model = ct.models.MLModel(str(package), compute_units=getattr(ct.ComputeUnit, unit))
    inputs, wanted = (
        {key.split("/")[2]: value for key, value in arrays.items() if key.startswith(f"{name}/{side}/")}
        for side in ("in", "out")
    )
    given = {key: Image.fromarray(x) if x.dtype == np.uint8 else x for key, x in inputs.items()}
    times = []
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        found = model.predict(given)
        times.append(1000 * (time.perf_counter() - start))
    quality = {}
    for key, x in wanted.items():
        value = found[key]
        value = np.asarray(value.convert("RGB")) if isinstance(value, Image.Image) else np.asarray(value)
        quality[key] = round(psnr(value, x), 1)
    return {"psnr": quality, "first_ms": round(times[0], 2), "median_ms": round(float(np.median(times[1:])), 2)}


def main() -> int:
    """Returns the exit code."""
    if sys.platform != "darwin":
        print("verify_on_mac.py: Core ML runs on a Mac only", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `fvc export coreml` wrote")
    folder = parser.parse_args().folder
    import coremltools as ct

    arrays = dict(np.load(folder / "check.npz"))
    report: dict[str, Any] = {"machine": f"{platform.machine()} {platform.platform()}", "coremltools": ct.__version__}
    report["packages"] = {
        package.stem: {unit: measure(package, arrays, unit) for unit in UNITS}
        for package in sorted(folder.glob("*.mlpackage"))
    }
    units = [unit for package in report["packages"].values() for unit in package.values()]
    report["ok"] = bool(units) and all(min(unit["psnr"].values()) >= LEAST for unit in units)
    print(json.dumps(report, indent=1))
    return int(not report["ok"])


if __name__ == "__main__":
    sys.exit(main())
