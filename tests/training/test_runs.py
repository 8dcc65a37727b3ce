"""Training runs: schedules, checkpoints, several processes, a bare machine, the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run as Command
from safetensors.numpy import load_file

from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.models.model import build_network
from fvc.models.presets import DEFAULT
from fvc.training.data.pack import Pack
from fvc.training.generator.checkpoint import load_checkpoint, save_checkpoint, write_portable
from fvc.training.generator.engine import Engine
from fvc.training.generator.loop import train
from fvc.training.generator.losses import (
    load_perceptual,
)
from fvc.training.generator.recipe import Recipe, paper_recipe
from fvc.training.generator.run import console
from fvc.training.generator.session import RunOptions, TrainingRun, rate_at


def test_schedules() -> None:
    ours = Recipe(DEFAULT, 100)
    assert rate_at(ours, 0, 0) == pytest.approx(1e-3 / 50)
    assert rate_at(ours, 1000, 50) == pytest.approx(0.5e-3)
    assert rate_at(ours, 1000, 100) == pytest.approx(2e-5)
    paper = paper_recipe(DEFAULT, 100)
    rates = [rate_at(paper, step, 0) for step in (0, 59_999, 60_000, 90_000)]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-5, 2e-6])
    assert rate_at(paper_recipe("fom", 100), 100_000, 0) == 2e-4  # fine-tuning with an adversary begins
    assert rate_at(paper_recipe("frontalizer-mobile-spade", 100), 300_000, 0) == 2e-4


def run_options(pack_path: Path, perceptual: Path, folder: Path, **options: Any) -> RunOptions:
    return RunOptions(pack_path, perceptual, folder, SUP, SUP_MIRROR, device="cpu", calibration=1, **options)


def test_training_goes_on_where_it_stopped(pack_path: Path, perceptual: Path, tmp_path: Path) -> None:
    """Two steps in one go and with a stop between them are the same steps; everything that learns is remembered."""
    recipe = Recipe(DEFAULT, 1e9, batch=1, adversarial_after=0.0, coarse=2).reweighted(["temporal=2"])
    states = []
    for name, stops in (("straight", [2]), ("stopped", [1, 2])):
        for stop in stops:
            weights = train(recipe, run_options(pack_path, perceptual, tmp_path / name, stop_at=stop))
        states.append(torch.load(tmp_path / name / "last.pt", weights_only=True))
        assert all(np.isfinite(tensor).all() for tensor in load_file(weights).values())
    assert states[0]["step"] == states[1]["step"] == 2
    for part in ("network", "discriminator"):
        for name, tensor in states[0][part].items():
            assert torch.allclose(tensor.float(), states[1][part][name].float(), atol=1e-6), name


def test_checkpoints_of_the_first_version_go_on(pack_path: Path, perceptual: Path, tmp_path: Path) -> None:
    """AdamW without `fused`, no discriminator, no restorer: what the first runs wrote."""
    network = build_network(DEFAULT, torch.zeros(33, 2))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-3, (0.5, 0.99), weight_decay=1e-3)
    for parameter in trained:
        parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step()
    weights = {name: t for name, t in network.state_dict().items() if not name.startswith("restorer.")}
    state = {"network": weights, "average": weights, "optimizer": optimizer.state_dict()}
    torch.save({**state, "step": 41, "seconds": 120.0}, tmp_path / "last.pt")
    run = TrainingRun(
        Recipe(DEFAULT, 90, batch=1, adversarial_after=0.0),
        run_options(pack_path, perceptual, tmp_path),
        Engine("cpu"),
        Pack(pack_path, SUP),
        (load_perceptual(perceptual, "cpu"), None),
    )
    assert (run.step, run.seconds) == (41, 120.0)
    changing = [parameter for parameter in run.network.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in changing]
    moments = next(iter(run.optimizer.state.values()))
    assert float(moments["step"]) == 1
    for parameter in changing:
        parameter.grad = torch.full_like(parameter, float("nan"))
    run.update(run.optimizer, run.network, 1e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, changing, strict=True))
    assert float(moments["step"]) == 1
    for parameter in changing:
        parameter.grad = torch.full_like(parameter, 0.1)
    run.update(run.optimizer, run.network, 1e-3)
    assert not any(torch.equal(a, b) for a, b in zip(before, changing, strict=True))
    run.batches.close()


def test_a_portable_checkpoint_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvc.training.generator.checkpoint.PIECE_BYTES", 10_000)
    values = torch.randn(50, 50)
    moments = {"state": {0: {"exp_avg_sq": values.square() * 1e-12, "step": torch.tensor(3.0)}}, "param_groups": []}
    state = {"network": {"a": values}, "average": {"a": values}, "optimizer": moments, "step": 3, "seconds": 1.5}
    save_checkpoint(state, tmp_path)
    pieces = write_portable(tmp_path)
    assert len(pieces) > 1
    assert max(piece.stat().st_size for piece in pieces) <= 10_000
    (tmp_path / "last.pt").unlink()
    back = load_checkpoint(tmp_path, "cpu")
    assert back is not None
    assert torch.equal(back["network"]["a"], values)
    assert torch.allclose(back["average"]["a"], values, rtol=1e-3, atol=1e-3)
    squares = back["optimizer"]["state"][0]["exp_avg_sq"]
    assert torch.allclose(squares, values.square() * 1e-12, rtol=1e-2)
    assert float(back["optimizer"]["state"][0]["step"]) == 3
    assert (back["step"], back["seconds"]) == (3, 1.5)
    pieces[0].unlink()
    with pytest.raises(ValueError, match="pieces"):
        load_checkpoint(tmp_path, "cpu")
    assert load_checkpoint(tmp_path / "none", "cpu") is None


@pytest.mark.filterwarnings("ignore")  # of tensorboard's dependencies
def test_the_papers_recipe_trains_and_is_validated(pack_path: Path, perceptual: Path, tmp_path: Path) -> None:
    recipe = replace(paper_recipe("frontalizer-mobile", 1e9), batch=1, scales=(1, 2))
    board = importlib.util.find_spec("tensorboard") is not None
    options = {"val": pack_path, "stop_at": 1, "validate_every": 1, "log_every": 1, "tensorboard": board}
    train(recipe, run_options(pack_path, perceptual, tmp_path / "run", **options))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("val_lpips", 0) > 0] == [1, 1]
    terms = next(line for line in lines if "adversarial" in line)
    assert {"relative", "equivariance", "matching", "discriminator"} <= set(terms)
    assert (tmp_path / "run" / "strip.png").stat().st_size > 10_000
    assert bool(list((tmp_path / "run").glob("tensorboard/events*"))) == board


WORKER = """
import sys, torch
from pathlib import Path
from dataclasses import replace
from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.training.generator.engine import Engine
from fvc.training.generator.losses import load_perceptual
from fvc.training.generator.recipe import Recipe
from fvc.training.generator.session import RunOptions, TrainingRun
from fvc.training.data.pack import Pack
torch.set_num_threads(1)
pack, perceptual, folder, batch = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
with Engine.start("cpu") as engine:
    recipe = Recipe("composed", 1e9, batch=batch)
    options = RunOptions(pack, perceptual, folder, SUP, SUP_MIRROR)
    run = TrainingRun(recipe, options, engine, Pack(pack, SUP), (load_perceptual(perceptual, "cpu"), None))
    for norm in run.network.modules():  # each process has its own statistics: compare without them
        norm.train(not isinstance(norm, torch.nn.modules.batchnorm._BatchNorm))
    loss, _, _ = run.wrapped_step(run.batch(0, 2), {"sup", "unsup"})
    loss.backward()
    grads = {n: p.grad.clone() for n, p in run.network.named_parameters() if p.grad is not None}
    torch.save(grads, folder / f"grad{engine.rank}of{engine.size}.pt")
    if engine.size > 1:
        run.one_step()
        torch.save(dict(run.network.named_parameters()), folder / f"weights{engine.rank}.pt")
    run.batches.close()
