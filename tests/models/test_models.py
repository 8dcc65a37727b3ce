"""Networks, their conversion, and the shipped weights."""

from __future__ import annotations

import locale
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from conftest import Encoded

from fvc.codec.motion.pose_history import MOMENTS, DrawInputs
from fvc.codec.motion.sample import N_SUP, DrivingSample, Profile
from fvc.codec.source_builder import SOURCE_CRF
from fvc.codec.wire.source_set import SourceSet, code_pictures
from fvc.export.openvino_graphs import graphs
from fvc.models.flow import Points, SparseMotion
from fvc.models.generator import _beside_heads, _from_head
from fvc.models.keypoints import MotionNet
from fvc.models.layers import Hourglass, InvertedResidual, conv_joined, identity_grid, resize, warp
from fvc.models.model import load_network
from fvc.models.presets import DEFAULT, PRESETS
from fvc.models.restorer import Restorer
from fvc.models.runtime import DrawRuntime, MotionRuntime, points
from fvc.models.weights import folder_of, model_hash, preset_of, shipped, verify

PROFILES = [{"sup"}, {"sup", "unsup"}, {"sup", "unsup", "expr"}, {"unsup", "jac"}]


def random_sample(draw: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "sup": draw.uniform(-0.6, 0.6, (33, 2)).astype(np.float32),
        "unsup": draw.uniform(-0.6, 0.6, (10, 2)).astype(np.float32),
        "jac": (np.eye(2) + draw.normal(0, 0.1, (10, 2, 2))).astype(np.float32),
        "expr": draw.random(16).astype(np.float32),
    }


def test_identity_warp_changes_nothing() -> None:
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(warp(x, identity_grid(32).expand(2, -1, -1, -1)), x, atol=1e-5)


def test_expanding_before_upsampling_is_the_same() -> None:
    block = InvertedResidual(8, 6, up=True).eval()
    x = torch.rand(1, 8, 5, 5)
    late = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
    assert torch.allclose(block(x), block.project(block.filter(block.expand(late))), atol=1e-6)


def test_joined_convolution_needs_no_joined_input() -> None:
    conv = torch.nn.Conv2d(5, 4, 1)
    a, b, code = torch.rand(2, 2, 6, 6), torch.rand(2, 1, 6, 6), torch.rand(2, 2, 1, 1)
    whole = conv(torch.cat([a, b, code.expand(-1, -1, 6, 6)], 1))
    assert torch.allclose(conv_joined(conv, a, b, code), whole, atol=1e-6)
    block = InvertedResidual(3, 4).eval()
    assert torch.allclose(block(a, b), block.project(block.filter(block.expand(torch.cat([a, b], 1)))), atol=1e-6)


def test_first_order_model_switches_to_the_nearest_source() -> None:
    torch.manual_seed(0)
    generator = PRESETS["fom-mobile"].build().generator.eval()
    pictures, unsup = torch.rand(1, 2, 3, 256, 256), torch.rand(2, 10, 2) - 0.5

    def at(position: torch.Tensor) -> Points:
        count = len(position)
        presence = torch.cat([torch.zeros(count, N_SUP), torch.ones(count, 10)], 1)
        whole = torch.cat([torch.zeros(count, N_SUP, 2), position], 1)
        return Points(whole, torch.eye(2).expand(count, N_SUP + 10, 2, 2), presence)

    both = generator.embed(pictures, at(unsup))
    code = torch.full((1, 16), 0.5)
    for n in range(2):
        alone = generator.embed(pictures[:, n : n + 1], at(unsup[n : n + 1]))
        driving = at(unsup[n : n + 1] + 0.02)
        assert torch.allclose(generator.draw(both, driving, code), generator.draw(alone, driving, code), atol=1e-5)


def test_hourglass_shapes() -> None:
    features, centre = Hourglass(3, 16, depth=5)(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, 16, 64, 64)
    assert centre.flatten(1).shape == (2, 512)  # the paper's central feature


