"""The registry of generators: with one file and its lines in `models.presets`, a new one is trained and exported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run
from overfitting import small_name
from safetensors.numpy import save_file

from fvc.codec.base.errors import FvcError, OptionError
from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.export import shipped as exports
from fvc.export.openvino_graphs import convert, main
from fvc.models.inference.drawing import DrawRuntime
from fvc.models.inference.installed import InstalledModel
from fvc.models.model import build_network
from fvc.models.presets import DEFAULT, GENERATORS, PRESETS, GeneratorClass, Preset
from fvc.models.weights import blends_parts, installed_presets, model_hash, preset_of, profiles, shipped
from fvc.training.generator.loop import train
from fvc.training.generator.recipe import Recipe
from fvc.training.generator.session import RunOptions

FLAT = Preset("flat", "flat", "for this test", {"sup+unsup+expr": 1.0}, size={"hidden": 8})


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> Preset:
    """A generator and a preset, registered as in `models.presets`."""
    monkeypatch.setitem(GENERATORS, "flat", GeneratorClass("flat_generator:FlatGenerator", blends_parts=True))
    monkeypatch.setitem(PRESETS, "flat", FLAT)
    return FLAT


def test_a_new_generator_is_trained_converted_and_drawn_with(
    flat: Preset, pack_path: Path, perceptual: Path, tmp_path: Path
) -> None:
    run = RunOptions(pack_path, perceptual, tmp_path / "run", SUP, SUP_MIRROR, device="cpu", calibration=1, stop_at=1)
    weights = train(Recipe("flat", 1e9, batch=1), run)
    folder = convert(weights, "flat", tmp_path / "flat")
    model = InstalledModel(str(folder))
    assert model.blends_parts
    assert blends_parts(str(folder))

    rng = np.random.default_rng(0)
    sup = rng.uniform(-0.5, 0.5, (3, 33, 2)).astype(np.float32)
    samples = [DrivingSample({"sup": points}) for points in sup]
    for count in (1, 3):  # the number of sources stays free
        pictures = rng.integers(0, 255, (count, 256, 256, 3)).astype(np.uint8)
        drawn = DrawRuntime(str(folder), pictures, samples[:count], exact=True)(DrawInputs.still(samples[-1]))
        assert drawn.shape == (256, 256, 3)
        assert drawn.std() > 0


def test_a_profile_that_a_preset_was_not_trained_for_is_refused() -> None:
    """It would have no keypoints to draw with: `fom` showed its source picture unmoved."""
    for profile in profiles(DEFAULT):
        InstalledModel.named().source_builder(Profile.named(profile))
    with pytest.raises(OptionError, match=r"profile unsup\+jac\+expr: .* choose sup or sup\+unsup or"):
        InstalledModel.named().source_builder(Profile.named("unsup+jac+expr"))


def test_a_new_generator_can_be_exported(flat: Preset) -> None:
    """It has no `reference`, which exports use where there is one."""
    torch.manual_seed(0)
    graphs = {graph.name: graph for graph in exports.graphs_of(build_network(flat.name).eval(), "0" * 64, sources=3)}
    assert graphs["embed"].outputs == ("embedding0", "embedding1")
    assert graphs["draw"].per_source == {"embedding1"}
    [picture] = exports.run_module(graphs["draw"].module, graphs["draw"].example)
    assert picture.shape == (1, 256, 256, 3)


def test_a_damaged_folder_of_ones_own_stops_no_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aaa").mkdir()
    (tmp_path / "aaa" / "manifest.json").write_text("{}")
    monkeypatch.setenv("FVC_WEIGHTS", str(tmp_path))
    assert preset_of(model_hash(DEFAULT)) == DEFAULT
    assert preset_of(bytes(8)) is None
    with pytest.raises(FvcError, match=r"aaa.manifest\.json: damaged, .*; make the folder anew"):
        model_hash("aaa")


def test_a_new_preset_is_in_the_help_of_train(flat: Preset, run: Run) -> None:
    shown = run("train", "--help")
    assert "flat: for this test" in " ".join(shown.out.split())


def test_capabilities_come_from_the_registry() -> None:
    for preset in PRESETS.values():
        assert preset.blends_parts == GENERATORS[preset.generator].blends_parts
    assert {PRESETS["composed"].blends_parts, PRESETS["fom-mobile"].blends_parts} == {True, False}
    for name in shipped():
        assert blends_parts(name) == PRESETS[name].blends_parts
        assert name in installed_presets()


@pytest.mark.parametrize("preset", [small_name(name) for name in PRESETS])
def test_generators_have_the_written_interface(preset: str) -> None:
    generator: Any = build_network(preset).generator
    assert isinstance(generator, torch.nn.Module)
    for method, names in (
        ("embed", ["pictures", "kp_source"]),
        ("draw", ["embedding", "kp_driving", "expression", "recent"]),
    ):
        code = getattr(type(generator), method).__code__
        assert list(code.co_varnames[1 : code.co_argcount]) == names


def test_receivers_read_the_registry_without_torch() -> None:
    script = "import sys; sys.modules['torch'] = None; from fvc.models.weights import shipped; print(shipped())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "composed" in done.stdout


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"else": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    for weights, fault in (("w.safetensors", "not weights of this preset"), ("none.safetensors", "no such file")):
        arguments = [str(tmp_path / weights), "tiny", "--out", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["openvino_graphs", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert fault in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
