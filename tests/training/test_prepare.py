"""Videos -> pack: tubes, choice of frames, parts and shards, merging, who is who."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, write_clip
from fake_pack import clip, write

from fvc.codec import layouts
from fvc.codec.base.errors import InputError, OptionError, UsageError
from fvc.codec.dataset import half_of
from fvc.codec.face.landmarks import SUP
from fvc.codec.media.video import Frame
from fvc.training.data import prepare as preparing
from fvc.training.data import reading
from fvc.training.data.pack import Pack
from fvc.training.data.prepare import find_jobs, merge_packs, prepare
from fvc.training.data.reading import Clips, Job, PrepareOptions, rank_frames, read_video
from fvc.training.data.tubes import FaceDetector, find_tubes, follow, overlap

GREY = np.full((32, 32), 0.5, np.float32)
BOX = np.array([10.0, 10, 50, 50])


def _ticks(boxes: Sequence[Sequence[np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array(b, float).reshape(-1, 4), GREY) for b in boxes]


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2])) == pytest.approx(1 / 3)
    assert overlap(np.array([0.0, 0, 1, 1]), np.array([2.0, 0, 3, 1])) == 0


def test_a_track_bridges_short_gaps_and_ends_with_long_ones() -> None:
    tracks, ended = follow(_ticks([[BOX]] * 5 + [[]] * 3 + [[BOX]] * 5 + [[]] * 6 + [[BOX]] * 2))
    assert [(t.first, t.last) for t in tracks] == [(0, 13), (19, 21)]
    assert ended == {"face lost": 1, "end of video": 1}


def test_a_scene_cut_ends_all_tracks() -> None:
    frames = _ticks([[BOX]] * 8)
    frames[5:] = [(boxes, thumbnail + 0.3) for boxes, thumbnail in frames[5:]]
    tracks, ended = follow(frames)
    assert [(t.first, t.last) for t in tracks] == [(0, 5), (5, 8)]
    assert ended["scene cut"] == 1


def test_a_walk_is_cut_so_that_the_face_stays_large_in_its_box() -> None:
    tracks, ended = follow(_ticks([[BOX + np.array([8 * n, 0, 8 * n, 0])] for n in range(20)]))
    assert ended["face wanders"] >= 2
    for track in tracks:
        boxes = np.array(track.boxes)
        assert boxes[:, 2].max() - boxes[:, 0].min() <= 2 * 40
    assert sum(len(t.boxes) for t in tracks) == 20


def test_two_faces_are_two_tracks() -> None:
    other = BOX + 100
    tracks, _ = follow(_ticks([[BOX, other], [other, BOX], [BOX, other]]))
    assert sorted((t.first, t.last, t.boxes[-1][0]) for t in tracks) == [(0, 3, 10), (0, 3, 110)]


def test_ranking_takes_the_most_different_frames_first_and_some_successors() -> None:
    features = np.stack([np.linspace(-3, 3, 61), np.zeros(61)], 1)
    rank = rank_frames(features, 20)
    assert len(set(rank)) == 20
    assert rank[0] == 30
    assert {0, 60} <= set(rank[:4])
    assert sum(b == a + 1 for a, b in itertools.pairwise(rank)) >= 3
    assert sorted(rank_frames(features[:5], 20)) == [0, 1, 2, 3, 4]


def test_a_video_with_two_faces_a_cut_and_a_blank_becomes_three_tubes(faces: list[np.ndarray], tmp_path: Path) -> None:
    one = [faces[0][::2, ::2], faces[1][::2, ::2]]  # 240 x 240
    empty = np.full((240, 240, 3), 250, np.uint8)
    pair = [np.hstack([f, one[0][:, ::-1]]) for f in one]
    single = [np.hstack([empty, f]) for f in one]
    video = write_clip(tmp_path / "v.mp4", pair * 6 + [np.hstack([empty, empty])] * 6 + single * 6, fps=10)
    clips, counts = read_video((video, "v.mp4", "ann", PrepareOptions(frames=6, min_frames=8, min_side=64)))
    assert [(c.name, c.identity) for c in clips] == [("v.mp4#0", "ann"), ("v.mp4#1", "ann/face1"), ("v.mp4#2", "ann")]
    assert counts["videos with several faces at once"] == 1
    assert counts["tubes"] == 3
    for c in clips:
        assert len(c.pictures) == len(c.yaw) == 6
        assert np.abs(c.landmarks).max() < 1
        assert sorted(c.rank) == list(range(6))
        assert (np.diff(c.time) > 0).all()
    strict = read_video((video, "v.mp4", "", PrepareOptions(min_frames=90)))
    assert strict[0] == []
    assert strict[1]["videos dropped: no tube"] == 1


def test_a_tube_has_a_least_and_a_most_length() -> None:
    """One face in ten frames."""
    frames = [Frame(np.zeros((64, 64, 3), np.uint8), n) for n in range(10)]

    class Detector(FaceDetector):
        def __init__(self) -> None:
            """Without a network."""

        def __call__(self, rgb: np.ndarray) -> np.ndarray:
            return BOX[None]

    for limits, why in (((11, 20), "short"), ((10, 10), ""), ((5, 9), "long")):
        tubes, counts = find_tubes(frames, Detector(), 64, 64, limits[0], 16, limits[1])
        assert [(tube.first, tube.last) for tube in tubes] == ([] if why else [(0, 10)])
        assert counts[f"tubes dropped: too {why}"] == bool(why)


def test_a_damaged_video_is_counted_and_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"no video")
    clips, counts = read_video((tmp_path / "x.mp4", "x.mp4", "", PrepareOptions()))
    assert clips == []
    assert counts["videos dropped: unreadable"] == 1


def test_who_is_who(tmp_path: Path) -> None:
    for name in ("id1/a/1.mp4", "id1/b/2.MKV", "id2/3.mp4", "4.mp4", "note.txt"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / name).touch()
    found = {job[1]: job[2] for job in find_jobs(tmp_path / "v", PrepareOptions())}
    assert found == {"4.mp4": "", "id1/a/1.mp4": "id1", "id1/b/2.MKV": "id1", "id2/3.mp4": "id2"}
    assert {job[2] for job in find_jobs(tmp_path / "v", PrepareOptions(), "tube")} == {""}
    with (tmp_path / "catalog.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "identity"), ("3.mp4", "carl"), ("4.mp4", "dora")])
    found = {job[1]: job[2] for job in find_jobs(tmp_path / "v", PrepareOptions())}
    assert found == {"4.mp4": "dora", "id1/a/1.mp4": "id1", "id1/b/2.MKV": "id1", "id2/3.mp4": "carl"}
    assert {job[2] for job in find_jobs(tmp_path / "v", PrepareOptions(), "folder")} == {"", "id1", "id2"}


def _fake_work(job: Job) -> Clips:
    """Stands for `read_video`: one clip per video, without looking at it. Importable, so that workers can run it."""
    turn = len(job[1]) / 10
    return [clip(job[1], job[2] or job[1], np.linspace(-turn, turn, 12))], {"videos": 1, "tubes": 1}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for n in range(5):
        (folder / f"{'v' * (n + 1)}.mp4").write_bytes(bytes(n))
    return folder


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in this process."""

    def run(jobs: Sequence[Job], work: Callable[[Job], Clips], *_: object) -> Iterator[tuple[Job, Clips]]:
        yield from ((job, work(job)) for job in jobs)

    monkeypatch.setitem(preparing.BACKENDS, "process", run)


