"""export/c/fvc_wasm.c from Python: compiled for this machine (ctypes), or as WebAssembly (wasmtime)."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "export" / "c" / "fvc_wasm.c"
PRIORS = ROOT / "codec" / "motion" / "priors.bin"

_SIZELESS = ("fvc_wasm_encode", "fvc_wasm_encode_near", "fvc_wasm_encoded")  # that are not told how much lies in `in`


class Library:
    """Decoder and encoder of one stream each. `rule` errors come as negative numbers."""

    def _load_priors(self) -> None:
        assert self._run("fvc_wasm_priors", PRIORS.read_bytes()) == 0

    def _run(self, name: str, data: bytes, *arguments: int) -> int:
        raise NotImplementedError

    def _out(self, size: int) -> bytes:
        raise NotImplementedError

    def decoder(self, header: bytes) -> int:
        return self._run("fvc_wasm_decoder", header)

    def encoder(self, header: bytes) -> int:
        return self._run("fvc_wasm_encoder", header)

    def decode(self, kind: int, number: int, payload: bytes) -> list[int] | int:
        """The integers of all parts, or a rule, or 0: the frame is held."""
        count = self._run("fvc_wasm_decode", payload, kind, number)
        return [*struct.unpack(f"={count}H", self._out(2 * count))] if count > 0 else count

    def encode(self, integers: list[int], key: bool) -> bytes | int:
        """The bytes of a frame, or a rule."""
        size = self._run("fvc_wasm_encode", struct.pack(f"={len(integers)}H", *integers), int(key))
        return self._out(size) if size >= 0 else size

    def encode_near(self, lambdas: list[float], steps: list[float], key: bool) -> tuple[bytes, list[int]] | int:
        """The bytes of a frame and the integers that were chosen, or a rule."""
        size = self._run("fvc_wasm_encode_near", struct.pack(f"={3 + len(steps)}d", *lambdas, *steps), int(key))
        if size < 0:
            return size
        data = self._out(size)
        count = self._run("fvc_wasm_encoded", b"")
        return data, [*struct.unpack(f"={count}H", self._out(2 * count))]

    def datagram(self, data: bytes) -> list[tuple[int, int, bytes]] | int:
        """(kind, number, payload) of each packet, or a rule."""
        count = self._run("fvc_wasm_datagram", data)
        rows = struct.iter_unpack("=4I", self._out(16 * max(count, 0)))
        return count if count < 0 else [(kind, number, data[at : at + size]) for kind, number, at, size in rows]


class Native(Library):
    """Compiled by gcc, with AddressSanitizer's cheaper relative: UBSan that traps."""

    def __init__(self, folder: Path) -> None:
        out = folder / "libfvc.so"
        strict = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic", "-O2", "-DFVC_LIBRARY"]
        checks = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
        subprocess.run(["gcc", *strict, *checks, "-shared", "-fPIC", "-o", out, SOURCE], check=True)
        self._library = ctypes.CDLL(str(out))
        for name in ("fvc_in", "fvc_out"):
            getattr(self._library, name).restype = ctypes.c_void_p
        self._load_priors()

    def _run(self, name: str, data: bytes, *arguments: int) -> int:
        ctypes.memmove(self._library.fvc_in(), data, len(data))
        return int(getattr(self._library, name)(*arguments, *([] if name in _SIZELESS else [len(data)])))

    def _out(self, size: int) -> bytes:
        return ctypes.string_at(self._library.fvc_out(), size)


class Wasm(Library):
    """A module, in wasmtime. It imports nothing."""

    def __init__(self, module: bytes) -> None:
        import wasmtime

        self._store: Any = wasmtime.Store()
        compiled = wasmtime.Module(self._store.engine, module)
        assert len(compiled.imports) == 0
        self._exports = wasmtime.Instance(self._store, compiled, []).exports(self._store)
        if "_initialize" in self._exports:
            self._exports["_initialize"](self._store)
        self._memory = self._exports["memory"]
        self._in, self._at_out = self._exports["fvc_in"](self._store), self._exports["fvc_out"](self._store)
        self._load_priors()

    def _run(self, name: str, data: bytes, *arguments: int) -> int:
        self._memory.write(self._store, data, self._in)
        return int(self._exports[name](self._store, *arguments, *([] if name in _SIZELESS else [len(data)])))

    def _out(self, size: int) -> bytes:
        return bytes(self._memory.read(self._store, self._at_out, self._at_out + size))
