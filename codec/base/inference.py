"""OpenVINO, as all of fvc uses it: imported without what takes long, and with compiled networks kept for next time."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from fvc.codec.base.cache import written_whole

# OpenVINO sets the process's locale to "C" and back while it reads a network: two at once would leave it so.
ONE_AT_A_TIME = threading.Lock()
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
_KEPT = 48  # compiled networks in the user's cache; the ones that were used last
_DIGEST_BYTES = 32


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
    """OpenVINO itself."""
    return openvino_package().Core()


def read_model(path: Path, batch: int | None = None) -> Any:
    """OpenVINO's model of an .xml and .bin file; `batch`: of the inputs that leave it open."""
    with ONE_AT_A_TIME:
        model = core().read_model(path)
        if batch is not None:
            shapes = [port.get_partial_shape() for port in model.inputs]
            model.reshape({i: [batch, *list(s)[1:]] for i, s in enumerate(shapes) if s[0].is_dynamic})
    return model


def compile_kept(path: Path, how: Mapping[str, Any], batch: int | None = None) -> Any:
    """A network of an .xml and .bin file, compiled for this CPU.

    What was compiled before is taken from the user's cache, which takes a third of the time and less memory.

    Args:
        how: properties of OpenVINO. batch: see `read_model`.
    """
    kept = _kept_file(path, f"{batch} {sorted(how.items())}")
    if (blob := _read(kept)) is not None:
        with ONE_AT_A_TIME, suppress(RuntimeError):  # not what this version of OpenVINO takes: compiled anew
            return core().import_model(blob, "CPU", dict(how))
    model = read_model(path, batch)
    with ONE_AT_A_TIME:
        compiled = core().compile_model(model, "CPU", dict(how))
    _write(kept, compiled.export_model().getvalue())
    return compiled


def compile_file(path: Path) -> Any:
    """A network of an .xml and .bin file, in float32, on one thread: small ones gain nothing from more."""
    return compile_kept(path, {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1} | EXACT)


def _kept_file(path: Path, how: str) -> Path:
    """Where the compiled network is kept: named by all that it depends on."""
    machine = [core().get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    digest = hashlib.sha256(f"{openvino_package().__version__} {machine} {how}".encode())
    for file in (path, path.with_suffix(".bin")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return platformdirs.user_cache_path("fvc") / "openvino" / f"{digest.hexdigest()[:32]}.blob"


def _read(kept: Path) -> bytes | None:
    """A compiled network; None where there is none, or it is damaged."""
    try:
        data = kept.read_bytes()
        os.utime(kept)  # the least recently used ones are removed
    except OSError:
        return None
    digest, blob = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return blob if hashlib.sha256(blob).digest() == digest else None


def _write(kept: Path, blob: bytes) -> None:
    """Keeps a compiled network, and no more of them than `_KEPT`. Without a cache that can be written: nothing."""
    with suppress(OSError):
        with written_whole(kept) as part:
            part.write_bytes(hashlib.sha256(blob).digest() + blob)
        by_use = sorted(kept.parent.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in by_use[_KEPT:]:
            old.unlink()