"""


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def test_two_processes_are_one_with_twice_the_batch(pack_path: Path, perceptual: Path, tmp_path: Path) -> None:
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000), "WORLD_SIZE": "2"}
    jobs = [(1, _environment(**address, RANK=str(rank))) for rank in range(2)] + [(2, _environment())]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(pack_path), str(perceptual), str(tmp_path), str(batch)], env=env
        )
        for batch, env in jobs
    ]
    assert [process.wait(300) for process in started] == [0, 0, 0]
    alone, shared = (torch.load(tmp_path / f"grad0of{n}.pt", weights_only=True) for n in (1, 2))
    largest = max(float(g.abs().max()) for g in alone.values())
    assert largest > 0.01
    for name, gradient in alone.items():
        assert torch.allclose(gradient, shared[name], rtol=1e-3, atol=1e-5 * largest), name
    first, second = (torch.load(tmp_path / f"weights{rank}.pt", weights_only=True) for rank in range(2))
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


BLOCKED = ("mediapipe", "av", "typer", "rich", "openvino", "constriction", "tensorboard")


BARE = f"""
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_bare_machine_is_enough(pack_path: Path, perceptual: Path, tmp_path: Path) -> None:
    """No fvc on the path, no tracker, no video, no typer: the GPU's way of loading, here on the CPU, for a segment."""
    script = Path(__file__).parents[2] / "training" / "bare.py"
    arguments = ["composed", "--data", pack_path, "--perceptual", perceptual, "--run", tmp_path / "run", "--steps", 1]
    arguments += ["--batch", 1, "--resident", "--segment", 5, "--portable", "--device", "cpu"]
    environment = _environment()
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(script), *map(str, arguments)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"last.pt", "weights.safetensors", "log.jsonl", "portable-1of2.pt", "portable-2of2.pt"} <= names
    assert all(path.stat().st_size < 16 << 20 for path in (tmp_path / "run").glob("portable*"))


