"""`fvc evaluate`: which systems and clips, real bits, tables, what stays when something fails."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Run

import fvc
from fvc.codec import dataset
from fvc.codec.base.cache import Cache
from fvc.codec.base.errors import FvcError, InputError, OutputError, UsageError
from fvc.codec.dataset import ClipFile, find_clips, open_clip, yaw_range
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.codec.options import EncoderOptions
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.presets import baselines, clip_job
from fvc.evaluation.presets.clip_job import ClipJob
from fvc.evaluation.presets.evaluate import evaluate
from fvc.evaluation.presets.figures import markdown, table
from fvc.evaluation.presets.result import GROUPS, LARGE_ROTATIONS, NO_CLIP, NO_FACE, Result
from fvc.evaluation.presets.systems import RATES, ClipRun, default_of, parse_systems
from fvc.models.inference.drawing import DrawRuntime
from fvc.models.presets import DEFAULT
from fvc.models.weights import blends_parts, folder_of

SHARED = Path(__file__).parents[3] / "shared" / "data"
FPS = 5


@pytest.fixture(scope="module")
def data(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip, and a text that calls itself one."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "val").mkdir()
    shutil.copy(clip, folder / "val" / "talk.mp4")
    (folder / "val" / "text.mp4").write_text("this is a text\n" * 40)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out") / "new"


@pytest.fixture(scope="module")
def evaluated(data: Path, cache: Path, out: Path) -> tuple[Result, list[str]]:
    notes: list[str] = []
    result = evaluate(
        [DEFAULT], data, cache=cache, out=out, fps=FPS, every=3, profiles=["sup", "sup+unsup+expr"], note=notes.append
    )
    return result, notes


class TestSystems:
    def test_names(self) -> None:
        plain, sup, paper = parse_systems([DEFAULT, f"{DEFAULT}:sup", f"{DEFAULT}:unsup+jac"])
        assert (plain.name, plain.weights, plain.profile) == (DEFAULT, DEFAULT, Profile.SUP)
        assert (sup.name, sup.profile) == (f"{DEFAULT}:sup", Profile.SUP)
        assert paper.profile == Profile.UNSUP_JAC

    def test_a_trained_baseline_is_exported_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(baselines.platformdirs, "user_cache_path", lambda *_: tmp_path)
        assert {"frontalizer-mobile", "frontalizer-multiscale"} <= set(baselines.trained())
        [system] = parse_systems(["frontalizer-multiscale:sup"])
        assert system.name == "frontalizer-multiscale:sup"
        assert not blends_parts(system.weights)
        manifest = Path(system.weights) / "manifest.json"
        made = manifest.stat().st_mtime_ns
        draw = np.random.default_rng(0)
        pictures = [draw.integers(0, 255, (256, 256, 3)).astype(np.uint8) for _ in range(2)]
        samples = [DrivingSample({"sup": draw.uniform(-0.5, 0.5, (33, 2)).astype(np.float32)}) for _ in range(3)]
        drawn = DrawRuntime(system.weights, pictures, samples[:2])(DrawInputs.still(samples[2]))
        assert drawn.shape == (256, 256, 3)
        assert drawn.std() > 1
        assert parse_systems(["frontalizer-multiscale:sup"]) == [system]
        assert manifest.stat().st_mtime_ns == made

    def test_profiles_are_for_presets_that_name_none(self) -> None:
        systems = parse_systems([DEFAULT, f"{DEFAULT}:unsup+jac"], ["sup", "sup+unsup"])
        assert [s.name.partition(":")[2] for s in systems] == ["sup", "sup+unsup", "unsup+jac"]

    def test_all_that_are_installed(self) -> None:
        assert DEFAULT in [system.name for system in parse_systems([])]

    def test_default(self) -> None:
        assert default_of(parse_systems([f"{DEFAULT}:sup", f"{DEFAULT}:sup+unsup+expr"])) == f"{DEFAULT}:sup"
        assert default_of(parse_systems([f"{DEFAULT}:sup+unsup"])) is None

    def test_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copytree(folder_of(DEFAULT), tmp_path / "mine")
        monkeypatch.chdir(tmp_path)
        for name in ("mine", "./mine", str(tmp_path / "mine")):
            [system] = parse_systems([name], ["sup"])
            assert (system.name, Path(system.weights)) == ("mine:sup", tmp_path / "mine")
            assert blends_parts(system.weights)
        (tmp_path / "mine" / "redrawn.bin").write_bytes(b"damaged")
        with pytest.raises(FvcError, match=r"redrawn\.bin: missing or not what"):
            parse_systems(["mine"])

    @pytest.mark.parametrize(
        ("presets", "fault"),
        [
            (["nonsense"], "preset 'nonsense': not installed"),
            ([f"{DEFAULT}:nonsense"], "profile 'nonsense'"),
            ([f"{DEFAULT}:sup", f"{DEFAULT}:sup"], f"{DEFAULT}:sup: named twice"),
            (["/tmp"], "preset '/tmp': not installed"),
        ],
    )
    def test_refused(self, presets: list[str], fault: str) -> None:
        with pytest.raises(UsageError, match=fault):
            parse_systems(presets)


class TestClips:
    def test_by_name_and_limited(self, data: Path) -> None:
        assert [file.path.name for file in find_clips(data, "val")] == ["talk.mp4", "text.mp4"]
        assert [file.path.name for file in find_clips(data, "val", 1)] == ["talk.mp4"]
        assert find_clips(data, "val", 1)[0].rotation is None

    def test_catalog(self, tmp_path: Path) -> None:
        (tmp_path / "val").mkdir()
        for name in ("a.mp4", "b.MP4", "c.mp4", "notes.txt"):
            (tmp_path / "val" / name).touch()
        rows = ["split,clip,rotation", "val,a.mp4,1", "val,b.MP4,0", "train,c.mp4,1"]
        (tmp_path / "catalog.csv").write_text("\n".join(rows))
        assert [file.rotation for file in find_clips(tmp_path, "val")] == [True, False, None]
        (tmp_path / "catalog.csv").write_text("name\na.mp4\n")
        with pytest.raises(InputError, match=r"catalog\.csv: not a catalog"):
            find_clips(tmp_path, "val")

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such folder"):
            find_clips(tmp_path, "val")
        (tmp_path / "val").mkdir()
        with pytest.raises(InputError, match="no video in it"):
            find_clips(tmp_path, "val")

    def test_yaw_range(self) -> None:
        assert yaw_range(np.linspace(-1, 1, 101)) == pytest.approx(2 * 0.98)


class TestCache:
    def get(self, cache: Cache, name: str = "a") -> tuple[np.ndarray, bool]:
        made = []

        def make() -> np.ndarray:
            made.append(1)
            return np.arange(3)

        def save(value: np.ndarray, path: Path) -> None:
            with open(path, "wb") as file:
                np.save(file, value)

        return cache.get((name,), np.load, make, save), bool(made)

    def test_made_once(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path / "new" / "folder")
        for name, is_made in (("a", True), ("a", False), ("b", True), ("b", False)):
            value, made = self.get(cache, name)
            assert value.tolist() == [0, 1, 2]
            assert made == is_made

    def test_damaged(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path)
        self.get(cache)
        [file] = tmp_path.iterdir()
        file.write_bytes(b"")
        assert self.get(cache)[1]
        assert not self.get(cache)[1]

    def test_no_place_for_it(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        notes: list[str] = []
        cache = Cache(tmp_path / "file", notes.append)
        assert [self.get(cache)[1] for _ in range(2)] == [True, True]
        assert len(notes) == 1
        assert "cannot keep results there" in notes[0]


class TestRun:
    def test_bits_and_sources_are_those_of_encode(
        self, evaluated: tuple[Result, list[str]], data: Path, cache: Path, tmp_path: Path
    ) -> None:
        for row, profile in zip(evaluated[0].rows, ("sup", "sup+unsup+expr"), strict=True):
            quiet: dict[str, Any] = {"audio_bitrate": None, "canvas": False, "overwrite": True}
            sent = fvc.encode(data / "val" / "talk.mp4", tmp_path / "t.fvc", fps=FPS, profile=profile, **quiet)
            assert row["frames"] == sent["frames"]
            assert row["bits_per_frame"] == pytest.approx(sent["motion_bits_per_frame"], abs=0.05)
            assert row["motion_kbps"] == pytest.approx(sent["motion_kbps"], abs=0.001)
            assert row["file_kbps"] == pytest.approx(sent["file_kbps"], abs=0.001)
            assert row["sources_bytes"] == (tmp_path / "t.fvs").stat().st_size
            whole = 8 * ((tmp_path / "t.fvc").stat().st_size + (tmp_path / "t.fvs").stat().st_size) / 1000
            assert row["total_kbps"] == pytest.approx(whole / sent["duration_s"], abs=0.01)
        [system] = parse_systems([f"{DEFAULT}:sup+unsup+expr"])
        with open_clip(ClipFile(data / "val" / "talk.mp4", None), Fraction(FPS), Cache(cache)) as clip:
            run = ClipRun(clip, system)
            assert bytes(run.sources) == (tmp_path / "t.fvs").read_bytes()
            assert SourceSet.parse(bytes(run.sources)).profile == Profile.SUP_UNSUP_EXPR

    def test_as_the_paper_codes(self, data: Path, cache: Path, evaluated: tuple[Result, list[str]]) -> None:
        [system] = parse_systems([DEFAULT])
        with open_clip(ClipFile(data / "val" / "talk.mp4", None), Fraction(FPS), Cache(cache)) as clip:
            run = ClipRun(clip, system, quantizer="paper")
            frames = sum(1 for _ in run.pairs())
        assert frames == evaluated[0].rows[0]["frames"]
        assert run.rates()["bits_per_frame"] > 1.2 * evaluated[0].rows[0]["bits_per_frame"]

    def test_drawn_is_near_the_input(self, evaluated: tuple[Result, list[str]]) -> None:
        for row in evaluated[0].rows:
            assert 0 < row["nme"] < 0.1
            assert row["psnr"] > 15
            assert row["lost"] == row["held"] == 0
            assert row["lpips"] is None

    def test_a_clip_that_fails_is_named_and_survived(self, evaluated: tuple[Result, list[str]]) -> None:
        result, notes = evaluated
        assert len([note for note in notes if "text.mp4" in note and "not a video" in note]) == 1
        report = result.report()
        for system in result.systems:
            assert list(report["systems"][system]["all"]["failed"]) == ["text.mp4"]
            assert report["systems"][system]["all"]["clips"] == 1

    def test_report_files(self, evaluated: tuple[Result, list[str]], out: Path) -> None:
        result, _ = evaluated
        assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
            "clips.png",
            "metrics.png",
            "report.md",
            "results.json",
            "strips/talk.png",
        ]
        text = (out / "report.md").read_text()
        assert "n = 3" in text
        assert "text.mp4: not a video" in text
        stored = json.loads((out / "results.json").read_text())
        assert stored["systems"] == result.report()["systems"]
        assert [row["clip"] for row in stored["clips"]] == ["talk.mp4"] * 2
        strip = cv2.imread(str(out / "strips" / "talk.png"))
        assert strip.shape[1] == 4 * 256  # sources, input, two systems
        assert all(cv2.imread(str(out / name)).std() > 10 for name in ("clips.png", "metrics.png"))

    def test_known_clips_are_not_tracked_again(
        self,
        data: Path,
        cache: Path,
        evaluated: tuple[Result, list[str]],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        """The reference side comes from the cache, and a folder of weights gives what the installed ones do."""

        class Refusing:
            def __init__(self) -> None:
                raise AssertionError("tracked again")

        monkeypatch.setattr(dataset, "FaceTracker", Refusing)
        trackers: list[FaceTracker] = []

        def counted(tracker: str) -> FaceTracker:
            trackers.append(FaceTracker(tracker=tracker))
            return trackers[-1]

        monkeypatch.setattr("fvc.evaluation.metrics.reference.FaceTracker", counted)
        shutil.copytree(folder_of(DEFAULT), tmp_path / DEFAULT)  # by its name it is known that it blends parts
        again = evaluate([f"{tmp_path / DEFAULT}:sup"], data, cache=cache, fps=FPS, every=3, limit=1)
        assert len(trackers) == 1  # of the drawn side
        assert again.default is None
        [row], first = again.rows, evaluated[0].rows[0]
        assert row == {**first, "system": f"{DEFAULT}:sup"}

    def test_nothing_can_be_evaluated(self, tmp_path: Path) -> None:
        (tmp_path / "val").mkdir()
        (tmp_path / "val" / "text.mp4").write_text("this is a text\n" * 40)
        with pytest.raises(InputError, match="none of its 1 clips"):
            evaluate([DEFAULT], tmp_path, cache=tmp_path / "cache", out=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_full_disk_ends_the_run(
        self, data: Path, cache: Path, evaluated: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OutputError("talk.png: cannot be written (No space left on device)")

        monkeypatch.setattr("fvc.evaluation.presets.evaluate.atomic_write", full)
        monkeypatch.setattr(Metrics, "compare", lambda _, pairs, reference: {"nme": float(len(list(pairs)))})
        with pytest.raises(OutputError, match="No space left"):
            evaluate([DEFAULT], data, cache=cache, fps=FPS, every=3, out=tmp_path)

    def test_out_is_a_file(self, data: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="file: not a folder"):
            evaluate([DEFAULT], data, out=tmp_path / "file", cache=tmp_path / "cache")


def row(system: str, rotation: bool, **values: float | None) -> dict[str, Any]:
    return {"clip": "x", "system": system, "rotation": rotation, "yaw_range": 0.3, "turn": 0.4, "frames": 9, **values}


class TestJobs:
    """Several clips at a time, and runs that go on where they were stopped."""

    def test_a_finished_clip_is_not_run_again(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        systems, options = parse_systems([DEFAULT]), EncoderOptions(fps=FPS)
        job = ClipJob(ClipFile(data / "val" / "talk.mp4", None), tuple(systems), options, None, 9, tmp_path, True)
        first = clip_job.evaluate_clip(job)
        assert [row["clip"] for row in first.rows] == ["talk.mp4"]
        monkeypatch.setattr(clip_job, "_evaluate", lambda *_: pytest.fail("run again"))
        assert clip_job.evaluate_clip(job) == first
        other = replace(job, min_turn=1.5)
        with pytest.raises(pytest.fail.Exception, match="run again"):
            clip_job.evaluate_clip(other)

    def test_clips_that_turn_too_little_are_left_out(self, data: Path, cache: Path) -> None:
        file = ClipFile(data / "val" / "talk.mp4", None)
        options = EncoderOptions(fps=FPS)
        found = clip_job.evaluate_clip(ClipJob(file, (), options, None, 9, cache, min_turn=3.0))
        assert not found.rows
        assert "rad only; left out" in found.notes[0]

    @pytest.mark.parametrize("backend", ["process", "ray"])
    @pytest.mark.filterwarnings("ignore")  # Ray's own
    def test_many_at_a_time_are_what_one_by_one_is(
        self, backend: str, data: Path, cache: Path, evaluated: tuple[Result, list[str]], tmp_path: Path
    ) -> None:
        if backend == "ray" and importlib.util.find_spec("ray") is None:
            pytest.skip("needs ray: pip install 'fvc[ray]'")
        notes: list[str] = []
        systems = evaluated[0].systems
        again = evaluate(systems, data, cache=cache, fps=FPS, every=3, jobs=2, backend=backend, note=notes.append)
        first = [row for row in evaluated[0].rows if row["clip"] == "talk.mp4"]
        assert again.rows == first
        assert again.failed == evaluated[0].failed
        assert len(notes) == 1

    def test_options(self, data: Path) -> None:
        for options, fault in (({"backend": "spark"}, "backend"), ({"jobs": 0}, "jobs"), ({"half": "third"}, "half")):
            with pytest.raises(UsageError, match=fault):
                evaluate([DEFAULT], data, **options)  # type: ignore[arg-type]


class TestTables:
    @pytest.fixture
    def result(self) -> Result:
        settings = {"split": "val", "clips": 4, "fps": 15.0, "every": 5, "version": "0"}
        values = ("nme", "csim", "pose_deg", *RATES)
        rates = dict.fromkeys(RATES, 1.0)
        rows = [
            row("a", True, nme=0.1, csim=None, pose_deg=None, **rates),
            row("a", True, nme=0.2, csim=None, pose_deg=None, **rates),
            row("a", False, nme=0.6, csim=None, pose_deg=3.0, **rates),
            row("b", True, nme=0.5, csim=None, pose_deg=2.0, **rates),
        ]
        return Result(["a", "b"], values, "a", {"csim": "no such network"}, settings, rows)

    def test_means_and_standard_errors(self, result: Result) -> None:
        turning = result.group("a", "rotations")
        assert turning["nme"] == pytest.approx(0.15)
        assert turning["standard_error"]["nme"] == pytest.approx(0.05)  # sd 0.0707 over the root of 2
        assert turning["clips"] == 2
        assert result.group("a", "all")["nme"] == pytest.approx(0.3)
        assert result.group("a", "frontal")["nme"] == pytest.approx(0.6)
        assert result.group("a", "frontal")["standard_error"]["nme"] is None  # one clip has none

    def test_large_rotations_are_shown_where_there_are_some(self, result: Result) -> None:
        assert "Large rotations" not in markdown(result)
        assert result.group("a", LARGE_ROTATIONS)["clips"] == 0
        result.rows[1]["turn"] = 1.6
        assert "## Large rotations (clips that turn by more than 1.5 rad)" in markdown(result)
        assert result.group("a", LARGE_ROTATIONS)["nme"] == pytest.approx(0.2)

    def test_missing_is_null_with_a_reason(self, result: Result) -> None:
        turning, nothing = result.group("a", "rotations"), result.group("b", "frontal")
        assert turning["csim"] is turning["pose_deg"] is nothing["nme"] is None
        assert turning["missing"] == {"csim": "no such network", "pose_deg": NO_FACE}
        assert nothing["missing"]["nme"] == NO_CLIP
        assert nothing["clips"] == 0

    def test_report_is_strict_json(self, result: Result) -> None:
        result.rows[0]["nme"] = 1 / 3
        text = json.dumps(result.report(), allow_nan=False)
        report = json.loads(text)
        assert set(report) == {"systems", "default"}
        assert set(report["systems"]["a"]) == set(GROUPS)
        assert math.isclose(report["systems"]["a"]["all"]["nme"], (1 / 3 + 0.2 + 0.6) / 3, rel_tol=1e-5)

    def test_table(self, result: Result) -> None:
        lines = table(result, "rotations", ("nme", "csim")).split("\n")
        assert lines[0] == "| system | clips | nme ↓ | csim ↑ |"
        assert lines[2:] == ["| a | 2 | 0.1500 ± 0.0500 | missing |", "| b | 1 | 0.5000 | missing |"]

    def test_markdown_says_what_is_missing(self, result: Result) -> None:
        text = markdown(replace(result, failed={"b": {"x.mp4": "was cut off"}}))
        assert "- `csim`: no such network." in text
        assert "- b, x.mp4: was cut off" in text


class TestCommand:
    def test_json(self, data: Path, cache: Path, run: Run) -> None:
        result = run(
            "evaluate", f"{DEFAULT}:sup", "--data", data, "--cache", cache, "--fps", FPS, "--every", 3, "--json"
        )
        assert result.code == 0
        assert result.err.startswith("note: ")
        assert "text.mp4: not a video" in result.err
        assert result.err.count("\n") == 1
        report = json.loads(result.out)
        assert set(report) == {"systems", "default"}
        assert report["default"] == f"{DEFAULT}:sup"
        frontal = report["systems"][f"{DEFAULT}:sup"]["frontal"]
        assert frontal["clips"] == 1
        assert frontal["lpips"] is None
        assert "no folder of networks" in frontal["missing"]["lpips"]
        assert {"lpips", "nme", "csim", "expr", "flicker", "psnr", "ssim", "bits_per_frame"} <= set(frontal)

    def test_text(self, data: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        found = Result(["a"], ("nme", "csim", "bits_per_frame"), "a", {"csim": "no such network"}, {})
        found.rows = [row("a", True, nme=0.1, csim=None, bits_per_frame=99.0)]
        told: dict[str, Any] = {}

        def stand_in(presets: list[str], folder: Path, **options: object) -> Result:
            told.update(options, presets=presets, folder=folder)
            return found

        monkeypatch.setattr("fvc.evaluation.presets.evaluate.evaluate", stand_in)
        result = run("evaluate", "a", "--data", data, "--profiles", "sup,sup+unsup", "--limit", 2)
        assert (result.code, result.err) == (0, "")
        assert "Rotations (clips that turn):\n| system | clips | nme ↓ | csim ↑ | bits_per_frame |" in result.out
        assert "| a | 1 | 0.1000 | missing | 99.0 |" in result.out
        assert result.out.endswith("missing: csim (no such network)\n")
        assert (told["presets"], told["folder"], told["profiles"]) == (["a"], data, ["sup", "sup+unsup"])
        assert (told["limit"], told["every"], told["split"], told["out"]) == (2, 5, "val", None)

    @pytest.mark.parametrize(
        ("arguments", "code", "fault"),
        [
            (["--data", "DATA", "--split", "test"], 3, "test: no such folder"),
            (["nonsense", "--data", "DATA"], 2, "preset 'nonsense'"),
            (["--data", "DATA", "--profiles", "sup,all"], 2, "--profiles all"),
            (["--data", "DATA", "--metric-weights", "DATA/none"], 3, "no such folder of networks"),
            (["--data", "DATA", "--fps", "0"], 2, "--fps 0"),
            (["--data", "DATA", "--quantizer", "fine"], 2, "--quantizer fine"),
        ],
    )
    def test_refused(self, arguments: list[str], code: int, fault: str, data: Path, run: Run) -> None:
        result = run("evaluate", *(argument.replace("DATA", str(data)) for argument in arguments))
        assert (result.code, result.out) == (code, "")
        assert result.err.count("\n") == 1
        assert fault in result.err

    def test_the_extra_is_named(self, data: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)
        result = run("evaluate", "--data", data, "--metric-weights", data)
        assert result.code == 1
        assert "torch is not installed; pip install 'fvc[measure]'" in result.err


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data, which only developers have")
def test_real_clips(tmp_path: Path, cache: Path) -> None:
    """One clip that turns and one that does not, two seconds of each, with every network."""
    (tmp_path / "val").mkdir()
    shutil.copy(SHARED / "catalog.csv", tmp_path)
    for name in ("p137-0.mp4", "p097-1.mp4"):
        (tmp_path / "val" / name).symlink_to(SHARED / "val" / name)
    result = evaluate([DEFAULT], tmp_path, metric_weights=SHARED / "weights", cache=cache, fps=5, every=5)
    groups = result.report()["systems"][DEFAULT]
    assert [groups[name]["clips"] for name in ("rotations", "frontal", "all")] == [1, 1, 2]
    assert all(groups[name]["missing"] == {} for name in ("rotations", "frontal", "all"))
    assert 0.01 < groups["all"]["lpips"] < 0.25
    assert groups["all"]["csim"] > 0.6
    assert groups["all"]["expr"] > 0.9
    assert result.default == DEFAULT
