"""What `fvc evaluate --out` leaves: report.md, results.json, plots. All numbers come from a `Result`."""

from __future__ import annotations

import json
import math
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvc.codec.media.output import atomic_write
from fvc.evaluation.metrics.metrics import MAX_PSNR, METRICS
from fvc.evaluation.metrics.wording import MAIN_METRICS
from fvc.evaluation.presets.systems import RATES

if TYPE_CHECKING:
    from fvc.evaluation.presets.evaluate import Result

_PLOTTED = ("lpips", "nme", "csim", "expr", "flicker", "bits_per_frame")
GROUP_TITLES = {"rotations": "Rotations (clips that turn)", "frontal": "Frontal", "all": "All clips"}


def table(result: Result, group: str, columns: tuple[str, ...] = (*MAIN_METRICS, "bits_per_frame")) -> str:
    """A markdown table of one group: mean ± standard error."""
    columns = tuple(name for name in columns if name in result.values)
    lines = ["| system | clips | " + " | ".join(f"{name} {_arrow(name)}".strip() for name in columns) + " |"]
    lines.append("|---|" + "---:|" * (len(columns) + 1))
    for system in result.systems:
        found = result.group(system, group)
        cells = [_cell(name, found[name], found["standard_error"][name]) for name in columns]
        lines.append(f"| {system} | {found['clips']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _arrow(name: str) -> str:
    return ("↑" if METRICS[name][1] else "↓") if name in METRICS else ""


def _cell(name: str, value: float | None, error: float | None) -> str:
    if value is None:
        return "missing"
    digits = 0 if name == "sources_bytes" else 1 if name == "bits_per_frame" else 2 if value >= 2 else 4
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")


def markdown(result: Result) -> str:
    """report.md: settings, a table for each group, rates, what the columns mean, what failed or is missing."""
    how = result.settings
    parts = [
        "# Evaluation",
        f"{how['clips']} clips of split `{how['split']}` at {how['fps']:g} frames per second, through real packets; "
        f"LPIPS, SSIM and the networks on every n-th frame, n = {how['every']}, everything else on all. "
        f"Mean over clips ± standard error. fvc {how['version']}.",
    ]
    for group, title in GROUP_TITLES.items():
        parts += [f"## {title}", table(result, group)]
    parts += ["## Rates, all clips", table(result, "all", tuple(RATES))]
    others = tuple(name for name in METRICS if name not in MAIN_METRICS)
    parts += ["## Second opinions, all clips", table(result, "all", others)]
    meanings = {name: text for name, (text, _) in METRICS.items()} | RATES
    meanings["psnr"] += f"; {MAX_PSNR:g} where frames are identical"
    parts += ["## Columns", "\n".join(f"- `{name}`: {meanings[name]}." for name in result.values)]
    parts.append(
        "Means leave out frames in which a face is not tracked on both sides; `lost` says how many. PSNR and SSIM rank "
        "codecs the wrong way round at these rates."
    )
    if result.missing:
        parts += ["## Missing", "\n".join(f"- `{name}`: {why}." for name, why in result.missing.items())]
    failed = [f"- {system}, {clip}: {why}" for system, clips in result.failed.items() for clip, why in clips.items()]
    if failed:
        parts += ["## Clips that failed", "\n".join(failed)]
    parts += ["## Plots", "![metrics](metrics.png)\n\n![per clip](clips.png)\n\nPictures of each clip: `strips/`."]
    return "\n\n".join(parts) + "\n"


def write_report(result: Result, out: Path) -> None:
    """Writes the files into `out`, a folder. Raises OutputError."""
    everything = {**result.report(), "settings": result.settings, "clips": result.rows}
    _write(out / "results.json", json.dumps(everything, indent=1).encode())
    _write(out / "metrics.png", _png(_bars(result)))
    _write(out / "clips.png", _png(_clips(result)))
    _write(out / "report.md", markdown(result).encode())


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path, overwrite=True) as file:
        file.write(data)


def _figure(columns: int, rows: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _png(figure: Any) -> bytes:
    data = BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def _bars(result: Result) -> Any:
    """Rotations and frontal beside each other for every system; error bars are standard errors."""
    names = [n for n in _PLOTTED if n in result.values and any(row[n] is not None for row in result.rows)]
    figure, axes = _figure(3, -(-len(names) // 3), (11, 3.2 * -(-len(names) // 3)))
    for axis, name in zip(axes.flat, names, strict=False):
        for shift, group, colour in ((-0.2, "rotations", "tab:orange"), (0.2, "frontal", "tab:blue")):
            found = [result.group(system, group) for system in result.systems]
            shown = [
                (n + shift, f[name], f["standard_error"][name]) for n, f in enumerate(found) if f[name] is not None
            ]
            if shown:
                x, height, error = zip(*shown, strict=True)
                axis.bar(
                    x,
                    height,
                    0.38,
                    yerr=[math.nan if e is None else e for e in error],
                    color=colour,
                    capsize=3,
                    label=group,
                )
        axis.set_title(f"{name} {_arrow(name)}", fontsize=10)
        axis.set_xticks(range(len(result.systems)), result.systems, fontsize=8, rotation=20, ha="right")
    for axis in list(axes.flat)[len(names) :]:
        axis.remove()
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    return figure


def _clips(result: Result) -> Any:
    """Every clip as a dot: LPIPS (NME where it is missing) and rate against how far the head turns."""
    first = "lpips" if "lpips" not in result.missing else "nme"
    figure, axes = _figure(2, 1, (11, 4))
    for axis, name in zip(axes.flat, (first, "bits_per_frame"), strict=True):
        for system in result.systems:
            rows = [row for row in result.rows if row["system"] == system and row[name] is not None]
            axis.plot([r["yaw_range"] for r in rows], [r[name] for r in rows], "o", ms=4, alpha=0.7, label=system)
        axis.set_xlabel("yaw range of the clip, rad (1st to 99th percentile)")
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=8)
    return figure