def test_motion_net_shapes_and_ranges() -> None:
    keypoints, jacobians, code = MotionNet().eval()(torch.rand(2, 3, 256, 256))
    assert keypoints.shape == (2, 10, 2)
    assert jacobians.shape == (2, 10, 2, 2)
    assert code.shape == (2, 16)
    assert keypoints.abs().max() <= 1
    assert 0 <= code.min() <= code.max() <= 1
    assert torch.allclose(jacobians, torch.eye(2).expand(2, 10, 2, 2), atol=1e-4)  # before training: the identity


def test_sparse_motion_is_exact_at_an_only_keypoint_and_follows_its_jacobian() -> None:
    motion = SparseMotion(2, 1, 16)
    eye = torch.eye(2).expand(1, 3, 2, 2)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(1, 3, 2, 2)
    presence = torch.tensor([[1.0, 0.0, 0.0]])
    at = Points(torch.tensor([[[0.1, 0.2], [9.0, 9.0], [-9.0, 9.0]]]), eye, presence)
    to = Points(at.position + torch.tensor([0.3, -0.1]), turn, presence)
    weights, _ = motion.weights(at)
    assert weights[..., 1:].abs().max() == 0  # absent keypoints do not vote
    move = motion.displacement(weights, at, to)
    expected = (motion.grid - at.position[0, 0]) @ turn[0, 0].T + to.position[0, 0] - motion.grid
    assert torch.allclose(move[0], expected, atol=1e-5)


def an_upright_head(x: float, nose: float = 0.0) -> Points:
    """Forehead 0.4 above the chin, in the middle of the picture's height; the nose so far to the right."""
    position = torch.zeros(1, N_SUP, 2)
    position[0, :3] = torch.tensor([[x, -0.2], [x, 0.2], [x + nose, 0.0]])
    return Points(position, torch.eye(2).expand(1, N_SUP, 2, 2), torch.ones(1, N_SUP))


def test_what_lies_beside_the_head_is_looked_up_beside_it() -> None:
    """Where the head has gone away, the source's is not drawn, though no source shows what is behind it."""
    grid = identity_grid(64)[None]
    driving, source = an_upright_head(0.4), an_upright_head(-0.4)
    lies, seen = (_from_head(head, grid)[1] for head in (driving, source))
    flow, inside, seen_inside = _beside_heads(grid, lies, source)
    assert torch.allclose(inside, torch.sigmoid(8 * (1 - lies))[:, None])
    assert torch.allclose(seen_inside, torch.sigmoid(8 * (1 - seen))[:, None])
    assert _from_head(source, flow)[1][lies > 1.5].min() > 1.2
    assert _from_head(source, grid)[1][lies > 1.5].min() < 0.1
    untouched = (seen > 1.3) | (lies < 0.5)
    assert (flow - grid)[untouched].abs().max() < 0.01
    assert ((flow - grid).norm(dim=-1) > 0.1).any()
    at_rest, _, _ = _beside_heads(grid, seen, source)
    assert torch.equal(at_rest, grid)
    unseen = source._replace(presence=torch.zeros(1, N_SUP))
    flow, inside, seen_inside = _beside_heads(grid, _from_head(unseen, grid)[1], unseen)
    assert torch.equal(flow, grid)
    assert inside.max() == seen_inside.max() == 0


def test_a_head_that_turns_shows_its_other_side() -> None:
    places = torch.tensor([[[[-0.25, 0.0], [0.25, 0.0]]]])
    left, right = _from_head(an_upright_head(0.0, nose=0.08), places)[1][0, 0]
    assert left < 1 < right
    left, right = _from_head(an_upright_head(0.0), places)[1][0, 0]
    assert left == pytest.approx(float(right))


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_sources(preset: str, count: int) -> None:
    torch.manual_seed(0)
    network = PRESETS[preset].build(torch.rand(N_SUP, 2) - 0.5).eval()
    for parts in PROFILES:
        out = network(
            torch.rand(1, count, 3, 256, 256),
            torch.rand(1, count, 33, 2) - 0.5,
            torch.rand(1, 3, 256, 256),
            torch.rand(1, 33, 2) - 0.5,
            parts,
        )
        assert out["picture"].shape == (1, 3, 256, 256)
        assert torch.isfinite(out["picture"]).all()
        assert 0 <= out["picture"].min() <= out["picture"].max() <= 1


