"""The paper's tables in Markdown, its figures in brackets beside ours. All numbers come from a `Result`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fvc.evaluation.metrics.catalog import CATALOG
from fvc.evaluation.presets.result import Result
from fvc.evaluation.reproduction.paper import BITS, SAMPLES, Figure, PaperRow, PaperSet, PaperTable

NOT_TRAINED = "no weights here"
LABELS = {BITS: "bits/frame ↓"}


def _heading(metric: str) -> str:
    return LABELS.get(metric) or CATALOG[metric].heading


def _number(metric: str, value: float) -> str:
    return f"{value:.0f}" if metric == BITS else f"{value:.3f}"


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
        if self.system is None or self._result is None or metric not in self._result.values:
            return None, None
        found = self._result.group(self.system, group)
        return found[metric], found["standard_error"][metric]

    def clips(self, group: str) -> int:
        """How many clips there are in the group."""
        return self._result.group(self.system, group)["clips"] if self._result and self.system else 0

    @property
    def training(self) -> str:
        """How much the weights saw, beside the paper's runs."""
        if self.system is None:
            return NOT_TRAINED
        if not self.record:
            return "see training/LOG.md"
        samples = int(self.record["samples"])
        text = f"{self.record['steps']} x {self.record['batch']} = {samples}, {100 * samples / SAMPLES:.2f} %"
        text += f"; {self.record['minutes']:.0f} min" if "minutes" in self.record else ""
        text += f"; sampling {self.record['sampling']}"
        return text + (f"; from {self.record['start']}" if self.record.get("start") else "")


def markdown(table: PaperTable, rows: list[Measured]) -> str:
    """The table: for each set and metric ours, with its standard error, and the paper's figure in brackets."""
    columns = [(each, metric) for each in table.sets for metric in table.metrics]
    head = ["system", "here", "training: steps x batch, of the paper's 3.2 M; minutes"]
    head += [f"{_heading(metric)} {each.group} ({each.name})" for each, metric in columns]
    lines = [f"### Table {table.number}: {table.title}", "", "| " + " | ".join(head) + " |"]
    lines.append("|---|---|---|" + "---:|" * len(columns))
    for paper, ours in zip(table.rows, rows, strict=True):
        cells = [paper.name + (f" [{paper.note}]" if paper.note else ""), ours.system or "-", ours.training]
        cells += [_cell(ours, paper, each, metric) for each, metric in columns]
        lines.append("| " + " | ".join(cells) + " |")
    counts = {each.group: max(row.clips(each.group) for row in rows) for each in table.sets}
    lines += ["", "Clips: " + ", ".join(f"{group} {count}" for group, count in counts.items()) + "."]
    claims = [_claim(table, rows, claim) for claim in table.claims]
    return "\n".join([*lines, "", *claims]).rstrip() + "\n"


def _cell(ours: Measured, paper: PaperRow, each: PaperSet, metric: str) -> str:
    value, error = ours.value(metric, each.group)
    text = "missing" if value is None else _number(metric, value)
    text += f" ± {error:.3f}" if error is not None and metric != BITS else ""
    return f"{text} {_figure(metric, paper.figures.get(each, {}).get(metric))}".strip()


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
