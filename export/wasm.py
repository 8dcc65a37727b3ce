"""The C decoder and encoder as WebAssembly, for browsers: builds the module that is shipped.

    python -m fvc.export.wasm        needs ziglang, whose clang brings a C library for WebAssembly (extra `wasm`)

The module is 16 kB, imports nothing, and is the same byte for byte wherever the same ziglang builds it. It lies beside
the sources with the digests of both, so that a test without the compiler sees when they have parted.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from fvc.codec.base.errors import FvcError

_SOURCES = Path(__file__).parent / "c"
MODULE = _SOURCES / "fvc.wasm"
_OPTIONS = ("-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-std=c11", "-DFVC_LIBRARY", "-s")
_EXPORTS = ("-fvisibility=hidden", "-Wl,--export-dynamic")


def built_from() -> tuple[str, ...]:
    """The names of the sources, in the order in which they are digested."""
    return ("fvc_decode.c", "fvc_decode.h", "fvc_encode.c", "fvc_encode.h", "fvc_wasm.c")


def build(out: Path) -> Path:
    """Compiles the module. Raises FvcError where that fails."""
    command = [sys.executable, "-m", "ziglang", "cc", *_OPTIONS, *_EXPORTS, "-o", str(out), "fvc_wasm.c"]
    done = subprocess.run(command, cwd=_SOURCES, capture_output=True, text=True)
    if done.returncode:
        raise FvcError(f"the module cannot be built: {done.stderr.strip()[:500] or 'is ziglang installed?'}")
    return out


def main() -> None:
    """Builds the shipped module, and notes what it was built from."""
    build(MODULE)
    sources = hashlib.sha256(b"".join((_SOURCES / name).read_bytes() for name in built_from())).hexdigest()
    digest = hashlib.sha256(MODULE.read_bytes()).hexdigest()
    MODULE.with_suffix(".sha256").write_text(f"{sources}\n{digest}\n")
    print(f"{MODULE.name}: {MODULE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