@pytest.mark.parametrize("preset", list(PRESETS))
def test_gradients_reach_every_parameter(preset: str) -> None:
    torch.manual_seed(0)
    network = PRESETS[preset].build(torch.rand(N_SUP, 2) - 0.5)
    for name, parameter in network.named_parameters():
        if "head" in name:  # zero at the start of training, which hides what is behind it
            torch.nn.init.normal_(parameter, std=0.05)
    for parts in ({"sup", "unsup", "expr"}, {"unsup", "jac"}):
        out = network(
            torch.rand(2, 2, 3, 256, 256),
            torch.rand(2, 2, 33, 2) - 0.5,
            torch.rand(2, 3, 256, 256),
            torch.rand(2, 33, 2) - 0.5,
            parts,
        )
        out["picture"].square().mean().backward()
    trained = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    dead = [n for n, p in trained if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


def test_a_restorer_begins_as_the_identity_and_earlier_weights_load_with_one() -> None:
    pictures = torch.rand(2, 3, 64, 40)
    assert torch.equal(Restorer()(pictures), pictures)
    network = PRESETS[DEFAULT].build()
    torch.nn.init.ones_(network.restorer.out.bias)
    before = {n: t for n, t in network.state_dict().items() if not n.startswith("restorer.")}
    missing, unexpected = network.load_state_dict(before)
    assert (missing, unexpected) == ([], [])
    assert network.restorer.out.bias.eq(1).all()


@pytest.mark.parametrize("sides", [(64, 256), (32, 64), (64, 32), (5, 7)])
def test_resizing_is_torchs(sides: tuple[int, int]) -> None:
    given, wanted = sides
    x = torch.rand(2, 3, given, given, generator=torch.Generator().manual_seed(0))
    theirs = torch.nn.functional.interpolate(x, size=(wanted, wanted), mode="bilinear", align_corners=False)
    assert torch.allclose(resize(x, wanted), theirs, atol=1e-6)


def test_shipped_weights_are_whole_and_small() -> None:
    assert DEFAULT in shipped()
    for preset in shipped():
        verify(folder_of(preset))
        assert preset_of(model_hash(preset)) == preset
        assert (folder_of(preset) / "weights.safetensors").stat().st_size < 5_000_000
    assert preset_of(b"nobody's") is None


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_has_graphs(preset: str) -> None:
    with torch.no_grad():
        for module, example in graphs(PRESETS[preset].build().eval()).values():
            module(*example)


@pytest.mark.parametrize("preset", shipped())
@pytest.mark.parametrize("count", [2, 3])
def test_runtime_draws_what_torch_draws(preset: str, count: int) -> None:
    draw = np.random.default_rng(count)
    network = load_network(folder_of(preset) / "weights.safetensors", preset)
    smooth = [np.kron(draw.integers(0, 255, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8) for _ in range(count)]
    head = random_sample(draw)

    def moved() -> DrivingSample:
        near = {part: head[part] + draw.normal(0, 0.05, head[part].shape) for part in ("sup", "unsup", "jac")}
        return DrivingSample(head | {part: values.astype(np.float32) for part, values in near.items()})

    samples, parts = [moved() for _ in range(count)], moved().parts
    driving = DrawInputs(parts, np.concatenate([points(moved().parts)[0] for _ in range(MOMENTS)]))
    picture = DrawRuntime(preset, smooth, samples, exact=True)(driving)

    with torch.no_grad():
        pictures = torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2)[None] / 255
        each = [points(sample.parts) for sample in samples]
        joined = [torch.from_numpy(np.concatenate(tensors)) for tensors in zip(*each, strict=True)]
        embedding = network.embed(pictures, Points(*joined))
        at = Points(*map(torch.from_numpy, points(parts)))
        recent = torch.from_numpy(driving.recent_positions)[None]
        wanted = network.generator.draw(embedding, at, torch.from_numpy(parts["expr"])[None], recent)
    wanted = (wanted[0].permute(1, 2, 0).clamp(0, 1) * 255).numpy()
    assert np.abs(picture - wanted).max() < 5  # levels of 255
    assert np.abs(picture - wanted).mean() < 0.3  # half of it is rounding to integers
    assert np.array_equal(picture, DrawRuntime(preset, smooth, samples, exact=True)(driving))
    with ThreadPoolExecutor(2) as pool:  # OpenVINO sets the locale while it reads: two at once left it at "C"
        encoding = locale.getencoding()
        drawn = [pool.submit(lambda: DrawRuntime(preset, smooth, samples, 2, exact=True)(driving)) for _ in range(2)]
        for future in drawn:
            assert np.abs(future.result().astype(int) - picture).max() <= 1
    assert locale.getencoding() == encoding


def test_another_source_fades_in_beside_the_head_and_is_there_at_once_in_the_face(encoded: Encoded) -> None:
    """A dark and a bright picture of one man: his head comes from where the dark one has it to the bright one's."""
    sources = SourceSet.parse(encoded.sources.read_bytes())
    first = sources.samples[0].parts["sup"]
    other = first * np.float32([0.8, 1])
    dark, bright = (np.full_like(sources.pictures[0], level) for level in (60, 180))
    samples = [DrivingSample({"sup": sup}) for sup in (first, other)]
    draw = DrawRuntime(DEFAULT, [dark, bright], samples, exact=True)

    def levels(recent: list[np.ndarray]) -> tuple[float, float]:
        """Mean of the upper corners and about the nose."""
        picture = draw(DrawInputs({"sup": other}, np.stack(recent)))
        x, y = np.round((other[2] + 1) * 128).astype(int)
        nose = picture[y - 4 : y + 4, x - 4 : x + 4]
        return float(picture[:24, [*range(24), *range(232, 256)]].mean()), float(nose.mean())

    still, nose = levels([other] * MOMENTS)
    assert still > 165
    assert nose > 150
    corners = []
    for frames in range(MOMENTS + 1):  # since the head came
        corner, now = levels([other] * frames + [first] * (MOMENTS - frames))
        corners.append(corner)
        assert now == pytest.approx(nose, abs=3)
    assert corners[0] < 100
    steps = np.diff(corners)
    assert (steps > 0).all()
    assert steps.max() < 40
    assert corners[-1] == still


def test_half_precision_draws_nearly_the_same(encoded: Encoded) -> None:
    """On CPUs that have none the two are the same."""
    sources = SourceSet.parse(encoded.sources.read_bytes())
    samples = [sample.only(Profile.SUP.parts) for sample in sources.samples]
    exact, fast = (DrawRuntime(DEFAULT, sources.pictures, samples, exact=exact) for exact in (True, False))
    for driving in map(DrawInputs.still, samples):
        error = exact(driving).astype(float) - fast(driving)
        assert np.sqrt((error**2).mean()) < 2.5  # levels of 255: 40 dB


def test_restoring_brings_source_pictures_nearer_to_what_they_were(faces: list[np.ndarray]) -> None:
    """The project's own sample, coded as `fvc encode` does: nothing of it was trained on."""
    crops = [np.ascontiguousarray(cv2.resize(frame, (256, 256))) for frame in faces[:2]]
    _, decoded = code_pictures(crops, SOURCE_CRF)
    restorer = load_network(folder_of(DEFAULT) / "weights.safetensors", DEFAULT).restorer
    for original, picture in zip(crops, decoded, strict=True):
        with torch.no_grad():
            restored = restorer(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)[0].permute(1, 2, 0)
        before, after = (np.abs(original / 255 - x).mean() for x in (picture / 255, restored.numpy()))
        assert after < 0.98 * before


def test_runtime_motion_is_torchs() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    network = load_network(folder_of(DEFAULT) / "weights.safetensors", DEFAULT)
    with torch.no_grad():
        wanted = network.motion(torch.from_numpy(crop).permute(2, 0, 1)[None] / 255)
    got = MotionRuntime(DEFAULT)(crop)
    for name, tensor in zip(("unsup", "jac", "expr"), wanted, strict=True):
        assert np.abs(got[name] - tensor[0].numpy()).max() < 2e-3, name
