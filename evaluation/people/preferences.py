"""The answers of a study -> how often each system was preferred, with confidence intervals: `fvc study DIR/*.json`.

The paper asked 15 annotators about the four systems of its Table 1: 12, 20, 46 and 22 % of the votes (section 4.1).
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fvc.codec.base.errors import InputError

FORMAT = "fvc-study-1"  # of files of answers
QUANTILE = 1.96  # of the normal distribution: intervals of 95 %


@dataclass(frozen=True)
class Vote:
    """One answer: the clip, both systems, and the preferred one ("" where the person saw no difference)."""

    clip: str
    systems: tuple[str, str]
    preferred: str


def read_votes(paths: Sequence[Path]) -> list[Vote]:
    """The votes of files that the study's page saved. Raises InputError."""
    votes = []
    for path in paths:
        try:
            data = json.loads(path.read_text())
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']!r}")
            for answer in data["answers"]:
                first, second = answer["systems"]
                vote = Vote(str(answer["clip"]), (str(first), str(second)), str(answer["preferred"]))
                if vote.preferred not in (*vote.systems, ""):
                    raise ValueError(f"{vote.preferred!r} was not asked about")
                votes.append(vote)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path}: not the answers of a study ({error})") from None
    if not votes:
        raise InputError("these files have no answers")
    return votes


def interval(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a share (Wilson, 1927); (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, QUANTILE**2 / trials
    centre = (share + square / 2) / (1 + square)
    half = QUANTILE / (1 + square) * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def table(votes: Sequence[Vote]) -> str:
    """Markdown: share of all votes for each system, and how often it won where it was shown; ties count half.

    Both with 95 % intervals, which take the votes as independent.
    """
    wins: dict[str, float] = defaultdict(float)
    shown: Counter[str] = Counter()
    for vote in votes:
        for system in vote.systems:
            shown[system] += 1
            wins[system] += 1.0 if vote.preferred == system else 0.5 * (vote.preferred == "")
    lines = ["| system | share of votes | 95 % | won, of its comparisons | 95 % |", "|---|---:|---:|---:|---:|"]
    for system in sorted(shown, key=lambda name: -wins[name] / shown[name]):
        share, won = 100 * wins[system] / len(votes), 100 * wins[system] / shown[system]
        cells = [f"{share:.0f} %", _percent(interval(wins[system], len(votes)))]
        cells += [f"{won:.0f} % of {shown[system]}", _percent(interval(wins[system], shown[system]))]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    people = f"{len(votes)} votes on {len({vote.clip for vote in votes})} clips; ties count half."
    return "\n".join([*lines, "", people])


def _percent(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.0f} to {100 * ends[1]:.0f} %"
