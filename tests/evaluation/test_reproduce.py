"""`fvc reproduce`: the paper's figures as data, tables, missing weights; the command on one clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Run

from fvc.codec.base.errors import OptionError, UsageError
from fvc.codec.motion.sample import Profile
from fvc.evaluation.presets.result import Result
from fvc.evaluation.reproduction import available, pictures
from fvc.evaluation.reproduction import reproduce as reproducing
from fvc.evaluation.reproduction.available import system_of, weights_of
from fvc.evaluation.reproduction.paper import DFDC_50, NME, ROTATIONS, SAMPLES, TABLES, VOXCELEB
from fvc.evaluation.reproduction.reproduce import reproduce
from fvc.evaluation.reproduction.tables import Measured, markdown
from fvc.models.presets import PRESETS


def test_the_papers_figures() -> None:
    assert SAMPLES == 100_000 * 32
    assert list(TABLES) == [1, 2, 3, 4, 5, 6, 7]
    assert TABLES[1].rows[0].figures[ROTATIONS][NME] == (1.108, 0.176)
    assert TABLES[1].rows[4].figures[VOXCELEB]["expr"] == (0.915, 0.002)
    assert TABLES[5].rows[1].figures[DFDC_50] == {"lpips": (0.092, None), "nme": (0.318, None), "csim": (0.851, None)}
    for table in TABLES.values():
        for row in table.rows:
            assert set(row.figures) == set(table.sets)
            for system in row.systems:
                preset, _, profile = system.partition(":")
                assert preset in PRESETS
                Profile.named(profile)
        for better, worse, metric, each in table.claims:
            figures = [table.rows[n].figures[each][metric][0] for n in (better, worse)]
            rises = metric in ("csim", "expr")
            assert figures[0] >= figures[1] if rises else figures[0] <= figures[1], (
                table.number,
                better,
                worse,
                metric,
            )


def row(system: str, rotation: bool, **values: float | None) -> dict[str, Any]:
    return {"clip": "x", "system": system, "rotation": rotation, "yaw_range": 1.7, "frames": 9, **values}


def test_a_table_in_the_papers_layout() -> None:
    rows = [
        row("frontalizer-mobile:sup+unsup", True, lpips=0.2, nme=0.03, csim=None, expr=0.9),
        row("frontalizer-mobile:sup+unsup+expr", True, lpips=0.3, nme=0.02, csim=None, expr=0.8),
        row("frontalizer-mobile:sup+unsup", True, lpips=0.22, nme=0.03, csim=None, expr=0.9),
    ]
    systems = sorted({str(each["system"]) for each in rows})
    result = Result(systems, ("lpips", "nme", "csim", "expr"), None, {"csim": "no such network"}, {}, rows)
    record = {"steps": 100, "batch": 4, "samples": 400, "minutes": 8.0, "sampling": "four", "start": "another"}
    measured = [Measured(systems[0], result, record), Measured(systems[1], result, None)]
    text = markdown(TABLES[7], measured)
    assert "100 x 4 = 400, 0.01 %; 8 min; sampling four; from another" in text
    assert "| 0.210 ± 0.010 (0.148 ± 0.003) |" in text
    assert "| missing (0.723 ± 0.006) |" in text
    assert "Clips: rotations 2, frontal 0." in text
    assert text.endswith("Ours (sup+unsup) better than Ours (sup+unsup+expr): holds at this budget\n")
    text = markdown(TABLES[7], [Measured(None, None, None), measured[1]])
    assert "| - | no weights here | missing (0.148 ± 0.003) |" in text
    assert "cannot be said, one of them is missing" in text


def test_the_widest_weights_stand_for_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "shipped", lambda: ["fom@0.25", "fom@0.5", "composed"])
    monkeypatch.setattr(available, "trained", list)
    assert weights_of("fom") == "fom@0.5"
    assert weights_of("nth") is None
    assert system_of(TABLES[2].rows[0]) == "fom@0.5:unsup+jac"
    assert system_of(TABLES[5].rows[2]) is None
    with pytest.raises(UsageError, match="has weights here"):
        reproduce(Path("none"), tables=[7])
    with pytest.raises(OptionError, match="choose from 1, 2"):
        reproduce(Path("none"), tables=[8])


def test_the_command(clip: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one clip, with `composed` in the place of the mobile model; twice, of which the second finds all rows."""
    (tmp_path / "data" / "val").mkdir(parents=True)
    (tmp_path / "data" / "val" / "talk.mp4").write_bytes(clip.read_bytes())
    for module in (reproducing, pictures):
        monkeypatch.setattr(module, "system_of", lambda row: f"composed:{row.systems[0].partition(':')[2]}")
    monkeypatch.setattr(pictures, "FIGURES", {n: pictures.FIGURES[n] for n in (9, 12)})
    options = ["--table", 7, "--data", tmp_path / "data", "--cache", tmp_path / "cache", "--jobs", 1]
    shown = run("reproduce", *options, "--out", tmp_path / "out")
    assert shown.code == 0, shown.err
    assert "Table 7: Expressions in the mobile model" in shown.out
    assert "composed:sup+unsup+expr" in shown.out
    assert (tmp_path / "out" / "tables.md").read_text() + "\n" == shown.out
    assert (tmp_path / "out" / "sources-3" / "strips" / "talk.png").exists()
    assert "| composed | " in shown.out
    for number, columns, rows in ((9, 3, 4), (12, 5, 3)):
        grid = cv2.imread(str(tmp_path / "out" / "figures" / f"figure-{number}.png"))
        assert abs(grid.shape[0] - 256 * rows) < 256
        assert grid.shape[1] == 256 * columns
    assert run("reproduce", "--table", 9).code == 2


def test_the_expression_space(clip: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "data" / "val").mkdir(parents=True)
    (tmp_path / "data" / "val" / "talk.mp4").write_bytes(clip.read_bytes())
    options = ["--data", tmp_path / "data", "--cache", tmp_path / "cache", "--out", tmp_path / "space.png"]
    shown = run("explore-expression", "composed", *options)
    assert shown.code == 0, shown.err
    grid = cv2.imread(str(tmp_path / "space.png"))
    assert grid.shape[1] == 18 * 256
    changed = [np.abs(grid[22:, n * 256 : (n + 1) * 256].astype(int) - grid[22:, 256:512]).mean() for n in range(2, 18)]
    assert max(changed) > 0.05
    assert run("explore-expression", "composed:sup", *options).code == 2
    assert run("explore-expression", "composed", *options, "--clip", 4, "--force").code == 2