@pytest.mark.usefixtures("serial")
def test_a_stopped_run_goes_on_and_reads_no_video_twice(videos: Path, tmp_path: Path) -> None:
    read: list[str] = []

    def work(job: Job) -> Clips:
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(job[1])
        return _fake_work(job)

    with pytest.raises(KeyboardInterrupt):
        prepare(videos, tmp_path / "a.pack", work=work)
    assert not (tmp_path / "a.pack").exists()
    before, read[:] = list(read), []
    report = prepare(videos, tmp_path / "a.pack", work=work)
    assert (len(before), len(read)) == (3, 2)
    assert not set(before) & set(read)
    assert report["videos"] == report["tubes"] == report["pack: clips"] == 5
    assert json.loads((tmp_path / "a.pack.report.json").read_text()) == report
    assert not (tmp_path / "a.pack.parts").exists()


@pytest.mark.usefixtures("serial")
def test_other_settings_do_not_use_old_parts(videos: Path, tmp_path: Path) -> None:
    read = []

    def work(job: Job) -> Clips:
        read.append(job[1])
        return _fake_work(job)

    for quality in (85, 85, 50):
        prepare(
            videos, tmp_path / "a.pack", PrepareOptions(quality=quality), work=work, keep_parts=True, overwrite=True
        )
    assert len(read) == 10


