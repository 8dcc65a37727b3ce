"""Metrics that ffmpeg's filters compute over a whole clip: VMAF (Li et al., 2016) and XPSNR (Helmrich et al., 2020).

Both sides go to them as RGB, like to all other metrics, and become 4:2:0 in the same way there. Both look at luma.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from fvc.codec.base.errors import FvcError
from fvc.evaluation import ffmpeg
from fvc.evaluation.metrics.catalog import MAX_PSNR
from fvc.evaluation.pictures import TO_YUV

_FILTERS = {"vmaf": "libvmaf=log_fmt=json:log_path=vmaf:n_threads=1", "xpsnr": "xpsnr=stats_file=xpsnr"}
_RATE = "25"  # frames per second that are told; XPSNR looks at second differences above 32
_PATIENCE = 60  # seconds that ffmpeg may take after the last frame


class VideoMetrics:
    """Collects the frames of a clip and says how near the drawn ones are.

    Args:
        names: of the metrics, of "vmaf" and "xpsnr"; none: nothing is computed.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._open = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> VideoMetrics:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def add(self, original: np.ndarray, drawn: np.ndarray) -> None:
        """Takes a frame and its drawing, uint8 RGB [H, W, 3]. Raises FvcError: ffmpeg failed."""
        if not self._names:
            return
        if self._process is None:
            self._process = self._start(*original.shape[:2])
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.concatenate([original, drawn]).tobytes())
        except BrokenPipeError:
            raise self._fault() from None

    def means(self) -> dict[str, float]:
        """Metric -> its value for the clip; empty if there was no frame. Raises FvcError: ffmpeg failed."""
        if self._process is None:
            return {}
        try:
            self._process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            raise FvcError("ffmpeg: VMAF or XPSNR did not come to an end") from None
        if self._process.returncode:
            raise self._fault()
        return {name: _READ[name]((self._folder / name).read_text()) for name in self._names}

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        """ffmpeg, which gets each frame with its drawing below it."""
        count = len(self._names)
        sides = []
        for side, top in (("o", 0), ("d", height)):
            ends = "".join(f"[{side}{n}]" for n in range(count))
            sides.append(f"[{side}]crop={width}:{height}:0:{top},{TO_YUV},split={count}{ends}")
        compared = [f"[d{n}][o{n}]{_FILTERS[name]}[r{n}]" for n, name in enumerate(self._names)]
        graph = ";".join(["[0:v]split[o][d]", *sides, *compared])
        results = [text for n in range(count) for text in ("-map", f"[r{n}]", "-f", "null", "-")]
        reading = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{2 * height}", "-r", _RATE, "-i", "pipe:0"]
        command = [ffmpeg.program(), "-v", "error", "-filter_complex_threads", "1", *reading, "-lavfi", graph, *results]
        self._folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        with open(self._folder / "errors", "wb") as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, cwd=self._folder
            )
        self._open.callback(_end, process)
        return process

    def _fault(self) -> FvcError:
        lines = (self._folder / "errors").read_text(errors="replace").splitlines()
        return FvcError(f"ffmpeg: {(lines or ['VMAF or XPSNR failed'])[0][:200]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that may have ended already."""
    process.kill()
    process.wait()
    with suppress(BrokenPipeError):
        process.stdin.close()  # type: ignore[union-attr]


def _mean_vmaf(log: str) -> float:
    return float(json.loads(log)["pooled_metrics"]["vmaf"]["mean"])


def _mean_xpsnr(stats: str) -> float:
    """Of luma, dB, from the last line of the filter's file."""
    return min(float(re.findall(r"average.* y: *(\S+)", stats)[-1]), MAX_PSNR)


_READ: dict[str, Callable[[str], float]] = {"vmaf": _mean_vmaf, "xpsnr": _mean_xpsnr}  # of the filters' files
