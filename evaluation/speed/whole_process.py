"""`fvc encode` and `fvc decode` of a whole clip, each in a process of its own, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from fvc.codec.base.errors import FvcError

_RUN = """import json, sys, time
import fvc
from fvc.codec.base.errors import FvcError
marks = {}
def progress(stage, done, total):
    marks.setdefault(stage, []).append(time.monotonic())
name, options = sys.argv[1], json.loads(sys.argv[3])
try:
    report = getattr(fvc, name)(*json.loads(sys.argv[2]), **options, progress=progress)
except FvcError as error:
    sys.exit(str(error))
print(json.dumps([report, marks]))"""
_ONCE = "sources"  # the stage of an encode that runs once, not for each frame
_RUN_TO_FIRST_FRAME = """import sys, time, os
from fvc.cli import main as cli
import fvc
def first(stage, done, total):
    print(time.monotonic(), flush=True)
    os._exit(0)
fvc.decode(*sys.argv[1:], progress=first)"""
_RUN_TO_FIRST_FACE = """import sys, time
from fvc.cli import main as cli
import fvc
fvc.encode
print(time.monotonic())
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
with VideoReader(sys.argv[1]) as video, FaceTracker(tracker=sys.argv[2]) as tracker:
    found = any(tracker.track(frame.rgb) is not None for frame in video.frames(15))
print(time.monotonic() if found else "nan")"""
# The system counts the memory of the parent, before it became this process, to this process: Linux has the true value.
_PEAK = """
import re, resource
from pathlib import Path
status = Path("/proc/self/status")
true = status.exists() and re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())
print(int(true[1]) if true else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"""


def encode_and_decode(video: Path, stream: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Times both ends of a clip. Raises FvcError.

    Args:
        stream: the .fvc to write; source set and decoded video are written to the same folder.
        options: of `fvc.encode`.

    Returns:
        "encode" and "decode", each with "fps" (once the first frame is done, without work that is done once for a
        clip), "whole_process_fps", "seconds", "cpu_s_per_s" (of video) and "peak_rss_mb".
    """
    decoded = stream.with_suffix(".mp4")
    return {
        "encode": _timed("encode", [video, stream], options),
        "decode": _timed("decode", [stream, stream.with_suffix(".fvs"), decoded], {}),
    }


def _timed(name: str, paths: list[Path], options: Mapping[str, Any]) -> dict[str, float]:
    """Runs `fvc.encode` or `fvc.decode`."""
    code, given = _RUN + _PEAK, json.dumps([str(path) for path in paths])
    start, (text, peak), usage = _child(code, name, given, json.dumps(options))
    seconds = time.monotonic() - start
    report, marks = json.loads(text)
    per_frame = sum((ticks[-1] - ticks[0]) / max(len(ticks) - 1, 1) for stage, ticks in marks.items() if stage != _ONCE)
    return {
        "fps": round(1 / per_frame if per_frame else report["frames"] / seconds, 1),  # one frame: no rate of its own
        "whole_process_fps": round(report["frames"] / seconds, 1),
        "seconds": round(seconds, 2),
        "cpu_s_per_s": round((usage.ru_utime + usage.ru_stime) / report["duration_s"], 3),
        "peak_rss_mb": round(int(peak) / 1024, 1),
    }


def start_up_seconds(stream: Path) -> float:
    """Seconds from the start of a process to its first decoded frame; the stream's source set is next to it."""
    out = stream.with_name("first.mp4")
    start, (text,), _ = _child(_RUN_TO_FIRST_FRAME, stream, stream.with_suffix(".fvs"), out)
    return round(float(text) - start, 3)


def first_face(video: Path, tracker: str) -> dict[str, float]:
    """What a sender's start costs: "import_s" and "first_face_s", seconds from the start of a process, "peak_rss_mb".

    Args:
        video: must show a face. tracker: see `codec.face.finders`.
    """
    start, (*moments, peak), _ = _child(_RUN_TO_FIRST_FACE + _PEAK, video, tracker)
    imported, found = (round(float(moment) - start, 2) for moment in moments)
    return {"import_s": imported, "first_face_s": found, "peak_rss_mb": round(int(peak) / 1024, 1)}


def _child(code: str, *arguments: object) -> tuple[float, list[str], Any]:
    """Runs Python code in a process of its own.

    Returns:
        when it was started (time.monotonic, a clock that processes share), the lines of its stdout, its resource usage.

    Raises:
        FvcError: it failed; with the last line of its stderr.
    """
    start = time.monotonic()
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, err):
            file.seek(0)
        if process.returncode:
            fault = (err.read().splitlines() or [f"exit code {process.returncode}"])[-1]
            raise FvcError(f"bench: {fault.removeprefix('fvc: ')}")
        return start, out.read().splitlines(), usage