@pytest.mark.usefixtures("serial")
def test_merged_shards_are_the_whole(videos: Path, tmp_path: Path) -> None:
    whole = prepare(videos, tmp_path / "whole.pack", work=_fake_work)
    shards = [tmp_path / f"{n}.pack" for n in range(2)]
    for n, shard in enumerate(shards):
        prepare(videos, shard, shard=(n, 2), work=_fake_work)
    merged = merge_packs(shards, tmp_path / "merged.pack", 48)
    assert merged == whole
    packs = [Pack(tmp_path / f"{name}.pack", SUP) for name in ("whole", "merged")]
    assert sorted(c.name for c in packs[0].clips) == sorted(c.name for c in packs[1].clips)


def test_merging_caps_people_keeps_the_limit_and_the_best_ranked(tmp_path: Path) -> None:
    clips = [clip(f"p{n}", "busy", np.linspace(-0.1 * n, 0.1 * n, 20)) for n in range(1, 6)]
    a = write(tmp_path / "a.pack", clips, tubes=5)
    b = write(tmp_path / "b.pack", [clip("q", "quiet", np.linspace(-1, 1, 20))], tubes=1)
    report = merge_packs([a, b], tmp_path / "c.pack", 16)
    pack = Pack(tmp_path / "c.pack", SUP)
    assert [len(c.frames) for c in pack.clips] == [8, 8, 16]
    assert [c.name for c in pack.clips] == ["p4", "p5", "q"]  # of the busy one, the clips that turn most
    assert pack.rank[pack.clips[0].frames].tolist() == list(range(8))
    assert report["tubes"] == 6
    assert report["pack: frames"] == 32
    original = Pack(b, SUP)
    assert np.array_equal(pack.image(int(pack.clips[2].frames[3])), original.image(3))
    assert np.allclose(pack.keypoints[pack.clips[2].frames], original.keypoints[:16], atol=1e-6)
    limit = (tmp_path / "c.pack").stat().st_size // 2
    smaller = merge_packs([a, b], tmp_path / "d.pack", 16, limit)
    assert limit * 0.6 < (tmp_path / "d.pack").stat().st_size <= limit + 8000
    assert 4 <= smaller["pack: frames per person at most"] < 16
    with pytest.raises(InputError, match="does not fit"):
        merge_packs([a, b], tmp_path / "e.pack", 16, 1000)
    with pytest.raises(UsageError, match="one of the packs"):
        merge_packs([a, b], b, 16)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'fvc[ray]'")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_does_what_processes_do(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Ray's workers look for modules here first, and ./fvc is not the whole of fvc
    by_ray = prepare(videos, tmp_path / "ray.pack", workers=1, backend="ray", work=_fake_work)
    by_process = prepare(videos, tmp_path / "process.pack", workers=1, work=_fake_work)
    assert by_ray == by_process
    names = [[c.name for c in Pack(tmp_path / f"{n}.pack", SUP).clips] for n in ("ray", "process")]
    assert names[0] == names[1]


