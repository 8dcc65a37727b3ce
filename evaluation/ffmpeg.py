"""The ffmpeg program that the package imageio-ffmpeg carries: its encoders and filters, and one way to run it.

It has what PyAV's libraries lack: VVenC, and VMAF.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Sequence
from functools import cache

from fvc.codec.base.errors import FvcError

PACKAGE = "imageio_ffmpeg"
_TRIES = 3  # of a run that hangs: SVT-AV1 does so once in some hundred


@cache
def program() -> str:
    """Path of the program. Raises FvcError: the package is not installed, or has none for this machine."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise FvcError("imageio-ffmpeg is not installed; pip install 'fvc[measure]'")
    import imageio_ffmpeg  # type: ignore[import-untyped]

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise FvcError("imageio-ffmpeg has no ffmpeg for this machine; set IMAGEIO_FFMPEG_EXE to one") from None


@cache
def version() -> str:
    """The program's name and version, e.g. "ffmpeg n9.0.2". Raises FvcError."""
    return " ".join(_listed("-version").split()[:3:2])


def why_missing(kind: str, name: str) -> str | None:
    """Why there is no encoder ("encoders") or filter ("filters") of this name; None: there is one."""
    try:
        listed = _listed("-hide_banner", f"-{kind}")
    except FvcError as error:
        return str(error)
    if re.search(rf"^ \S+ +{re.escape(name)} ", listed, re.M):
        return None
    return f"{version()} of imageio-ffmpeg has no {name}; set IMAGEIO_FFMPEG_EXE to one that has it"


def run(arguments: Sequence[str], seconds: float) -> None:
    """Runs the program. After `seconds` it is ended and started again, three times in all.

    Raises:
        FvcError: it failed, or did not end in any of the tries.
    """
    command = [program(), "-y", "-v", "error", "-nostdin", *arguments]
    for _ in range(_TRIES):
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode:
            raise FvcError(f"ffmpeg: {(done.stderr.split(chr(10)) or [''])[0][:200] or 'failed'}")
        return
    raise FvcError(f"ffmpeg: hung {_TRIES} times, for {seconds:.0f} s each")


@cache
def _listed(*arguments: str) -> str:
    return subprocess.run([program(), *arguments], capture_output=True, text=True, check=False, timeout=60).stdout
