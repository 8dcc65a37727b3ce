"""Writes packs (`training.data.pack`): clips go in one by one, the file appears when all are in."""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from fvc.codec.face.landmarks import N_LANDMARKS
from fvc.codec.media.output import FileKind, atomic_write
from fvc.training.data.pack import LANDMARK_UNITS, ClipData

PACK = FileKind("a pack", (".pack",), ((8, b'{"__metadata__": {"clips"'),))
_DTYPES = {"int64": "I64", "int32": "I32", "int16": "I16", "float32": "F32", "uint8": "U8"}  # safetensors' names
_EMPTY = {
    "landmarks": np.zeros((0, N_LANDMARKS, 2), np.int16),
    "yaw": np.zeros(0, np.float32),
    "clip": np.zeros(0, np.int32),
    "time": np.zeros(0, np.float32),
    "rank": np.zeros(0, np.int32),
}
_ORDER = ("offset", "yaw", "clip", "time", "rank", "landmarks")  # the widest numbers first, so that all are aligned


@dataclass
class PackWriter:
    """Collects clips and writes the pack when its block ends without error. Pictures wait on disk to save memory.

    Args:
        overwrite: whether an existing pack is replaced.

    Raises:
        OSError, OutputError: `path` cannot be written.
    """

    path: Path
    report: dict[str, object] = field(default_factory=dict)
    overwrite: bool = False

    def __enter__(self) -> PackWriter:
        self._spool = tempfile.TemporaryFile(dir=self.path.parent)
        self._lengths: list[int] = [0]
        self._columns: dict[str, list[np.ndarray]] = {name: [] for name in _EMPTY}
        self._names: list[str] = []
        self._identities: list[str] = []
        return self

    def add(self, clip: ClipData) -> None:
        """Appends a clip."""
        for picture in clip.pictures:
            self._spool.write(picture)
            self._lengths.append(len(picture))
        columns = self._columns
        columns["landmarks"].append(np.clip(np.round(clip.landmarks * LANDMARK_UNITS), -32768, 32767).astype(np.int16))
        columns["yaw"].append(clip.yaw.astype(np.float32))
        columns["clip"].append(np.full(len(clip.pictures), len(self._names), np.int32))
        columns["time"].append(clip.time.astype(np.float32))
        columns["rank"].append(clip.rank.astype(np.int32))
        self._names.append(clip.name)
        self._identities.append(clip.identity)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        with self._spool:
            if kind is None:
                self._write()

    def _write(self) -> None:
        arrays = {"offset": np.cumsum(self._lengths).astype(np.int64)}
        for name, empty in _EMPTY.items():
            arrays[name] = np.concatenate([empty, *self._columns[name]])
        header = self._header(arrays)
        with atomic_write(self.path, PACK, self.overwrite) as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for name in _ORDER:
                file.write(arrays[name].tobytes())
            self._spool.seek(0)
            shutil.copyfileobj(self._spool, file, 1 << 20)

    def _header(self, arrays: dict[str, np.ndarray]) -> bytes:
        """The JSON header of a safetensors file, padded to a multiple of 8 bytes."""
        metadata = {
            "clips": json.dumps(self._names),
            "identities": json.dumps(self._identities),
            "report": json.dumps(self.report),
        }
        header: dict[str, object] = {"__metadata__": metadata}
        start = 0
        for name in _ORDER:
            array = arrays[name]
            offsets = [start, start + array.nbytes]
            header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
            start += array.nbytes
        total = int(arrays["offset"][-1])
        header["pictures"] = {"dtype": "U8", "shape": [total], "data_offsets": [start, start + total]}
        text = json.dumps(header).encode()
        return text + b" " * (-len(text) % 8)
