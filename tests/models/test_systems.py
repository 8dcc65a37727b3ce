"""The systems of the paper's tables: published sizes, drawing, learning, exports, `fvc encode` and `decode` by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run
from fake_pack import random_batch
from overfitting import SAME_NETWORK, STEPS, overfit, small_name, two_frames
from safetensors.torch import save_file

from fvc.codec.base.inference import openvino_package
from fvc.codec.face.landmarks import CHIN, FOREHEAD, INNER_LIPS, LEFT_EYE, SUP, SUP_MIRROR
from fvc.codec.motion.sample import N_SUP
from fvc.evaluation.reproduction.counts import parameters
from fvc.export import openvino_graphs
from fvc.export import shipped as exports
from fvc.export.onnx_graphs import TOLERANCE, _convert, difference, session
from fvc.export.openvino_graphs import Converted
from fvc.models.model import Network, build_network, load_network
from fvc.models.presets import PRESETS, preset_named
from fvc.models.systems.action_units import UNITS, action_units
from fvc.models.systems.landmark_maps import N_MAPS, PARTS, LandmarkMaps
from fvc.training.data.pack import Pack
from fvc.training.generator.checkpoint import load_checkpoint
from fvc.training.generator.loop import train
from fvc.training.generator.losses import load_perceptual
from fvc.training.generator.recipe import Recipe
from fvc.training.generator.session import RunOptions

LPIPS = Path(__file__).parents[3] / "shared" / "data" / "weights" / "lpips_squeeze"
QUICK = "fom"  # a row that learns in few steps
ALL_ROWS = "FVC_ALL_ROWS" in os.environ  # also in the tests that take minutes of a core a row
OVERFITTING_STEPS = 20  # with a stand-in for LPIPS
OPENVINO_TOLERANCE = 0.05  # its weights are in float16
SENT = ["fom-dm-expr", "frontalizer-jac", "hybrid-spade", "nth"]  # one of each class, not only with ALL_ROWS


def conv(inputs: int, outputs: int, kernel: int = 3, norm: bool = True) -> int:
    """Parameters of a convolution with bias, and of the batch norm behind it."""
    return outputs * (inputs * kernel**2 + 1 + 2 * norm)


def hourglass(inputs: int, base: int, most: int = 1024) -> int:
    """Parameters of the authors' hourglass of five blocks."""
    width = [min(base * 2**n, most) for n in range(6)]
    down = conv(inputs, width[1]) + sum(conv(width[n], width[n + 1]) for n in range(1, 5))
    return down + conv(width[5], width[4]) + sum(conv(2 * width[n + 1], width[n]) for n in range(4))


def test_the_dense_first_order_model_has_the_published_size() -> None:
    """Counted by hand from the authors' configuration vox-256: 10 keypoints, block_expansion 32 and 64, and so on."""
    points, inputs = 10, 4 * 11
    keypoints = hourglass(3, 32) + conv(35, points, 7, norm=False) + conv(35, 4 * points, 7, norm=False)
    motion = hourglass(inputs, 64) + conv(64 + inputs, points + 1, 7, norm=False) + conv(64 + inputs, 1, 7, norm=False)
    encoder = conv(3, 64, 7) + conv(64, 128) + conv(128, 256)
    decoder = 6 * 2 * conv(256, 256) + conv(256, 128) + conv(128, 64) + conv(64, 3, 7, norm=False)
    network = build_network("fom")
    assert parameters(network.motion) == keypoints == 14_215_368
    assert parameters(network.generator) == motion + encoder + decoder == 45_575_391


def test_neural_talking_heads_have_the_published_size() -> None:
    """Section 4 of Zakharov et al.: 15 million parameters in the embedder, 38 million in the generator."""
    generator = build_network("nth").generator
    embedder = parameters(generator.embedder)
    assert embedder == pytest.approx(15e6, rel=0.01)
    assert parameters(generator) - embedder == pytest.approx(38e6, rel=0.01)


def test_a_width_is_part_of_a_presets_name() -> None:
    narrow = preset_named("fom@0.25")
    assert (narrow.name, narrow.size["width"], narrow.sender_size["width"]) == ("fom@0.25", 0.25, 0.25)
    assert PRESETS["fom"].narrowed(1.0) is PRESETS["fom"]
    for name, fault in (
        ("fom@0.250", "is called fom@0.25"),
        ("fom@2", "width 2"),
        ("fom@much", "much"),
        ("composed@0.5", "only dense presets"),
        ("magic", "unknown"),
    ):
        with pytest.raises(ValueError, match=fault):
            preset_named(name)


