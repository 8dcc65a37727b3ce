"""Numbers and names as a report shows them: sensible digits, words where there is no number, escaped names."""

from __future__ import annotations

import re
from typing import Any

from fvc.evaluation.metrics.metrics import METRICS

NONE = "\N{EN DASH}"
_KEEP = "\N{NO-BREAK SPACE}"
CODECS = {"x265": "HEVC", "x265-ra": "HEVC random access", "svtav1": "AV1", "x264": "H.264", "vp9": "VP9"}
# Metric -> (column heading with its unit, decimals).
_SHORT = {
    "lpips": ("LPIPS", 3),
    "lpips_alex": ("LPIPS alex", 3),
    "lpips_vgg": ("LPIPS vgg", 3),
    "nme": ("NME", 4),
    "nme_landmarker": ("NME landmarker", 4),
    "pose_deg": ("pose error, °", 1),
    "yaw_deg": ("yaw error, °", 1),
    "pitch_deg": ("pitch error, °", 1),
    "roll_deg": ("roll error, °", 1),
    "mouth": ("mouth error", 3),
    "eyes": ("eye error", 3),
    "csim": ("CSIM", 3),
    "csim_casia": ("CSIM casia", 3),
    "expr": ("Expr", 3),
    "expr_au": ("Expr AU", 3),
    "flicker": ("flicker, levels", 2),
    "jumps": ("jumps, %", 1),
    "psnr": ("PSNR, dB", 1),
    "ssim": ("SSIM", 3),
    "lost": ("face lost, %", 1),
}
_SCALE = {"lost": 100.0, "jumps": 100.0}
# What matters to an eye comes first; the rest stays in the further tables and in results.csv.
MAIN_METRICS = ("lpips", "nme", "csim", "expr", "pose_deg", "mouth", "eyes", "flicker", "jumps", "lost", "psnr", "ssim")


def metric_heading(name: str) -> str:
    """Column heading with unit and the better direction, "LPIPS ↓"."""
    short = _SHORT.get(name, (name.replace("_", " "), 3))[0]
    if name not in METRICS:
        return short
    return f"{short}{_KEEP}{'↑' if METRICS[name][1] else '↓'}"


def metric_name(name: str) -> str:
    """What running text calls a metric."""
    return _SHORT.get(name, (name.replace("_", " "), 3))[0].partition(",")[0]


def metric_meaning(name: str) -> str:
    """What is measured, without a full stop; METRICS says "the same" of another instrument for the metric above."""
    text = METRICS[name][0] if name in METRICS else ""
    return text.replace("the same,", f"as {metric_name(name.partition('_')[0])}, but by")


def metric_value(name: str, value: float | None, stderr: float | None = None) -> str:
    """A metric's value, with its standard error where there is one."""
    decimals, scale = _SHORT.get(name, (name, 3))[1], _SCALE.get(name, 1.0)
    if value is None:
        return NONE
    spread = "" if stderr is None else f" ±{_KEEP}{stderr * scale:.{decimals}f}"
    return f"{value * scale:.{decimals}f}{spread}"


def rate(kbps: float | None, stderr: float | None = None) -> str:
    """kbps with three significant digits below 100."""
    if kbps is None:
        return NONE
    decimals = 2 if kbps < 10 else 1 if kbps < 100 else 0
    return f"{kbps:.{decimals}f}" + ("" if stderr is None else f" ±{_KEEP}{stderr:.{decimals}f}")


def at_floor(is_floor: bool) -> str:
    """What follows a rate that is the lowest that its encoder can reach."""
    return f" (its{_KEEP}floor)" if is_floor else ""


def times(factor: float | None) -> str:
    """How many times more bits."""
    return NONE if factor is None else f"{factor:.{int(factor < 99.5)}f}\N{MULTIPLICATION SIGN}"


def share(value: float | None, stderr: float | None = None) -> str:
    """A part of one."""
    return NONE if value is None else f"{value:.2f}" + ("" if stderr is None else f" ±{_KEEP}{stderr:.2f}")


def seconds(value: float | None) -> str:
    """A time with a resolution fit for its size."""
    return NONE if value is None else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def size(count: int | None) -> str:
    """Bytes in kB."""
    return NONE if count is None else f"{count / 1000:.1f}"


def percent(value: float) -> str:
    """A change in percent with its sign."""
    return f"{value:+.0f} %".replace("-", "\N{MINUS SIGN}")


def one_line(text: Any) -> str:
    """Text of foreign origin on one line, without control characters."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", " ", str(text)).split())


def markdown(text: Any) -> str:
    """Text that Markdown shows as it stands: no HTML, no emphasis, no new table cell."""
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#!])", r"\\\1", plain)


def file_stems(names: list[str]) -> list[str]:
    """Harmless file-name stems, one for each clip and all different; letters, digits, dot, dash and underscore only."""
    stems: list[str] = []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name.rpartition(".")[0] or name).strip("._-")[:60] or "clip"
        number, unique = 1, stem
        while unique.lower() in (other.lower() for other in stems):
            number += 1
            unique = f"{stem}-{number}"
        stems.append(unique)
    return stems
