"""The exports compute what torch computes, on real frames too, and say so of themselves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("coremltools", reason="needs fvc[export]")
pytest.importorskip("onnxruntime", reason="needs fvc[export]")

import torch
from conftest import Encoded, Run

from fvc.codec.base.errors import FvcError
from fvc.codec.wire.source_set import SourceSet
from fvc.export import coreml, mil, parity, verify_on_mac
from fvc.export.onnx_graphs import TOLERANCE, difference, export_onnx, session
from fvc.export.shipped import DRIVING, Graph, run_module, shipped_graphs
from fvc.models.inference.nearest import DRAWN_FROM
from fvc.models.presets import DEFAULT


@pytest.fixture(scope="module")
def graphs(encoded: Encoded) -> dict[str, Graph]:
    """For as many sources as the sample's stream has."""
    sources = len(SourceSet.parse(encoded.sources.read_bytes()).pictures)
    return {graph.name: graph for graph in shipped_graphs(DEFAULT, sources)}


@pytest.fixture(scope="module")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(DEFAULT, folder)
    return folder


@pytest.fixture(scope="module")
def core_ml(graphs: dict[str, Graph], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("coreml")
    paths = {name: folder / f"{name}.mlpackage" for name in graphs}
    for name, path in paths.items():
        coreml.convert(coreml.PhoneGraph.of(graphs[name]), path)
    return paths


@pytest.fixture(scope="module")
def real(encoded: Encoded, graphs: dict[str, Graph]) -> dict[str, tuple[torch.Tensor, ...]]:
    """Inputs of all graphs from the sample: its source pictures; one of them is the driving frame."""
    sources = SourceSet.parse(encoded.sources.read_bytes())
    embed = parity.embed_inputs(sources)
    kept = [rows[:DRAWN_FROM] for rows in run_module(graphs["embed"].module, embed)]
    crop = (embed[0][2:3],)
    draw = *kept, *parity.draw_inputs(sources.samples[2])
    return {"landmarks": crop, "motion": crop, "embed": embed, "draw": draw}


def test_onnx_on_real_frames(
    onnx_folder: Path, graphs: dict[str, Graph], real: dict[str, tuple[torch.Tensor, ...]]
) -> None:
    for name, inputs in real.items():
        errors = difference(graphs[name], session(onnx_folder / f"{name}.onnx"), inputs)
        assert max(errors.values()) < TOLERANCE, (name, errors)


def test_onnx_takes_any_number_of_sources(
    onnx_folder: Path, graphs: dict[str, Graph], real: dict[str, tuple[torch.Tensor, ...]]
) -> None:
    two = tuple(tensor[:2] for tensor in real["embed"])
    assert max(difference(graphs["embed"], session(onnx_folder / "embed.onnx"), two).values()) < TOLERANCE
    kept = run_module(graphs["embed"].module, two)
    drawn = difference(graphs["draw"], session(onnx_folder / "draw.onnx"), (*kept, *real["draw"][-len(DRIVING) :]))
    assert max(drawn.values()) < TOLERANCE


def test_a_stream_drawn_through_onnx(onnx_folder: Path, encoded: Encoded) -> None:
    found = parity.stream_parity(onnx_folder, encoded.stream, encoded.sources, every=6)
    assert len(found) >= 5
    assert min(found) >= parity.LEAST


def test_onnx_says_what_it_is(onnx_folder: Path, graphs: dict[str, Graph]) -> None:
    import onnx

    manifest = json.loads((onnx_folder / "manifest.json").read_text())
    model = onnx.load(str(onnx_folder / "draw.onnx"))
    said = {prop.key: prop.value for prop in model.metadata_props}
    assert said == graphs["draw"].metadata
    assert manifest["graphs"]["draw"]["weights_sha256"] == graphs["draw"].sha256 == said["weights_sha256"]
    assert [opset.version for opset in model.opset_import] == [manifest["opset"]] == [17]
    assert [port.name for port in model.graph.input] == list(graphs["draw"].inputs)


@pytest.mark.parametrize("name", ["landmarks", "motion", "draw"])
def test_core_ml_packages_are_what_was_asked_for(core_ml: dict[str, Path], graphs: dict[str, Graph], name: str) -> None:
    phone = coreml.PhoneGraph.of(graphs[name])
    said = coreml.check_specification(core_ml[name], phone, "iOS15")
    assert said["opset"] == "CoreML5"
    assert said["ports"]["picture" if name == "draw" else "crop"] == "imageType"
    with pytest.raises(FvcError, match="opset CoreML5"):
        coreml.check_specification(core_ml[name], phone, "iOS16")


@pytest.mark.parametrize("name", ["landmarks", "motion", "draw"])
def test_core_ml_programs_compute_what_torch_does(
    core_ml: dict[str, Path], graphs: dict[str, Graph], real: dict[str, tuple[torch.Tensor, ...]], name: str
) -> None:
    phone = coreml.PhoneGraph.of(graphs[name])
    inputs = dict(zip(phone.inputs, real[name], strict=True))
    if name != "draw":
        inputs["crop"] = inputs["crop"].permute(0, 3, 1, 2).float() / 255
    report = coreml.check_parity(core_ml[name], phone, inputs)
    assert min(report["psnr"].values()) >= coreml.MIN_PSNR
    assert min(report["psnr_float32"].values()) > 50  # weights are rounded, but the evaluator's rules are right
    assert report["shift"] <= coreml.MAX_SHIFT


def test_a_stream_drawn_by_core_ml_programs(core_ml: dict[str, Path], encoded: Encoded) -> None:
    found = parity.stream_parity(core_ml["draw"].parent, encoded.stream, encoded.sources, every=12)
    assert len(found) >= 2
    assert min(found) >= parity.LEAST_HALF


def test_parity_notices_another_program(core_ml: dict[str, Path], graphs: dict[str, Graph]) -> None:
    phone = coreml.PhoneGraph.of(graphs["motion"])
    with torch.no_grad():
        weight = graphs["motion"].module.motion.keypoints.heatmaps.weight
        weight.mul_(0.5)
        with pytest.raises(FvcError, match="not what torch computes"):
            coreml.check_parity(core_ml["motion"], phone)
        weight.mul_(2)


@pytest.mark.parametrize("name", ["landmarks", "draw"])
def test_coordinates_stay_in_float32_and_convolutions_do_not(core_ml: dict[str, Path], name: str) -> None:
    operations = mil.Program.read(core_ml[name]).operations
    samplings = [op for op in operations if op.op_type == "resample"]
    assert samplings
    assert all(op.coordinates.dtype == mil.types.fp32 and op.coordinates.op.op_type != "cast" for op in samplings)
    convolutions = [op for op in operations if op.op_type == "conv"]
    assert sum(op.outputs[0].dtype != mil.types.fp16 for op in convolutions) <= 1  # the one that gives the flow


def test_a_mac_gets_inputs_and_outputs_for_every_port(
    core_ml: dict[str, Path], graphs: dict[str, Graph], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, path in core_ml.items():
        phone = coreml.PhoneGraph.of(graphs[name])
        arrays = coreml.expected(phone)
        ports = coreml.check_specification(path, phone, "iOS15")["ports"]
        assert {key.split("/")[2] for key in arrays} == set(ports)
        assert {key.split("/")[2] for key, x in arrays.items() if x.dtype == np.uint8} == phone.images
    if sys.platform != "darwin":
        assert verify_on_mac.main() == 2
        assert "Mac" in capsys.readouterr().err
    picture = arrays["draw/out/picture"]
    assert verify_on_mac.psnr(picture, picture) == 99


def test_resample_is_torch_grid_sample() -> None:
    generator = torch.Generator().manual_seed(1)
    x, grid = torch.rand(2, 3, 7, 5, generator=generator), 2.6 * torch.rand(2, 9, 4, 2, generator=generator) - 1.3
    wanted = torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    assert torch.allclose(mil.resample(x, grid), wanted, atol=1e-5)


def test_commands(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("export", "openvino", "--out", tmp_path / "openvino")
    assert done.code == 0
    assert "redrawn.xml" in done.out
    assert (tmp_path / "openvino" / "manifest.json").exists()
    assert run("export", "onnx", "--out", tmp_path / "x", "--preset", "none").code == 2
    bad = run("export", "coreml", "--out", tmp_path / "y", "--target", "iOS3")
    assert (bad.code, bad.err.count("\n")) == (2, 1)
    (tmp_path / "file").write_text("")
    assert "fvc:" in run("export", "onnx", "--out", tmp_path / "file").err
    monkeypatch.setitem(sys.modules, "fvc.export.onnx_graphs", None)
    missing = run("export", "onnx", "--out", tmp_path / "x")
    assert missing.code != 0
    assert "fvc[export]" in missing.err


def test_psnr() -> None:
    a = np.zeros((4, 4, 3), np.uint8)
    assert parity.psnr(a, a) == 99
    assert parity.psnr(a, a + 1) == pytest.approx(48.13, abs=0.01)
