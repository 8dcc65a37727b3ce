"""`fvc bench` and `fvc live`: that they measure what they say, on small things whose numbers are known."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import av
import numpy as np
import openvino
import pytest
import torch
from conftest import Run
from openvino import opset13 as ops

from fvc.calls.capture import file_frames
from fvc.calls.loopback import live
from fvc.codec.base.errors import InputError, UsageError
from fvc.evaluation.speed.bench import lines
from fvc.evaluation.speed.dense_first_order import DenseFirstOrder, example
from fvc.evaluation.speed.roofline import bytes_moved, distance, machine_peak, multiply_adds
from fvc.evaluation.speed.stages import RECEIVER, SENDER, Stage, StageTimes


def test_multiply_adds_and_bytes_of_a_small_network() -> None:
    """3x3 convolution 2 -> 5 channels at 8x8, depthwise 3x3, and a product [4, 6] x [6, 7]."""
    picture = ops.parameter([1, 2, 8, 8], np.float32)
    same = dict(strides=[1, 1], pads_begin=[1, 1], pads_end=[1, 1], dilations=[1, 1])
    wide = ops.convolution(picture, np.ones((5, 2, 3, 3), np.float32), **same)
    deep = ops.group_convolution(wide, np.ones((5, 1, 1, 3, 3), np.float32), **same)
    left = ops.parameter([4, 6], np.float32)
    product = ops.matmul(left, ops.constant(np.ones((6, 7), np.float32)), False, False)
    model = openvino.Model([deep, product], [picture, left], "small")
    assert multiply_adds(model) == 5 * 64 * 18 + 5 * 64 * 9 + 4 * 7 * 6
    moved = bytes_moved(openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}))
    least = 4 * (2 * 64 + 5 * 64 + 4 * 6 + 6 * 7 + 4 * 7)  # inputs, weights of the product, outputs
    assert least < moved < 10 * least


def test_the_distance_to_the_limit() -> None:
    found = distance(2_000_000_000, 300_000_000, 40.0, {"gmacs": 100.0, "gb_s": 10.0})
    assert (found["compute_limit_ms"], found["memory_limit_ms"], found["share_of_limit"]) == (20.0, 30.0, 0.75)


def test_the_machine_does_something() -> None:
    peak = machine_peak(0.05)
    assert 0.1 < peak["gmacs"] < 1e5
    assert 0.1 < peak["gb_s"] < 1e4


def test_the_dense_first_order_model_has_its_published_size() -> None:
    """Counted by hand from the authors' vox-256 settings: weights of all convolutions with their biases."""

    def conv(inputs: int, outputs: int, kernel: int) -> int:
        return inputs * outputs * kernel**2 + outputs

    down = [(44, 128), (128, 256), (256, 512), (512, 1024), (1024, 1024)]
    up = [(1024, 1024), (2048, 512), (1024, 256), (512, 128), (256, 64)]
    heads = conv(108, 11, 7) + conv(108, 1, 7)
    rest = 12 * conv(256, 256, 3) + conv(256, 128, 3) + conv(128, 64, 3) + conv(64, 3, 7)
    wanted = sum(conv(*pair, 3) for pair in down + up) + heads + rest
    network = DenseFirstOrder().eval()
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert sum(p.numel() for m in convolutions for p in m.parameters()) == wanted
    with torch.no_grad():
        picture = network(*example())
    assert picture.shape == (1, 3, 256, 256)
    assert picture.std() > 0


def test_stages_count_each_item() -> None:
    stage = Stage()
    assert stage.each(range(5)) == list(range(5))
    assert len(stage.wall) == 5
    assert stage(lambda a, b: a + b, 2, 3) == 5
    assert len(stage.wall) == 6
    assert stage.report()["p95_ms"] >= stage.report()["ms"] >= 0


def test_held_frames_are_not_drawn_and_count_as_such() -> None:
    stages = {name: Stage() for name in (*SENDER, *RECEIVER)}
    for name, stage in stages.items():
        for _ in range(2 if name == "draw" else 3):
            stage(lambda: None)
    blank = np.zeros((256, 256, 3), np.uint8)
    sender, receiver = StageTimes(stages, [blank] * 3, [True, False, True]).of_both_ends()
    assert sender.shape == receiver.shape == (3,)
    assert receiver[1] == stages["decode"].wall[1]


def test_bench_as_json_and_text(clip: Path, run: Run) -> None:
    result = run("bench", clip, "--fps", "10", "--quick", "--json")
    assert result.code == 0
    report = json.loads(result.out)
    for end in ("encode", "decode"):
        assert report[end]["fps"] > report[end]["whole_process_fps"] > 0.1
    assert report["decode"]["p95_ms"] >= report["stages"]["draw"]["ms"]
    assert report["encode"]["p95_ms"] >= report["stages"]["track"]["ms"]
    assert 0.05 < report["startup_s"] < 120
    assert 50 < report["peak_rss_mb"] < 2000
    assert report["roofline"]["mmacs"] > 10
    assert set(report["stages"]) == {"read", "track", "code", "decode", "draw", "write"}
    text = "\n".join(lines(report))
    for word in ("encode:", "decode:", "start-up:", "roofline:", "latency"):
        assert word in text


def test_a_clip_that_is_none(run: Run) -> None:
    result = run("bench", "missing.mp4", "--quick")
    assert (result.code, result.out) == (1, "")
    assert result.err == "fvc: bench: missing.mp4: no such file\n"


class TestLive:
    def test_a_file_at_its_speed(self, clip: Path, tmp_path: Path) -> None:
        report = live(clip, out=tmp_path / "live.mp4", fps="5", seconds=1, enrol_seconds=0.6)
        assert not [t.name for t in threading.enumerate() if t.name.startswith("fvc-")]
        assert report["frames"] >= 1  # a busy machine leaves frames out, but keeps time
        assert 0 < report["delay_ms_median"] <= report["delay_ms_p95"]
        with av.open(str(tmp_path / "live.mp4")) as file:
            assert sum(1 for _ in file.decode(video=0)) == report["frames"]

    def test_a_loop_has_no_gaps(self, clip: Path) -> None:
        frames = file_frames(clip, 2, loop=True)
        assert [next(frames).index for _ in range(15)] == list(range(15))
        frames.close()

    def test_refused(self, clip: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="name one"):
            live(clip, camera=0, out=tmp_path / "x.mp4")
        with pytest.raises(UsageError, match="--out FILE"):
            live(clip)
        with pytest.raises(InputError, match="camera 77: cannot be opened"):
            live(camera=77, out=tmp_path / "x.mp4")
        assert not list(tmp_path.iterdir())
