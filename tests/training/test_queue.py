"""The training queue: whose turn it is, what each row has had, failures, checkpoints that are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fvc.codec.base.errors import InputError
from fvc.evaluation.reproduction.paper import TABLES
from fvc.models.presets import AT, preset_named
from fvc.training.generator.recipe import PAPER_SAMPLING
from fvc.training.generator.run import command_line, main
from fvc.training.queue import Manifest, Progress, command, next_row, status, work

MANIFEST = """
folder = "runs"
minutes = 20
turn = 10
options = ["--batch", 4]
val = "val.pack"
keep = "kept"
[rows.a]
preset = "fom@0.25"
[rows.b]
preset = "nth"
options = ["--sampling", "four"]
[rows.c]
preset = "tiny"
after = "a"
minutes = 10
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "rows.toml").write_text(MANIFEST)
    return tmp_path / "rows.toml"


def pretend(folder: Path, minutes: float, step: int, **more: float) -> None:
    """Leaves a run's log and checkpoint as `fvc train` does."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"step": 0, "minutes": 0.0, "recipe": {"preset": "p", "batch": 4}, "processes": 2}
    lines = [recipe, {"step": step, "minutes": minutes, **more}]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "last.pt").write_text(f"step {step}")


def test_rows_get_equal_shares_and_are_resumed(manifest: Path) -> None:
    had: dict[str, float] = {}
    turns: list[str] = []
    lines: list[str] = []

    def turn(words: list[str]) -> int:
        run = Path(words[words.index("--run") + 1])
        turns.append(run.name)
        had[run.name] = had.get(run.name, 0.0) + 10
        pretend(run, had[run.name], int(100 * had[run.name]), val_lpips=0.25)
        return 0

    work(manifest, turn, lines.append)
    assert turns == ["a", "b", "a", "c", "b"]
    assert lines[3] == "c: 10.0 of 10 min, step 1000, exit code 0"
    progress = json.loads((manifest.parent / "runs" / "progress.json").read_text())
    assert progress["a"] == {"preset": "p", "minutes": 20.0, "steps": 2000, "samples": 16000, "val_lpips": 0.25}
    (manifest.parent / "runs" / "a" / "last.pt").unlink()  # a machine was lost
    work(manifest, turn)
    assert (manifest.parent / "runs" / "a" / "last.pt").read_text() == "step 2000"
    assert len(turns) == 5
    assert "| a | fom@0.25 | 20.0 / 20 | 2000 | 16000 | 0.50 % | 0.2500 |" in status(Manifest.read(manifest))


def test_a_row_that_fails_twice_is_left_out(manifest: Path) -> None:
    turns: list[str] = []

    def turn(words: list[str]) -> int:
        run = Path(words[words.index("--run") + 1])
        turns.append(run.name)
        if run.name == "b":
            pretend(run, 20.0, 5)
            return 0
        return 3

    work(manifest, turn, lambda _: None)
    assert turns == ["a", "a", "b"]  # and c waits for a


def test_the_command_of_a_turn(manifest: Path) -> None:
    read = Manifest.read(manifest)
    row = next_row(read, {"a": 2})
    assert row is not None
    words = command(read, row)
    assert words[1:4] == ["-m", "fvc.training.generator.run", "nth"]
    assert " ".join(words).split(" nth ")[1].startswith("--batch 4 --sampling four --minutes 20 --segment 10 --run ")
    assert "--val" not in words
    pretend(read.folder / "b", 12.0, 7)
    assert "--val" in command(read, row)  # the last turn
    assert Progress.of(read.folder / "none") == Progress()


@pytest.mark.parametrize("text", ["", "rows = 3", "[rows.a]\n", "[rows.a]\npreset = 'x'\nminutes = 'long'", "]"])
def test_what_is_no_manifest_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "rows.toml").write_text(text)
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.read(tmp_path / "rows.toml")


def test_the_papers_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`training/rows.toml` trains every system of the paper's tables, with options that `fvc train` takes."""
    manifest = Manifest.read(Path(__file__).parents[2] / "training" / "rows.toml")
    named = {system.partition(":")[0] for table in TABLES.values() for row in table.rows for system in row.systems}
    assert {row.preset.partition(AT)[0] for row in manifest.rows} == named
    monkeypatch.chdir(tmp_path)
    sampling = {}
    for row in manifest.rows:
        words = command(manifest, row)[3:]
        given, preset = command_line().parse_args(words), preset_named(row.preset)
        sampling[row.name] = given.sampling
        assert preset.name == (f"{row.name}@0.25" if preset.is_dense else row.name)
        assert (given.landmarker is not None) == (preset.expression_loss != "none"), row.name
        with pytest.raises(InputError, match=r"train\.pack: no such file"):  # and nothing was wrong before
            main(words)
    paper = {row.name: PAPER_SAMPLING[row.name] for row in manifest.rows}
    assert sampling == paper


def test_the_queue_trains(pack_path: Path, perceptual: Path, tmp_path: Path) -> None:
    """A real turn, of one step; the second call finds nothing to do."""
    options = ["--data", str(pack_path), "--perceptual", str(perceptual), "--batch", "1", "--steps", "1"]
    (tmp_path / "rows.toml").write_text(
        f"minutes = 0.0001\noptions = {json.dumps(options)}\n[rows.nth]\npreset = 'nth@0.125'\n"
    )
    call = [sys.executable, "-m", "fvc.training.queue", str(tmp_path / "rows.toml")]
    first, second = (subprocess.run(call, capture_output=True, text=True, timeout=300) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr
    assert "nth: " in first.stdout
    assert "step 1, exit code 0" in first.stdout
    assert second.stdout == ""
    assert (tmp_path / "runs" / "nth" / "weights.safetensors").exists()
    shown = subprocess.run([*call, "--status"], capture_output=True, text=True, timeout=60)
    assert "| nth | nth@0.125 |" in shown.stdout
