"""C as WebAssembly, for browsers: builds the modules that are shipped.

    python -m fvc.export.wasm        needs ziglang, whose clang brings a C library for WebAssembly (extra `wasm`)

fvc.wasm is decoder and encoder, 16 kB; fvc_blend.wasm is the part of drawing that is not a network, 3 kB. They import
nothing, and are the same byte for byte wherever the same ziglang builds them. They lie beside the sources with the
digests of both, so that a test without the compiler sees when they have parted.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fvc.codec.base.errors import FvcError

_SOURCES = Path(__file__).parent / "c"
_TARGET = ("-target", "wasm32-wasi", "-mexec-model=reactor", "-std=c11", "-s")
_EXPORTS = ("-fvisibility=hidden", "-Wl,--export-dynamic")


@dataclass(frozen=True)
class Module:
    """A module that is shipped.

    Attributes:
        sources: names of its files, in the order in which they are digested; the last is compiled.
        options: of the compiler.
    """

    path: Path
    sources: tuple[str, ...]
    options: tuple[str, ...]

    def sources_digest(self) -> str:
        """SHA-256 of the sources."""
        return hashlib.sha256(b"".join((_SOURCES / name).read_bytes() for name in self.sources)).hexdigest()

    def build(self, out: Path) -> Path:
        """Compiles the module. Raises FvcError where that fails."""
        compiler = [sys.executable, "-m", "ziglang", "cc", *_TARGET, *self.options, *_EXPORTS]
        command = [*compiler, "-o", str(out), self.sources[-1]]
        done = subprocess.run(command, cwd=_SOURCES, capture_output=True, text=True)
        if done.returncode:
            raise FvcError(f"the module cannot be built: {done.stderr.strip()[:500] or 'is ziglang installed?'}")
        return out


CODEC = Module(
    _SOURCES / "fvc.wasm",
    ("fvc_decode.c", "fvc_decode.h", "fvc_encode.c", "fvc_encode.h", "fvc_wasm.c"),
    ("-Os", "-DFVC_LIBRARY"),
)
BLEND = Module(_SOURCES / "fvc_blend.wasm", ("fvc_blend.c",), ("-O3", "-msimd128"))


def main() -> None:
    """Builds the shipped modules, and notes what they were built from."""
    for module in (CODEC, BLEND):
        module.build(module.path)
        digest = hashlib.sha256(module.path.read_bytes()).hexdigest()
        module.path.with_suffix(".sha256").write_text(f"{module.sources_digest()}\n{digest}\n")
        print(f"{module.path.name}: {module.path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
