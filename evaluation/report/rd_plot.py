"""Rate-distortion plots, one for each metric: quality over all bits, every anchor's curve and ours.

Curves come from one clip, or from the means over all clips. `to_svg` is for a page that may be light or dark: its
colours are the CSS variables `--ink`, `--soft`, `--ours` and `--a0` ... `--a4`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, BinaryIO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fvc.evaluation.metrics.catalog import CATALOG

_INK, _SOFT, _OURS = "#1b1f24", "#6e7781", "#b42318"
_ANCHORS = ("#0a5ca8", "#0f7b55", "#8a5a00", "#7a3fb0", "#4b5563")
_MARKERS = ("o", "s", "^", "D", "v")
_OUR_MARKERS = ("*", "P", "X", "p")
_VARIABLES = {_INK: "--ink", _SOFT: "--soft", _OURS: "--ours", **{c: f"--a{n}" for n, c in enumerate(_ANCHORS)}}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Dot:
    """A measured point: kbps of all bits, of our motion alone, quality, and whether it is the encoder's floor."""

    kbps: float
    motion: float | None
    value: float
    is_floor: bool


@dataclass(frozen=True)
class Curve:
    """One system's points, by rising rate."""

    label: str
    is_ours: bool
    dots: tuple[Dot, ...]


def to_svg(curves: Sequence[Curve], metric: str, name: str) -> str:
    """An `<svg>` element to put into HTML; `name` (letters, digits, dash) makes its ids unique in the page."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(4.2, 3.9), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, curves, metric)
        _legend(figure, [axes])
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)  # type: ignore[arg-type]
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'id="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"font: ([^\"]*?)px [^\";]*", r"font: \1px system-ui, sans-serif", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(describe(curves, metric))}" ', 1)


def write_png(file: BinaryIO, curves: Mapping[str, Sequence[Curve]]) -> None:
    """The plots of all metrics (metric -> curves) side by side, on white."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.9 * len(curves), 4.3), layout="constrained", dpi=160)
        FigureCanvasAgg(figure)
        all_axes = [figure.add_subplot(1, len(curves), n + 1) for n in range(len(curves))]
        for axes, (metric, lines) in zip(all_axes, curves.items(), strict=True):
            _draw(axes, lines, metric)
        _legend(figure, all_axes)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)  # type: ignore[union-attr,call-arg]
        figure.savefig(file, format="png")


def describe(curves: Sequence[Curve], metric: str) -> str:
    """The plot in words, for readers who cannot see it."""
    parts = [
        f"{curve.label}: " + ", ".join(f"{d.value:.3g} at {d.kbps:.3g} kbps" for d in curve.dots) for curve in curves
    ]
    corner = "upper" if CATALOG[metric].higher_is_better else "lower"
    return f"{CATALOG[metric].label} against kbps of all bits, {corner} left is better. " + "; ".join(parts) + "."


def _draw(axes: Axes, curves: Sequence[Curve], metric: str) -> None:
    for number, curve in enumerate(c for c in curves if c.is_ours):
        _draw_ours(axes, curve, number)
    for number, curve in enumerate(c for c in curves if not c.is_ours):
        colour, marker = _ANCHORS[number % len(_ANCHORS)], _MARKERS[number % len(_MARKERS)]
        x, y = [d.kbps for d in curve.dots], [d.value for d in curve.dots]
        axes.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.6, label=curve.label)
        for dot in (d for d in curve.dots if d.is_floor):
            axes.plot(dot.kbps, dot.value, "|", color=colour, markersize=20, markeredgewidth=2)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high)
    if high / low < 4:
        axes.set_xlim(low / 2, high * 2)
    axes.set_ylim(0, 1.08 * max(dot.value for curve in curves for dot in curve.dots) or 1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=_SOFT, alpha=0.25, linewidth=0.6)
    axes.set_xlabel("all bits, kbps")
    better = "higher" if CATALOG[metric].higher_is_better else "lower"
    axes.set_title(f"{CATALOG[metric].label}, {better} is better", loc="left", fontsize=11)


def _draw_ours(axes: Axes, curve: Curve, number: int) -> None:
    """Filled markers: all bits; hollow: motion alone; dotted line: the quality that anchors must reach."""
    marker = _OUR_MARKERS[number % len(_OUR_MARKERS)]
    style: dict[str, Any] = {"color": _OURS, "marker": marker, "markersize": 14 if marker == "*" else 9, "zorder": 5}
    first = curve.dots[0]
    if number == 0:
        axes.axhline(first.value, color=_OURS, linewidth=0.8, linestyle=":", alpha=0.8, zorder=1)
    axes.plot([d.kbps for d in curve.dots], [d.value for d in curve.dots], label=curve.label, linewidth=1.6, **style)
    if first.motion:
        axes.plot([first.motion, first.kbps], [first.value] * 2, color=_OURS, linewidth=1, linestyle="--", zorder=4)
        hollow = "hollow: motion alone" if number == 0 else None
        axes.plot(first.motion, first.value, label=hollow, linestyle="none", fillstyle="none", **style)


def _legend(figure: Figure, all_axes: Sequence[Axes]) -> None:
    entries = dict(pair[::-1] for axes in all_axes for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    floor = Axes.plot(all_axes[0], [], [], "|", color=_INK, markersize=12, markeredgewidth=2)[0]
    entries["encoder's lowest rate"] = floor
    columns = 2 * len(all_axes)
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )
