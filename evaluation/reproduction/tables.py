"""The paper's tables in Markdown, its figures in brackets beside ours. All numbers come from a `Result`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fvc.evaluation.metrics.catalog import CATALOG
from fvc.evaluation.presets.result import Result
from fvc.evaluation.reproduction.paper import (
    BITS,
    KBPS,
    LARGE,
    RATE,
    ROTATIONS,
    SAMPLES,
    Figure,
    PaperRow,
    PaperSet,
    PaperTable,
)
from fvc.models.presets import preset_named

NOT_TRAINED = "no weights here"
NO_RECORD = "no record here; training/LOG.md tells of fvc's own"
LABELS = {BITS: "bits/frame ↓", KBPS: f"kbit/s at {RATE} fps ↓"}
_DECIMALS = {BITS: 0, KBPS: 1}


def _heading(metric: str) -> str:
    return LABELS.get(metric) or CATALOG[metric].heading


def _number(metric: str, value: float) -> str:
    return f"{value:.{_DECIMALS.get(metric, 3)}f}"


def _kbps(bits: float) -> float:
    return bits * RATE / 1000


def _figure(metric: str, figure: Figure | None) -> str:
    if figure is None:
        return ""
    mean, error = figure
    return f"({_number(metric, mean)}" + (f" ± {error:.3f})" if error is not None else ")")


class Measured:
    """What was measured of one row: its group means, and how its weights were trained.

    Args:
        system: as `fvc evaluate` calls it; None: there are no weights. result: in which it is.
        record: of the training, see `presets.baselines.records`.
    """

    def __init__(self, system: str | None, result: Result | None, record: Mapping[str, Any] | None) -> None:
        self.system, self._result, self.record = system, result, record

    def value(self, metric: str, group: str) -> tuple[float | None, float | None]:
        """Mean and standard error; None: missing."""
        if metric == KBPS:
            bits, error = self.value(BITS, group)
            return bits and _kbps(bits), error and _kbps(error)
        if self.system is None or self._result is None or metric not in self._result.values:
            return None, None
        found = self._result.group(self.system, group)
        return found[metric], found["standard_error"][metric]

    def clips(self, group: str) -> int:
        """How many clips there are in the group."""
        return self._result.group(self.system, group)["clips"] if self._result and self.system else 0

    @property
    def training(self) -> str:
        """How much the weights saw, beside the paper's runs, and with which losses."""
        if self.system is None:
            return NOT_TRAINED
        if not self.record:
            return NO_RECORD
        record, samples = self.record, int(self.record["samples"])
        parts = [f"{record['steps']} x {record['batch']} = {samples}, {100 * samples / SAMPLES:.2f} %"]
        parts[0] += _share(self.system)
        parts += [f"{record['minutes']:.0f} min"] if "minutes" in record else []
        parts += [f"sampling {record['sampling']}", *_losses(record)]
        parts += [f"data {record['data']}"] if "data" in record else []
        parts += [f"{record['people']} people"] if "people" in record else []
        return "; ".join([*parts, f"from {record['start']}"] if record.get("start") else parts)


def _share(system: str) -> str:
    """Of the steps, how many saw the system's profile: a preset's profiles share its training."""
    preset, _, profile = system.partition(":")
    share = preset_named(preset).profiles.get(profile, 0.0)
    return "" if share == 1 else f" (of these {100 * share:.0f} % with this profile)"


def _losses(record: Mapping[str, Any]) -> list[str]:
    """The adversary and the loss of action units; older records say nothing of them."""
    steps, has_units = record.get("adversarial_steps"), record.get("expression_loss")
    if steps is None or has_units is None:
        return ["adversary and loss of action units not recorded"]
    return [
        f"adversary in {steps} steps" if steps else "no adversary",
        "loss of action units" if has_units else "no loss of action units",
    ]


def markdown(table: PaperTable, rows: list[Measured]) -> str:
    """The table: for each set and metric ours, with its standard error, and the paper's figure in brackets.

    Rotations are followed by those that are as large as the paper's, where there are such clips.
    """
    has_large = ROTATIONS in table.sets and any(row.clips(LARGE.group) for row in rows)
    sets = [each for found in table.sets for each in ([found, LARGE] if found == ROTATIONS and has_large else [found])]
    columns = [(each, metric) for each in sets for metric in table.metrics]
    head = ["system", "here", "training: steps x batch, of the paper's 3.2 M; minutes"]
    head += [f"{_heading(metric)} {each.group} ({each.name})" for each, metric in columns]
    lines = [f"### Table {table.number}: {table.title}", "", "| " + " | ".join(head) + " |"]
    lines.append("|---|---|---|" + "---:|" * len(columns))
    for paper, ours in zip(table.rows, rows, strict=True):
        cells = [paper.name + (f" [{paper.note}]" if paper.note else ""), ours.system or "-", ours.training]
        cells += [_cell(ours, paper, each, metric) for each, metric in columns]
        lines.append("| " + " | ".join(cells) + " |")
    counts = {each.group: max(row.clips(each.group) for row in rows) for each in sets}
    lines += ["", "Clips: " + ", ".join(f"{group} {count}" for group, count in counts.items()) + "."]
    claims = [_claim(table, rows, claim) for claim in table.claims]
    return "\n".join([*lines, "", *claims]).rstrip() + "\n"


def _cell(ours: Measured, paper: PaperRow, each: PaperSet, metric: str) -> str:
    value, error = ours.value(metric, each.group)
    text = "missing" if value is None else _number(metric, value)
    text += f" ± {error:.3f}" if error is not None and metric not in _DECIMALS else ""
    figures = {known.name: found for known, found in paper.figures.items()}  # large rotations: as the paper's set
    return f"{text} {_figure(metric, figures.get(each.name, {}).get(metric))}".strip()


def _claim(table: PaperTable, rows: list[Measured], claim: tuple[int, int, str, PaperSet]) -> str:
    """Whether an order of two rows in the paper holds here, as a line."""
    better, worse, metric, each = claim
    ours = [rows[n].value(metric, each.group)[0] for n in (better, worse)]
    label = LABELS.get(metric, metric.upper()).split()[0]
    text = f"- {label}, {each.group}: {table.rows[better].name} better than {table.rows[worse].name}"
    if ours[0] is None or ours[1] is None:
        return f"{text}: cannot be said, one of them is missing"
    rises = metric != BITS and CATALOG[metric].higher_is_better
    holds = ours[0] > ours[1] if rises else ours[0] < ours[1]
    return f"{text}: {'holds' if holds else 'does not hold'} at this budget"


def other_bits(results: Iterable[tuple[int, Result]], shown: Iterable[tuple[int, str | None]]) -> str:
    """Below Table 4: bits of the systems that were evaluated and are not in it; empty: there are none.

    Args:
        results: with the number of source pictures; shown: the same of the table's systems.
    """
    known, cells = set(shown), []
    for sources, result in results:
        for system in result.systems:
            bits = result.group(system, "all").get(BITS)
            if bits is not None and (sources, system) not in known:
                cells.append(f"`{system}`, {sources} sources: {bits:.0f} ({_kbps(bits):.1f} kbit/s)")
    return f"Bits a frame of the other systems: {'; '.join(cells)}." if cells else ""
