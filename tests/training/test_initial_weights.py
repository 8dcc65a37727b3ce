"""What a run can start from: another preset's weights, pruned ones, keypoints that lie on the face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from fvc.codec.face.landmarks import SUP_MIRROR
from fvc.models.generator import Size
from fvc.models.model import borrow_weights, build_network, load_network
from fvc.models.presets import DEFAULT, PRESETS
from fvc.training.generator import anchoring
from fvc.training.generator.pruning import prune


def test_a_preset_borrows_what_fits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    giver, taker = build_network("composed"), build_network("frontalizer-multiscale")
    save_file({name: tensor.numpy() for name, tensor in giver.state_dict().items()}, tmp_path / "a.safetensors")
    assert borrow_weights(taker, tmp_path / "a.safetensors") > 1_000_000
    assert torch.equal(taker.generator.out.weight, giver.generator.out.weight)
    assert taker.generator.dense_motion.head.weight.shape != giver.generator.dense_motion.head.weight.shape
    save_file({"else": np.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="nothing that fits"):
        borrow_weights(taker, tmp_path / "b.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="not weights"):
        borrow_weights(taker, tmp_path / "c.safetensors")


def test_anchoring_leads_keypoints_to_the_face(
    pack_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network("fom-mobile")
    torch.nn.init.zeros_(network.motion.keypoints.jacobians.bias)
    save_file({k: t.numpy() for k, t in network.state_dict().items()}, tmp_path / "in.safetensors")
    arguments = ["a", pack_path, tmp_path / "in.safetensors", tmp_path / "out.safetensors", "--steps", 6, "--batch", 4]
    monkeypatch.setattr("sys.argv", list(map(str, arguments)))
    anchoring.main()
    after = load_network(tmp_path / "out.safetensors", "fom-mobile")
    frames = after.motion.keypoints.jacobians.bias.reshape(-1, 2, 2)
    assert (frames - torch.eye(2)).abs().max() < 0.1
    before, changed = network.state_dict(), after.state_dict()
    moved = {name for name, tensor in changed.items() if not torch.equal(tensor, before[name].float())}
    assert moved
    assert all(name.startswith("motion.keypoints.") for name in moved)


def test_anchors_are_places_of_the_face() -> None:
    sup = torch.rand(3, 33, 2)
    places = torch.stack([sup[:, list(group)].mean(1) for group in anchoring.ANCHORS], 1)
    assert places.shape == (3, 10, 2)
    assert float(anchoring.anchor_loss(places, sup)) == 0
    assert float(anchoring.anchor_loss(places + 0.1, sup)) == pytest.approx(0.1, abs=1e-6)
    mirrored = {frozenset(SUP_MIRROR[n] for n in group) for group in anchoring.ANCHORS}
    assert mirrored == {frozenset(group) for group in anchoring.ANCHORS}


def test_pruning_keeps_what_carries_most() -> None:
    torch.manual_seed(0)
    full = Size()
    large, same = (build_network(DEFAULT).generator.eval() for _ in range(2))
    small = build_network("tiny").generator.eval()
    same.load_state_dict(large.state_dict())
    for layer in (same.deep, same.up_middle, same.join_middle, same.up_fine, same.join_fine, same.out):
        layer.apply(lambda module: module.reset_parameters() if hasattr(module, "reset_parameters") else None)
    prune(large, same, full)
    assert all(torch.equal(a, b) for a, b in zip(large.parameters(), same.parameters(), strict=True))

    # channels that carry nothing are those that go: the drawing stays
    with torch.no_grad():
        for layer in (large.up_fine.project[1], large.join_fine.project[1]):
            layer.weight[4:8] = layer.bias[4:8] = 0
        prune(large, small, Size(**PRESETS["tiny"].size))
    kept = [n for n in range(full.fine) if not 4 <= n < 8]
    assert torch.equal(small.out.weight, large.out.weight[:, kept])
    assert torch.equal(small.join_fine.project[1].running_var, large.join_fine.project[1].running_var[kept])