def test_every_row_of_the_papers_tables_has_its_steps() -> None:
    rows = {name for name, preset in PRESETS.items() if preset.is_dense or "-mobile" in name or "spade" in name}
    assert rows - {SAME_NETWORK} == set(STEPS)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_two_frames_can_be_learned(name: str, pack: Pack, perceptual: Path) -> None:
    batch, distance = two_frames(pack), load_perceptual(perceptual, "cpu")
    first, last = overfit(small_name(name), batch, distance, OVERFITTING_STEPS)
    assert last < first / 2, (first, last)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.skipif(not LPIPS.is_dir(), reason="needs ../shared/data/weights, which only developers have")
@pytest.mark.filterwarnings("ignore")  # the loader leaves a file to the garbage collector
def test_lpips_of_two_frames_of_a_face_falls_below_half(name: str, run: Run, clip: Path, tmp_path: Path) -> None:
    """With the real LPIPS."""
    if name != QUICK and not ALL_ROWS:
        pytest.skip("FVC_ALL_ROWS=1 asks for all rows")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").symlink_to(clip)
    options = ("--fps", 5, "--min-frames", 20, "--workers", 1, "--per-person", 8)
    assert run("prepare", tmp_path / "videos", tmp_path / "a.pack", *options).code == 0
    batch, distance = two_frames(Pack(tmp_path / "a.pack", SUP)), load_perceptual(LPIPS, "cpu")
    first, last = overfit(small_name(name), batch, distance, STEPS[name])
    assert last < first / 2, (first, last)


@pytest.mark.parametrize("name", ["fom-light-expr@0.125", "nth@0.125"])
def test_training_goes_on_where_it_stopped(name: str, pack_path: Path, perceptual: Path, tmp_path: Path) -> None:
    """With a code that action units teach, and with a discriminator that knows the clips."""
    recipe = Recipe(name, 1e9, batch=1, adversarial_from=1, sampling="four")
    states = []
    for folder, stops in (("straight", [2]), ("stopped", [1, 2])):
        for stop in stops:
            train(
                recipe,
                RunOptions(
                    pack_path, perceptual, tmp_path / folder, SUP, SUP_MIRROR, device="cpu", calibration=1, stop_at=stop
                ),
            )
        states.append(load_checkpoint(tmp_path / folder, "cpu"))
    assert states[0] is not None
    assert states[1] is not None
    for part in ("network", "discriminator"):
        for key, tensor in states[0][part].items():
            assert torch.allclose(tensor.float(), states[1][part][key].float(), atol=1e-6), key


def made_up(preset: str) -> Network:
    """A network whose weights are random, as exports take it."""
    torch.manual_seed(0)
    return build_network(preset, torch.rand(N_SUP, 2) - 0.5).eval()


@pytest.mark.parametrize("name", STEPS)
def test_onnx_computes_what_torch_does(name: str, tmp_path: Path) -> None:
    if name not in SENT and not ALL_ROWS:
        pytest.skip("FVC_ALL_ROWS=1 asks for all rows")
    for graph in exports.graphs_of(made_up(small_name(name)), "0" * 64, sources=2):
        if graph.name == "landmarks":
            continue
        _convert(graph, tmp_path / f"{graph.name}.onnx")
        errors = difference(graph, session(tmp_path / f"{graph.name}.onnx"))
        assert max(errors.values()) < TOLERANCE, (graph.name, errors)