def test_command_line(run: Run, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    (folder / "ann").mkdir(parents=True)
    (folder / "ann" / "a.mp4").symlink_to(clip)
    options = ("--fps", 5, "--min-frames", 20, "--workers", 1, "--per-person", 8)
    result = run("prepare", folder, tmp_path / "a.pack", *options)
    assert result.code == 0, result.err
    pack = Pack(tmp_path / "a.pack", SUP)
    assert [(c.name, c.identity, len(c.frames)) for c in pack.clips] == [("ann/a.mp4", "ann", 8)]
    assert pack.image(0).shape == (256, 256, 3)
    assert np.ptp(pack.yaw) > 0.2
    assert run("prepare", "--merge", tmp_path / "a.pack", tmp_path / "b.pack").code == 0
    for arguments, code, text in (
        ((tmp_path / "none", "x.pack"), 3, "no such folder"),
        ((tmp_path, "x.pack", "--shard", "2/2"), 2, "--shard 2/2"),
        ((tmp_path, "x.pack", "--backend", "spark"), 2, "--backend spark"),
        ((folder, tmp_path / "x.pack", "--identity", "who"), 2, "--identity who"),
        ((tmp_path / "a.pack.report.json", tmp_path / "x.pack", "--merge"), 3, "not a training pack"),
        (("--merge", tmp_path / "none.pack", tmp_path / "x.pack"), 3, "no such file"),
        ((tmp_path,), 2, "say DIR and OUT.pack"),
    ):
        result = run("prepare", *arguments)
        assert result.code == code, (arguments, result)
        assert text in result.err
        assert result.err.count("\n") == 1
    assert not (tmp_path / "x.pack").exists()


def test_dfdc_and_voxceleb_as_they_come(tmp_path: Path) -> None:
    """Of DFDC the real videos, each face its own person; of VoxCeleb the person of the folder, at any depth."""
    dfdc, vox = tmp_path / "dfdc", tmp_path / "vox"
    for part in ("dfdc_train_part_0", "dfdc_train_part_1"):
        (dfdc / part).mkdir(parents=True)
        for name in ("aa.mp4", "bb.mp4", "cc.mp4"):
            (dfdc / part / name).touch()
        labels = {"aa.mp4": {"label": "REAL"}, "bb.mp4": {"label": "FAKE", "original": "aa.mp4"}}
        (dfdc / part / "metadata.json").write_text(json.dumps(labels))
    jobs = find_jobs(dfdc, PrepareOptions())
    assert [(name, who) for _, name, who, _ in jobs] == [
        ("dfdc_train_part_0/aa.mp4", ""),
        ("dfdc_train_part_1/aa.mp4", ""),
    ]
    for name in ("dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", "dev/mp4/id00012/x/00002.mp4", "id00015/y/00001.mp4"):
        (vox / name).parent.mkdir(parents=True)
        (vox / name).touch()
    assert [who for _, _, who, _ in find_jobs(vox, PrepareOptions())] == ["id00012", "id00012", "id00015"]
    assert [who for _, _, who, _ in find_jobs(vox, PrepareOptions(), "folder")] == ["dev", "dev", "id00015"]
    (dfdc / "dfdc_train_part_0" / "metadata.json").write_text("[]")
    layouts._labels.cache_clear()
    with pytest.raises(InputError, match="not the metadata"):
        find_jobs(dfdc, PrepareOptions())


@pytest.mark.parametrize(
    ("real", "others", "person"),
    [
        (
            "dfdc_train_part_7/aa.mp4",
            ("dfdc_train_part_7/bb.mp4", "dfdc_train_part_7/cc.mp4"),
            "dfdc_train_part_7/aa.mp4",
        ),
        ("dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", ("dev/mp4/id00012/x/00001.mp4",), "id00012"),
    ],
)
def test_a_clip_of_each_layout_becomes_a_pack(
    real: str, others: Sequence[str], person: str, run: Run, clip: Path, tmp_path: Path
) -> None:
    """One real clip in a tree; the other videos are fakes, or cannot be read."""
    tree = tmp_path / "tree"
    for name in (real, *others):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(clip.read_bytes() if name == real else b"no video")
    if real.startswith("dfdc"):
        labels = {"aa.mp4": {"label": "REAL"}, "bb.mp4": {"label": "FAKE", "original": "aa.mp4"}}
        (tree / real).with_name("metadata.json").write_text(json.dumps(labels))
    options = ("--fps", 5, "--min-frames", 20, "--max-frames", 350, "--workers", 1, "--per-person", 8)
    result = run("prepare", tree, tmp_path / "a.pack", *options)
    assert result.code == 0, result.err
    assert [(c.name, c.identity, len(c.frames)) for c in Pack(tmp_path / "a.pack", SUP).clips] == [(real, person, 8)]
    report = json.loads((tmp_path / "a.pack.report.json").read_text())
    assert report["videos"] == (1 if real.startswith("dfdc") else 2)


def test_clips_that_turn_too_little_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule of the paper's DFDC-rotations."""
    frames = [np.random.default_rng(n).integers(0, 255, (256, 256, 3)).astype(np.uint8) for n in range(12)]
    features = np.zeros((12, 5))
    features[:, 0] = np.linspace(-0.7, 0.7, 12)
    tracked = reading._Tracked(np.arange(12), np.zeros((12, 478, 2)), features)
    monkeypatch.setattr(reading, "_track", lambda _: tracked)
    for least, kept in ((1.3, True), (1.5, False)):
        counts: Counter[str] = Counter()
        clip_data = reading._clip(frames, "a", "b", PrepareOptions(min_turn=least), counts)
        assert (clip_data is not None) == kept
        assert counts["tubes dropped: turn too little"] == (not kept)


def test_halves() -> None:
    assert (half_of([1, 2, 3], "first"), half_of([1, 2, 3], "second"), half_of([1, 2], "")) == ([1, 2], [3], [1, 2])
    with pytest.raises(OptionError, match="first or second"):
        half_of([1], "third")
