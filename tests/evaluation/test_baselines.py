"""Kept baselines: what their records say, whose weights they serve, their size; and the profiles of presets."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fvc.codec.base.errors import UsageError
from fvc.codec.motion.sample import Profile
from fvc.evaluation.presets import baselines
from fvc.evaluation.presets.systems import parse_systems
from fvc.evaluation.reproduction import pictures
from fvc.models.presets import PRESETS
from fvc.models.weights import write_manifest

ROOT = Path(__file__).parents[2]


def logged(folder: Path, preset: str, *losses: dict[str, float], **begun: object) -> Path:
    """A run with weights, and a log that has these losses every 20 steps."""
    recipe = {"preset": preset, "batch": 3, "sampling": "three"}
    lines: list[dict[str, Any]] = [{"step": 0, "minutes": 0.0, "recipe": recipe, "processes": 2, **begun}]
    lines += [{"step": 20 * n, "minutes": 2.0 * n, "lpips": 0.5, **each} for n, each in enumerate(losses, 1)]
    lines.append({"step": 20 * len(losses) + 5, "minutes": 9.0, "saved": True})
    folder.mkdir()
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    save_file({"generator.a": torch.randn(64, 128), "restorer.b": torch.ones(3)}, folder / "weights.safetensors")
    return folder


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(baselines, "_ROOT", tmp_path / "kept")
    return tmp_path / "kept"


def test_records_tell_of_the_training(kept: Path, tmp_path: Path) -> None:
    adversarial = {"adversarial": 0.3}
    run = logged(tmp_path / "a", "fom@0.25", {}, {}, adversarial, adversarial, data="a.pack", people=208)
    assert baselines.keep(run, "fom-mobile (3161 steps, 90 min)") == kept / "fom@0.25.safetensors.xz"
    assert baselines.records()["fom@0.25"] == {
        "steps": 85,
        "batch": 6,
        "samples": 510,
        "minutes": 9.0,
        "sampling": "three",
        "start": "fom-mobile (3161 steps, 90 min)",
        "adversarial_steps": 45,
        "expression_loss": False,
        "data": "a.pack",
        "people": 208,
    }
    baselines.keep(logged(tmp_path / "b", "fom-fau@0.25", {"expression": 0.1}))
    record = baselines.records()["fom-fau@0.25"]
    assert (record["adversarial_steps"], record["expression_loss"], "data" in record) == (0, True, False)


def test_a_run_is_kept_as_another_preset_of_the_same_networks(kept: Path, tmp_path: Path) -> None:
    run = logged(tmp_path / "a", "frontalizer@0.25", {})
    assert baselines.keep(run, preset="frontalizer-new-sampling@0.25").parent == kept
    assert baselines.trained() == ["frontalizer-new-sampling@0.25"]
    for other in ("fom@0.25", "frontalizer-new-sampling"):
        with pytest.raises(ValueError, match="networks are not those of"):
            baselines.keep(run, preset=other)


def test_records_are_not_those_of_the_users_own_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    assert baselines.record_of("fom@0.25") == baselines.records()["fom@0.25"]
    monkeypatch.setattr(baselines, "shipped", lambda: ["fom@0.25"])
    assert baselines.record_of("fom@0.25") is None
    assert baselines.record_of("frontalizer-mobile") is not None


def test_kept_weights_are_small_and_not_in_the_wheel() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "evaluation/presets/weights").iterdir()) < 25e6
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["include-package-data"] is False
    assert not [name for name in setuptools["package-data"] if name.startswith("fvc.evaluation.presets")]


def exported(folder: Path, preset: str) -> str:
    """A folder as `export.openvino_graphs --out` makes one, with files that are no graphs."""
    folder.mkdir()
    for name in (
        "weights.safetensors",
        *(f"{graph}.{end}" for graph in ("motion", "embed", "draw") for end in ("xml", "bin")),
    ):
        (folder / name).write_bytes(b"nothing")
    write_manifest(folder, preset)
    return str(folder)


def test_a_presets_own_profile_comes_first(tmp_path: Path) -> None:
    """A first-order model knows learned keypoints alone: with `sup` it would draw from nothing."""
    folder = exported(tmp_path / "mine", "fom@0.25")
    [system] = parse_systems([folder])
    assert (system.name, system.profile) == ("mine", Profile.UNSUP_JAC)
    with pytest.raises(UsageError, match=r"mine: not trained for profile sup; choose unsup\+jac"):
        parse_systems([folder], ["sup"])
    with pytest.raises(UsageError, match=r"composed: not trained for profile unsup.jac.expr; choose sup or"):
        parse_systems(["composed:unsup+jac+expr"])


@pytest.mark.parametrize("preset", ["fom-light-free", "frontalizer", "composed", "frontalizer-jac"])
def test_the_expression_space_is_that_of_the_profile_with_most_parts(preset: str, tmp_path: Path) -> None:
    wanted = max(PRESETS[preset].profiles, key=lambda label: label.count("+"))
    assert "expr" in wanted
    text = preset if preset == "composed" else exported(tmp_path / preset, preset)
    assert pictures.with_most_parts(text) == f"{text}:{wanted}"
    assert pictures.with_most_parts(f"{text}:{wanted}") == f"{text}:{wanted}"