@pytest.mark.parametrize("name", STEPS)
def test_systems_are_exported_and_sent_by_name(
    name: str, run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manual's command writes OpenVINO graphs to a folder of the user's; streams name them."""
    if name not in SENT and not ALL_ROWS:
        pytest.skip("FVC_ALL_ROWS=1 asks for all rows")
    preset = small_name(name)
    state = {key: tensor.half().contiguous() for key, tensor in made_up(preset).state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    out = tmp_path / "weights" / preset
    monkeypatch.setattr("sys.argv", ["export", str(tmp_path / "w.safetensors"), preset, "--out", str(out)])
    openvino_graphs.main()
    for graph, made in openvino_graphs.graphs(load_network(out / "weights.safetensors", preset)).items():
        errors = openvino_errors(out / f"{graph}.xml", made)
        assert max(errors) < OPENVINO_TOLERANCE, (graph, errors)
    monkeypatch.setenv("FVC_WEIGHTS", str(tmp_path / "weights"))
    profile, stream = max(preset_named(preset).profiles, key=len), tmp_path / "talk.fvc"
    options = ["--profile", profile, "--preset", preset, "--fps", 2, "--no-audio", "--quantizer", "paper"]
    assert run("encode", clip, stream, *options).code == 0
    assert run("decode", stream, "-o", tmp_path / "back.mp4").code == 0


def openvino_errors(path: Path, made: Converted) -> list[float]:
    """Largest difference of each output from torch's, as a share of 255 in pictures, else of its standard deviation."""
    compiled = openvino_package().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([tensor.numpy() for tensor in made.example]).values()
    wanted = exports.run_module(made.module.eval(), made.example)
    errors = []
    for ours, tensor in zip(found, wanted, strict=True):
        unit = 255 if tensor.dtype == torch.uint8 else max(float(tensor.std()), 1e-3)
        errors.append(float(np.abs(ours.astype(np.float32) - tensor.float().numpy()).max()) / unit)
    return errors


@pytest.mark.parametrize(
    ("preset", "fault"), [("fom@0.250", "is called fom@0.25"), ("magic", "'magic' is unknown; choose from composed")]
)
def test_the_export_names_a_wrong_preset(
    preset: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.safetensors").touch()
    monkeypatch.setattr("sys.argv", ["export", str(tmp_path / "w.safetensors"), preset, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        openvino_graphs.main()
    assert fault in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_action_units_follow_the_face() -> None:
    """A jaw that drops and eyes that shut move their own units, whatever the size and place of the face."""
    generator = torch.Generator().manual_seed(0)
    face = torch.rand(1, N_SUP, 2, generator=generator) - 0.5
    face[0, FOREHEAD], face[0, CHIN] = torch.tensor([0.0, -0.7]), torch.tensor([0.0, 0.7])
    face[0, LEFT_EYE.upper_lid], face[0, LEFT_EYE.lower_lid] = torch.tensor([-0.3, -0.3]), torch.tensor([-0.3, -0.24])
    face[0, INNER_LIPS[0]], face[0, INNER_LIPS[1]] = torch.tensor([0.0, 0.3]), torch.tensor([0.0, 0.36])
    assert torch.allclose(action_units(face), action_units(0.5 * face + 0.1), atol=1e-4)
    shut = face.clone()
    shut[0, LEFT_EYE.upper_lid] = shut[0, LEFT_EYE.lower_lid]
    change = (action_units(shut) - action_units(face))[0]
    assert [list(UNITS)[n] for n in change.abs().nonzero()[:, 0]] == ["AU5 left upper lid raised, AU43 shut: low"]
    assert change.min() < -0.3
    opened = face.clone()
    opened[0, INNER_LIPS[1], 1] += 0.1
    assert float((action_units(opened) - action_units(face))[0, list(UNITS).index("AU25 lips parted")]) > 0.2


def test_landmarks_are_drawn_as_lines() -> None:
    sup = torch.full((2, N_SUP, 2), 2.0)  # outside
    line = PARTS["nose"][0]
    sup[0, list(line)] = torch.tensor([[-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]])
    maps = LandmarkMaps(64)(sup, torch.tensor([[1.0], [0.0]]).expand(-1, N_SUP))
    assert maps.shape == (2, N_MAPS, 64, 64)
    assert maps[1].max() == 0
    nose = maps[0, list(PARTS).index("nose")]
    assert nose[32, 20:44].min() > 0.5
    assert nose[:28].max() < 0.01
    assert np.isclose(float(nose[32, :10].max()), 0, atol=1e-3)


def test_absent_keypoints_do_not_matter() -> None:
    network = build_network("frontalizer@0.125", torch.rand(N_SUP, 2) - 0.5).eval().requires_grad_(False)
    batch = random_batch(1, 2)
    drawn = []
    for unsup in (torch.zeros(2, 10, 2), torch.rand(2, 10, 2)):
        eye = torch.eye(2).expand(2, 10, 2, 2)
        source = network.points(batch.source_keypoints[0], unsup, eye, {"sup"})
        embedding = network.generator.embed(batch.sources, source)
        driving = network.points(batch.driving_keypoints[0], unsup[:1], eye[:1], {"sup"})
        drawn.append(network.generator.draw(embedding, driving, torch.full((1, 16), 0.5)))
    assert torch.allclose(*drawn, atol=1e-5)
