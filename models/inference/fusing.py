"""Fuses a video layer with the drawn picture (`models.fusion.network`). One network serves every preset.

`models/weights/fusion` holds `weights.safetensors`, the graph made of it, and `digests.json` with the SHA-256 of each.
"""

from __future__ import annotations

import json
import threading
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from fvc.codec.base.errors import FvcError
from fvc.codec.base.inference import compile_kept
from fvc.models.inference.graphs import properties
from fvc.models.weights import digests_of, folder_of, is_intact

FUSION = "fusion"
FUSION_FILES = ("weights.safetensors", "fuse.xml", "fuse.bin")
_DIGESTS = "digests.json"
_MAX_BYTES = 1 << 24  # of a file


def write_digests(folder: Path) -> None:
    """Records the SHA-256 of the network's files."""
    (folder / _DIGESTS).write_text(json.dumps(digests_of(folder, FUSION_FILES), indent=1) + "\n")


@cache
def _verified_fusion() -> Path:
    """The folder of the network. Raises FvcError where a file is missing or damaged."""
    folder = folder_of(FUSION)
    try:
        stated = json.loads((folder / _DIGESTS).read_text())
        for name in FUSION_FILES:
            path = folder / name
            path.stat()  # raises where it is missing
            if not is_intact(path, stated[name], _MAX_BYTES):
                raise FvcError(f"{path}: not what {_DIGESTS} says; reinstall fvc")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FvcError(f"{folder}: the fusion network is missing or damaged; reinstall fvc") from error
    return folder


class FuseRuntime:
    """A layer's picture and the drawn one -> what is shown. May be called from several threads.

    Args:
        streams: how many pictures the caller fuses at a time; each takes one thread.
    """

    def __init__(self, streams: int = 1) -> None:
        compiled = compile_kept(_verified_fusion() / "fuse.xml", properties(streams, exact=True))
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())

    def __call__(self, layer: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Two pictures uint8 [256, 256, 3] -> the fused one. To restore a layer alone, give it twice."""
        request = self._idle.get()
        try:
            inputs = [np.ascontiguousarray(layer)[None], np.ascontiguousarray(drawn)[None]]
            return np.array(next(iter(request.infer(inputs).values()))[0])
        finally:
            self._idle.put(request)


class LazyFuse:
    """A `FuseRuntime` that is loaded when it is first called: most streams have no layer."""

    def __init__(self, streams: int = 1) -> None:
        self._streams, self._lock = streams, threading.Lock()
        self._runtime: FuseRuntime | None = None

    def __call__(self, layer: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """As `FuseRuntime`. Raises FvcError where the network's files are missing or damaged."""
        with self._lock:
            if self._runtime is None:
                self._runtime = FuseRuntime(self._streams)
        return self._runtime(layer, drawn)
