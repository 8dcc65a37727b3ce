"""`fvc reproduce`: the paper's figures as data, tables, missing weights; the command on one clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Run

from fvc.codec.base.errors import OptionError, UsageError
from fvc.evaluation.metrics.catalog import CATALOG
from fvc.evaluation.presets import clip_job
from fvc.evaluation.presets.result import Result
from fvc.evaluation.reproduction import available, pictures
from fvc.evaluation.reproduction import reproduce as reproducing
from fvc.evaluation.reproduction.available import system_of, weights_of
from fvc.evaluation.reproduction.paper import DFDC_50, NME, ROTATIONS, SAMPLES, TABLES, VOXCELEB
from fvc.evaluation.reproduction.reproduce import reproduce
from fvc.evaluation.reproduction.tables import NO_RECORD, Measured, markdown, other_bits
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
                assert profile in PRESETS[preset].profiles
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
    about = {"clip": "x", "system": system, "rotation": rotation, "yaw_range": 1.4, "turn": 1.4, "frames": 9}
    return {**about, **values}


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
    told = "100 x 4 = 400, 0.01 % (of these 30 % with this profile); 8 min; sampling four"
    assert f"{told}; adversary and loss of action units not recorded; from another" in text
    assert NO_RECORD in text
    assert "large rotations" not in text
    assert "| 0.210 ± 0.010 (0.148 ± 0.003) |" in text
    assert "| missing (0.723 ± 0.006) |" in text
    assert "Clips: rotations 2, frontal 0." in text
    assert text.endswith("Ours (sup+unsup) better than Ours (sup+unsup+expr): holds at this budget\n")
    text = markdown(TABLES[7], [Measured(None, None, None), measured[1]])
    assert "| - | no weights here | missing (0.148 ± 0.003) |" in text
    assert "cannot be said, one of them is missing" in text


def test_large_rotations_have_columns_of_their_own() -> None:
    """Beside the paper's figures for DFDC-rotations, whose rule they keep."""
    name = "frontalizer-mobile:sup+unsup"
    rows = [row(name, True, lpips=0.2), {**row(name, True, lpips=0.4), "turn": 1.6}]
    measured = Measured(name, Result([name], ("lpips",), None, {}, {}, rows), None)
    lines = markdown(TABLES[7], [measured, Measured(None, None, None)]).split("\n")
    cells = dict(zip(lines[2].split(" | "), lines[4].split(" | "), strict=True))
    lpips = CATALOG["lpips"].heading
    assert cells[f"{lpips} rotations (DFDC-rotations)"] == "0.300 ± 0.100 (0.148 ± 0.003)"
    assert cells[f"{lpips} large rotations (DFDC-rotations)"] == "0.400 (0.148 ± 0.003)"
    assert "Clips: rotations 2, large rotations 1, frontal 0." in lines


def test_an_adversary_is_told_of() -> None:
    record = {"steps": 10, "batch": 3, "samples": 30, "sampling": "four"}
    for steps, has_units, text in (
        (0, False, "sampling four; no adversary; no loss of action units"),
        (4, True, "sampling four; adversary in 4 steps; loss of action units; data a.pack; 208 people"),
    ):
        known = {**record, "adversarial_steps": steps, "expression_loss": has_units}
        known |= {"data": "a.pack", "people": 208} if steps else {}
        assert Measured("fom@0.25:unsup+jac", None, known).training == f"10 x 3 = 30, 0.00 %; {text}"


def test_bits_and_their_rate() -> None:
    name, other = "frontalizer-mobile-spade:sup+unsup", "nth@0.25:sup"
    rows = [row(name, True, bits_per_frame=500.0), row(other, True, bits_per_frame=264.0)]
    result = Result([name, other], ("bits_per_frame",), None, {}, {}, rows)
    measured = [*[Measured(None, None, None)] * 4, Measured(name, result, None)]
    text = markdown(TABLES[4], measured)
    assert "bits/frame ↓ all (DFDC val) | kbit/s at 15 fps ↓ all (DFDC val) |" in text
    assert "| 500 | 7.5 (10.7) |" in text
    assert "| missing (426) | missing (6.4) |" in text
    assert (
        other_bits([(3, result)], [(3, name)])
        == f"Bits a frame of the other systems: `{other}`, 3 sources: 264 (4.0 kbit/s)."
    )
    assert other_bits([(3, result)], [(3, name), (3, other)]) == ""


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
    """On one clip, with `composed` in the place of all models; twice, of which the second finds all rows."""
    (tmp_path / "data" / "val").mkdir(parents=True)
    (tmp_path / "data" / "val" / "talk.mp4").write_bytes(clip.read_bytes())
    for module in (reproducing, pictures):
        monkeypatch.setattr(module, "system_of", lambda row: f"composed:{row.systems[0].partition(':')[2]}")
    mobile = replace(pictures.FIGURES[8], rows=pictures.FIGURES[8].rows[2:3])
    monkeypatch.setattr(pictures, "FIGURES", {8: mobile, **{n: pictures.FIGURES[n] for n in (9, 12)}})
    options = ["--table", 7, "--data", tmp_path / "data", "--cache", tmp_path / "cache", "--jobs", 1]
    shown = run("reproduce", *options, "--out", tmp_path / "out")
    assert shown.code == 0, shown.err
    assert "Table 7: Expressions in the mobile model" in shown.out
    assert "composed:sup+unsup+expr" in shown.out
    assert (tmp_path / "out" / "tables.md").read_text() + "\n" == shown.out
    assert (tmp_path / "out" / "sources-3" / "strips" / "talk.png").exists()
    assert "| composed | " in shown.out
    assert "Core ML: no speed is given" in shown.out
    for number, columns, rows in ((8, 4, 4), (9, 3, 4), (12, 6, 3)):  # `composed` adds a source
        grid = cv2.imread(str(tmp_path / "out" / "figures" / f"figure-{number}.png"))
        assert abs(grid.shape[0] - 256 * rows) < 256
        assert grid.shape[1] == 256 * columns
    with monkeypatch.context() as patch:
        patch.setattr(clip_job, "_evaluate", lambda *_: pytest.fail("run again"))
        patch.setattr(reproducing, "write_figures", lambda *_, **__: None)
        patch.setattr(reproducing, "sizes", lambda _: "")
        again = run("reproduce", *options, "--out", tmp_path / "out")
    assert again.code == 0, again.err
    assert again.out.rstrip() == shown.out.partition("## Size")[0].rstrip()
    assert run("reproduce", *options, "--out", tmp_path / "out", "--clip", "none.mp4").code == 2
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
    assert run("explore-expression", "composed", *options, "--clip", "none.mp4", "--force").code == 2
