"""Writes the report of `fvc measure`: report.html, report.md, results.csv, rd.png, strips and comparison videos.

    report.html       one file that opens offline: tables, plots, strips; no script, nothing fetched
    report.md         the same in Markdown, with pictures in files of their own
    results.csv       a row for each clip, point and span, all metrics
    rd.png            all bits against the metrics that codecs are compared by
    strip.png, compare.mp4      for one clip; for many: strip-CLIP.png, compare-CLIP.mp4

All numbers are those of results.json; nothing is measured here. Pictures are read from the frames that it names.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import av
import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from fvc.codec.base.errors import InputError
from fvc.codec.base.reporting import Note, silent
from fvc.codec.media.output import atomic_write, write_image
from fvc.evaluation.metrics.catalog import CATALOG, compared_metrics
from fvc.evaluation.report import rate_tables, rd_plot, side_by_side, tables
from fvc.evaluation.report import wording as w

_JPEG_QUALITY = 88  # of strips inside report.html; strip.png is lossless
_MAX_DENOMINATOR = 1001  # of frame rates: 30000/1001


@dataclass(frozen=True)
class ClipSection:
    """One clip in the report.

    Attributes:
        name: of the clip; facts: its length and crop.
        strip, video: names of files next to the report, or None where no frames were kept.
        strip_jpeg: the strip as a data URI; strip_text: the strip in words.
        plots: an SVG of rate against quality for each metric that codecs are compared by.
    """

    name: str
    facts: str
    strip: str | None
    video: str | None
    strip_jpeg: str | None
    strip_text: str
    plots: list[Markup]
    tables: list[tables.Table]


def write_report(results: dict[str, Any], folder: Path, note: Note = silent) -> None:
    """Writes the report into `folder`, which holds the frames that the results name.

    Each file is complete or absent. A clip whose frames cannot be read has no strip and no video, but a note.

    Args:
        results: as `measure.measure` makes them.

    Raises:
        OutputError: a file cannot be written.
    """
    _write_csv(folder / "results.csv", results)
    clips = tables.measured(results)
    lines = {metric: tables.curves(results, _only(results), metric) for metric in compared_metrics()}
    lines = {metric: curves for metric, curves in lines.items() if curves}
    if lines:
        with atomic_write(folder / "rd.png", overwrite=True) as file:
            rd_plot.write_png(file, lines)
    stems = w.file_stems([clip["clip"] for clip in clips])
    suffixes = [f"-{stem}" for stem in stems] if len(clips) > 1 else [""] * len(clips)
    sections = [_section(results, clip, folder, suffix, note) for clip, suffix in zip(clips, suffixes, strict=True)]
    page = _page(results, sections)
    for name, escape in (("report.html", None), ("report.md", w.markdown)):
        text = _render(f"{name}.j2", page, escape)
        with atomic_write(folder / name, overwrite=True) as file:
            file.write(text.encode())


def _only(results: dict[str, Any]) -> dict[str, Any] | None:
    """The clip, if only one was measured."""
    clips = tables.measured(results)
    return clips[0] if len(clips) == 1 else None


def _section(results: dict[str, Any], clip: dict[str, Any], folder: Path, suffix: str, note: Note) -> ClipSection:
    fps = Fraction(results["fps"]).limit_denominator(_MAX_DENOMINATOR)
    strip = video = jpeg = None
    panels = side_by_side.choose_panels(clip, rate_tables.first_anchor(results), folder)
    if len(panels) > 1:
        sound = Path(clip["path"]) if clip.get("path") else None
        try:
            path = folder / f"compare{suffix}.mp4"
            picture = side_by_side.write_side_by_side(path, panels, fps, clip["frames"], sound)
            write_image(folder / f"strip{suffix}.png", picture, overwrite=True)
            strip, jpeg, video = f"strip{suffix}.png", _jpeg(picture), path.name
        except (InputError, av.FFmpegError) as error:
            note(f"{clip['clip']}: its pictures cannot be read ({error}); they are left out of the report")
    names = [n for n in compared_metrics() if tables.curves(results, clip, n)]
    plots = [
        Markup(rd_plot.to_svg(tables.curves(results, clip, n), n, f"plot{suffix}-{n}".replace(".", "_"))) for n in names
    ]
    shown = [rate_tables.against_table(results, clip), *tables.metrics_tables(results, clip)]
    facts = f"{w.seconds(clip['seconds'])} s, {clip['frames']} frames, crop of {clip['crop']['side']} pixels"
    text = "Rows: " + "; ".join(" ".join(filter(None, (p.title, p.facts))) for p in panels) + "."
    return ClipSection(w.one_line(clip["clip"]), facts, strip, video, jpeg, text, plots, shown)


def _jpeg(picture: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _page(results: dict[str, Any], sections: list[ClipSection]) -> dict[str, Any]:
    """The variables of the templates."""
    overall = []
    if sections:
        overall = [rate_tables.rates_table(results), *filter(None, [rate_tables.bd_table(results)])]
    plots: list[Markup] = []
    if len(sections) > 1:
        overall += tables.metrics_tables(results, None)
        lines = ((name, tables.curves(results, None, name)) for name in compared_metrics())
        plots = [Markup(rd_plot.to_svg(curves, name, f"means-{name}")) for name, curves in lines if curves]
    return {
        "headline": [w.one_line(line) for line in results["headline"]],
        "all_bits": rate_tables.all_bits_table(results) if sections else None,
        "clips": rate_tables.clips_table(results),
        "many": len(results["clips"]) > 1,
        "failed": len(results["clips"]) - len(sections),
        "overall": overall,
        "plots": plots,
        "has_plot": any(section.plots for section in sections),
        "compared": " and ".join(CATALOG[name].label for name in compared_metrics()),
        "sections": sections,
        "settings": tables.settings_table(results),
        "missing": tables.missing_table(results),
        "facts": {
            "command": w.one_line(results["command"]),
            "machine": w.one_line(results["machine"]),
            "fvc": results["fvc"],
            "pictures": f"{results['side']}x{results['side']} pixels, {results['fps']:g} frames per second",
            **{key: w.one_line(results[key]) for key in ("libraries", "notes") if results.get(key)},
            **_sampling(results),
        },
    }


def _sampling(results: dict[str, Any]) -> dict[str, str]:
    every = results.get("every")
    return {"sampling": f"LPIPS, SSIM and networks: frames 0, {every}, {2 * every}, ..."} if every else {}


def _render(name: str, page: dict[str, Any], escape: Callable[[Any], str] | None) -> str:
    """The template `name` filled with `page`. All values are escaped: for HTML, or by `escape`."""

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) or escape is None else Markup(escape(value))

    source = resources.files("fvc.evaluation.report").joinpath("templates", name).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        finalize=finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(source).render(page)


def _write_csv(path: Path, results: dict[str, Any]) -> None:
    """A row for each clip, point and span that was measured; a failed clip is a row with its error."""
    clips = tables.measured(results)
    spans = [span for clip in clips for p in clip["points"] for span in p["spans"].values()]
    rates = list(dict.fromkeys(name for span in spans for name in span["kbps"]))
    metrics = list(dict.fromkeys(name for span in spans for name in span["metrics"]))
    plain = ("system", "label", "profile", "setting", "is_floor")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    head = ["clip", "error", "person", "seconds", "frames", "source_bytes", *plain, "span"]
    rows.writerow([*head, *(f"{r}_kbps" for r in rates), *metrics])
    for clip in results["clips"]:
        if clip.get("error"):
            rows.writerow([w.one_line(clip["clip"]), w.one_line(clip["error"])])
            continue
        first = [w.one_line(clip["clip"]), "", *(clip[n] for n in ("person", "seconds", "frames", "source_bytes"))]
        for p in clip["points"]:
            for name in results["spans"]:
                span = p["spans"][name]
                values = [*(span["kbps"].get(r) for r in rates), *(span["metrics"].get(m) for m in metrics)]
                rows.writerow([*first, *(p[n] for n in plain), name, *values])
    with atomic_write(path, overwrite=True) as file:
        file.write(text.getvalue().encode())
