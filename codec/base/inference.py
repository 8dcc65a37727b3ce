"""OpenVINO, as all of fvc uses it: imported without what takes long, and with compiled networks kept for next time."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

# OpenVINO sets the process's locale to "C" and back while it reads a network: two at once would leave it so.
ONE_AT_A_TIME = threading.Lock()
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


@lru_cache(maxsize=1)
def openvino_package() -> Any:
    """The package without its model converter, which takes twice as long to import as all the rest."""
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules or converter in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[converter] = None  # type: ignore[assignment]
    try:
        openvino: Any = importlib.import_module("openvino")
    finally:
        del sys.modules[converter]
    openvino.convert_model = lambda *args, **named: importlib.import_module(converter).convert_model(*args, **named)
    return openvino


@lru_cache(maxsize=1)
def core() -> Any:
    """OpenVINO, which keeps compiled networks in the user's cache folder: they load in half the time then."""
    made = openvino_package().Core()
    with suppress(OSError):  # read-only home: compile each time
        folder = platformdirs.user_cache_path("fvc") / "openvino"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            made.set_property({"CACHE_DIR": str(folder)})
    return made


def compile_file(path: Path) -> Any:
    """A network of an .xml and .bin file, in float32, on one thread: small ones gain nothing from more."""
    how = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1} | EXACT
    with ONE_AT_A_TIME:
        return core().compile_model(core().read_model(path), "CPU", how)