def test_a_device_that_is_not_there_is_said_in_one_line(
    run: Command, pack_path: Path, perceptual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    needed = ["--data", pack_path, "--perceptual", perceptual, "--run", tmp_path / "run", "--minutes", 1]
    result = run("train", "composed", *needed, "--device", "cuda")
    assert result.code == 2
    assert result.err == "fvc: --device cuda: torch finds no CUDA GPU on this machine; train on the cpu\n"
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr("sys.argv", ["train", "composed", *map(str, needed), "--device", "cuda"])
    assert console() == 2  # training/bare.py


def test_command_line(run: Command, pack_path: Path, perceptual: Path, tmp_path: Path) -> None:
    needed = ["--data", pack_path, "--perceptual", perceptual, "--run", tmp_path / "run"]
    for arguments, code, text in (
        (["magic", *needed], 2, "preset 'magic' is unknown"),
        (["composed"], 2, "--data"),
        (["composed", *needed, "--data", tmp_path / "none"], 3, "no such file"),
        (["composed", *needed, "--data", perceptual / "load_lpips_squeeze.py"], 3, "not a training pack"),
        (["composed", *needed, "--perceptual", tmp_path], 3, "load_lpips_squeeze.py"),
        (["composed", *needed, "--weight", "beauty=3"], 2, "weight beauty=3"),
        (["composed", *needed, "--weight", "lpips=much"], 2, "NAME=NUMBER"),
        (["composed", *needed, "--sampling", "five"], 2, "five"),
        (["composed", *needed, "--minutes", "-1"], 2, "positive"),
        (["composed", *needed, "--width", "0.5"], 2, "only dense presets"),
        (["fom@0.5", *needed, "--width", "0.5"], 2, "has a width already"),
        (["fom-fau", *needed], 2, "needs --landmarker"),
        (["frontalizer", *needed, "--paper"], 2, "--paper needs --landmarker"),
        (["composed", *needed, "--frobnicate"], 2, "--frobnicate"),
    ):
        result = run("train", *arguments)
        assert result.code == code, (arguments, result)
        assert text in result.err
        assert result.err.count("\n") == 1, result.err
    shown = run("train", "--help")
    assert shown.code == 0
    assert "--adversarial-after" in shown.out


def test_training_time_is_work_not_waiting() -> None:
    engine = Engine("cpu")
    start = engine.work_seconds()
    time.sleep(0.3)
    waited = engine.work_seconds() - start
    began = time.process_time()
    while time.process_time() - began < 0.3:
        torch.rand(100, 100) @ torch.rand(100, 100)
    assert waited < 0.2
    assert engine.work_seconds() - start - waited > 0.25 / torch.get_num_threads()
