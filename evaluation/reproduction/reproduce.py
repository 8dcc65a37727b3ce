"""`fvc reproduce`: evaluates the systems of the paper's tables and prints them in the paper's layout.

Each row is drawn by the widest weights of its system that are here: installed, kept in `evaluation/presets/weights`, or
in a folder of `FVC_WEIGHTS`. Motion is coded with the paper's quantizers, nothing left out and nothing filtered. What
differs from the paper is said in the text (`DIFFERENCES`), what cannot be measured is named as missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fvc.codec.base.errors import OptionError, UsageError
from fvc.codec.base.reporting import Note, Progress, silent
from fvc.codec.dataset import find_clips
from fvc.codec.media.output import atomic_write
from fvc.evaluation.presets.baselines import record_of
from fvc.evaluation.presets.evaluate import DEFAULT_BACKEND, evaluate
from fvc.evaluation.presets.result import LARGE_ROTATIONS, LARGE_TURN, Result
from fvc.evaluation.reproduction.available import system_of
from fvc.evaluation.reproduction.paper import BITS, TABLES, PaperRow, PaperTable
from fvc.evaluation.reproduction.pictures import position_of, write_figures
from fvc.evaluation.reproduction.sizes import sizes
from fvc.evaluation.reproduction.tables import Measured, markdown, other_bits

DIFFERENCES = (
    "LPIPS is LPIPS-squeeze, the paper's is LPIPS with its authors' network (usually AlexNet).",
    "NME is in distances of the outer eye corners, from MediaPipe's landmarks; the paper's unit is that of its [2].",
    "CSIM is MobileFaceNet's, the paper's ArcFace's; Expr compares 52 blendshapes, the paper's 16 action units.",
    "Sources are chosen by k-medoids of landmarks; the paper takes the frontal frame and both extremes of yaw.",
    f"Rotations are clips that turn by more than 0.5 rad, in place of DFDC-rotations ({LARGE_TURN} rad; clips that turn"
    f" so far are also shown by themselves, as {LARGE_ROTATIONS}); frontal clips stand in place of VoxCeleb, all clips"
    " in place of DFDC-50. Use folders of these sets for the paper's own.",
    "Bits are those of fvc's entropy coder on the paper's integers.",
)


def reproduce(
    data: Path,
    *,
    tables: Sequence[int] = (),
    split: str = "val",
    metric_weights: Path | None = None,
    out: Path | None = None,
    limit: int | None = None,
    half: str = "",
    min_turn: float = 0.0,
    every: int = 10,
    jobs: int = 1,
    backend: str = DEFAULT_BACKEND,
    cache: Path | None = None,
    clip: str = "",
    note: Note = silent,
    progress: Progress = silent,
) -> str:
    """The tables as Markdown; also written to `out`/tables.md; reports of each run, strips and figures are beside it.

    Args:
        tables: their numbers; empty: all.
        clip: the file of the clip that the figures show; empty: the first. Others: see `presets.evaluate.evaluate`.

    Raises:
        FvcError: see `codec.base.errors`; also where no system of the tables has weights here.
    """
    for number in tables:
        if number not in TABLES:
            raise OptionError("table", number, f"choose from {', '.join(map(str, TABLES))}")
    chosen = [TABLES[number] for number in tables or TABLES]
    wanted = {(row.sources, system) for table in chosen for row in table.rows if (system := system_of(row))}
    if not wanted:
        raise UsageError("none of these systems has weights here; train some, or set FVC_WEIGHTS (docs/TRAINING.md)")
    if out is not None:
        position_of(find_clips(data, split), clip)  # a wrong name is refused before long work
    results: dict[int, Result] = {}
    for sources in sorted({count for count, _ in wanted}):
        systems = sorted(system for count, system in wanted if count == sources)
        results[sources] = evaluate(
            systems,
            data,
            split=split,
            metric_weights=metric_weights,
            out=out and _folder(out, f"sources-{sources}"),
            cache=cache,
            every=every,
            source_frames=sources,
            quantizer="paper",
            limit=limit,
            half=half,
            min_turn=min_turn,
            jobs=jobs,
            backend=backend,
            note=note,
            progress=progress,
        )
    parts = ["# The paper's tables", "Its figures are in brackets. " + _trained_text(), _differences()]
    parts += [_table(table, results) for table in chosen]
    parts += [_footer(list(results.values())), sizes(sorted({system for _, system in wanted}))]
    text = "\n\n".join(parts) + "\n"
    if out is not None:
        with atomic_write(out / "tables.md", overwrite=True) as file:
            file.write(text.encode())
        write_figures(data, _folder(out, "figures"), split=split, clip=clip, cache=cache, note=note)
    return text


def _table(table: PaperTable, results: Mapping[int, Result]) -> str:
    """A table in Markdown; below that of bits, those of the other systems."""
    text = markdown(table, [_measured(row, results) for row in table.rows])
    if BITS not in table.metrics:
        return text
    others = other_bits(results.items(), [(row.sources, system_of(row)) for row in table.rows])
    return f"{text}\n{others}".rstrip() + "\n"


def _folder(out: Path, name: str) -> Path:
    (out / name).mkdir(parents=True, exist_ok=True)
    return out / name


def _trained_text() -> str:
    return (
        "Nothing that was trained on a small share of the paper's 3.2 million samples is a result of its method: such"
        " rows show what a budget buys, and that the code runs. Mean over clips ± standard error."
    )


def _differences() -> str:
    return "\n".join(f"- {text}" for text in DIFFERENCES)


def _measured(row: PaperRow, results: Mapping[int, Result]) -> Measured:
    system = system_of(row)
    if system is None:
        return Measured(None, None, None)
    return Measured(system, results.get(row.sources), record_of(system.partition(":")[0]))


def _footer(results: list[Result]) -> str:
    """What is missing, and how many clips turn as far as the paper's."""
    lines = [f"- missing: {name} ({why})" for name, why in (results[0].missing.items() if results else ())]
    turns = {row["clip"] for result in results for row in result.rows if row["turn"] > LARGE_TURN}
    lines.append(f"- clips that turn by more than {LARGE_TURN} rad, as all of DFDC-rotations: {len(turns)}")
    failed = {f"{system}, {clip}: {why}" for r in results for system, c in r.failed.items() for clip, why in c.items()}
    return "\n".join([*lines, *(f"- failed: {text}" for text in sorted(failed))])
