"""The files that `fvc evaluate --out` writes: report.md, results.json, plots. All numbers come from a `Result`."""

from __future__ import annotations

import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

from fvc.codec.media.output import atomic_write
from fvc.evaluation.metrics.catalog import CATALOG, compared_metrics, further_metrics, main_metrics, plotted_metrics
from fvc.evaluation.presets.result import LARGE_ROTATIONS, LARGE_TURN, Result
from fvc.evaluation.presets.systems import RATES

_RATE = "bits_per_frame"  # the rate in tables and plots
_RATE_DECIMALS = {"sources_bytes": 0, "bits_per_frame": 1}
_DECIMALS = 4  # of all other values below 2, and half as many above
_PLOTS_IN_A_ROW = 3
_PLOT_HEIGHT, _PLOTS_WIDTH = 3.2, 11.0  # inches: of a row of plots
_DPI = 110
_GROUP_TITLES = {
    "rotations": "Rotations (clips that turn)",
    LARGE_ROTATIONS: f"Large rotations (clips that turn by more than {LARGE_TURN} rad)",
    "frontal": "Frontal",
    "all": "All clips",
}


def shown_groups(result: Result) -> dict[str, str]:
    """Group -> title of its table; few test sets have large rotations, so those are shown only where there are some."""
    return {name: title for name, title in _GROUP_TITLES.items() if name != LARGE_ROTATIONS or result.has(name)}


def table(result: Result, group: str, columns: tuple[str, ...] | None = None) -> str:
    """A Markdown table of one group: mean ± standard error. `columns` None: the main metrics and the rate."""
    columns = tuple(name for name in columns or (*main_metrics(), _RATE) if name in result.values)
    lines = ["| system | clips | " + " | ".join(f"{name} {_arrow(name)}".strip() for name in columns) + " |"]
    lines.append("|---|" + "---:|" * (len(columns) + 1))
    for system in result.systems:
        found = result.group(system, group)
        cells = [_cell(name, found[name], found["standard_error"][name]) for name in columns]
        lines.append(f"| {system} | {found['clips']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _arrow(name: str) -> str:
    return ("↑" if CATALOG[name].higher_is_better else "↓") if name in CATALOG else ""


def _cell(name: str, value: float | None, error: float | None) -> str:
    if value is None:
        return "missing"
    decimals = _RATE_DECIMALS.get(name, _DECIMALS if value < 2 else _DECIMALS // 2)
    return f"{value:.{decimals}f}" + (f" ± {error:.{decimals}f}" if error is not None else "")


def markdown(result: Result) -> str:
    """report.md: settings, a table for each group, rates, what the columns mean, what failed or is missing."""
    how = result.settings
    parts = [
        "# Evaluation",
        f"{how['clips']} clips of split `{how['split']}` at {how['fps']:g} frames per second, through real packets; "
        f"LPIPS, SSIM and the networks on every n-th frame, n = {how['every']}, everything else on all. "
        f"Mean over clips ± standard error. fvc {how['version']}.",
    ]
    for group, title in shown_groups(result).items():
        parts += [f"## {title}", table(result, group)]
    parts += ["## Rates, all clips", table(result, "all", tuple(RATES))]
    parts += ["## Second opinions, all clips", table(result, "all", further_metrics())]
    meanings = {name: metric.text for name, metric in CATALOG.items()} | RATES
    parts += ["## Columns", "\n".join(f"- `{name}`: {meanings[name]}." for name in result.values)]
    parts.append(
        "Means leave out frames in which a face is not tracked on both sides; `lost` says how many. PSNR and SSIM rank "
        "codecs in the wrong order at these rates."
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
    figure.savefig(data, format="png", dpi=_DPI)
    return data.getvalue()


def _bars(result: Result) -> Any:
    """Rotations and frontal clips side by side for every system; error bars are standard errors."""
    candidates = (*plotted_metrics(), _RATE)
    names = [n for n in candidates if n in result.values and any(row[n] is not None for row in result.rows)]
    rows = -(-len(names) // _PLOTS_IN_A_ROW)
    figure, axes = _figure(_PLOTS_IN_A_ROW, rows, (_PLOTS_WIDTH, _PLOT_HEIGHT * rows))
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
    """Every clip as a dot: the leading metric and the rate against how far the head turns."""
    first = next(name for name in compared_metrics() if name not in result.missing)
    figure, axes = _figure(2, 1, (_PLOTS_WIDTH, 4))
    for axis, name in zip(axes.flat, (first, _RATE), strict=True):
        for system in result.systems:
            rows = [row for row in result.rows if row["system"] == system and row[name] is not None]
            axis.plot([r["yaw_range"] for r in rows], [r[name] for r in rows], "o", ms=4, alpha=0.7, label=system)
        axis.set_xlabel("yaw range of the clip, rad (1st to 99th percentile)")
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=8)
    return figure
