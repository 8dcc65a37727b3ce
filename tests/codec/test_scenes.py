"""Clips of several people or places: which scenes belong together, and which pictures draw them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_clip
from hypothesis import given
from hypothesis import strategies as st

import fvc
from fvc.codec.base.errors import StreamError
from fvc.codec.face.appearance import Appearance
from fvc.codec.face.face_choice import Sighting
from fvc.codec.face.scene_groups import groups
from fvc.codec.face.source_choice import share_out
from fvc.codec.face.survey import Survey
from fvc.codec.media.video import VideoReader
from fvc.codec.source_builder import scenes_of, source_frames
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.scenes import Scenes
from fvc.codec.wire.source_set import SourceSet

TABLES = st.tuples(
    st.lists(st.integers(0, 255), min_size=1, max_size=8), st.sets(st.integers(0, 1 << 20)), st.randoms()
)


@given(TABLES)
def test_a_table_survives(drawn: tuple[list[int], set[int], object]) -> None:
    sets, frames, rng = drawn
    changes = tuple((frame, rng.randrange(len(sets))) for frame in sorted(frames))  # type: ignore[attr-defined]
    table = Scenes(tuple(sets), changes)
    assert Scenes.parse(bytes(table)) == table


@given(st.binary(max_size=40))
def test_any_bytes_are_a_table_or_an_error(data: bytes) -> None:
    try:
        table = Scenes.parse(data)
    except StreamError:
        return
    assert bytes(table) == data
    assert table.pictures(1000, 3)


def test_pictures_of_a_frame() -> None:
    table = Scenes((0b0011, 0b1100, 0), ((5, 0), (9, 1), (20, 2)))
    assert [table.pictures(frame, 4) for frame in (4, 5, 8, 9, 19, 20)] == [
        (0, 1, 2, 3),
        (0, 1),
        (0, 1),
        (2, 3),
        (2, 3),
        (0, 1, 2, 3),
    ]
    assert table.pictures(9, 3) == (2,)  # of a set that was cut off
    assert table.pictures(9, 2) == (0, 1)


def test_a_table_that_is_too_long_ends_with_all_pictures() -> None:
    shown = [(frame, frame // 10 % 2) for frame in range(1000)]
    whole = Scenes.of(shown, [1, 2], 4000)
    assert whole.sets == (1, 2)
    assert len(whole.changes) == 100
    short = Scenes.of(shown, [1, 2], 100)
    assert 90 < len(bytes(short)) <= 100
    at = short.changes[-1][0]
    assert [short.pictures(frame, 2) for frame in (at - 1, at, 999)] == [whole.pictures(at - 1, 2), (0, 1), (0, 1)]


@pytest.mark.parametrize(
    ("frames", "wanted", "shares"),
    [
        ([100], [6], [6]),
        ([100, 50], [4, 4], [4, 4]),
        ([100, 50], [6, 6], [5, 3]),
        ([1000, 10], [6, 6], [6, 2]),
        ([90, 80, 70], [6, 6, 6], [3, 3, 2]),
        ([9, 8, 7, 6, 5, 4, 3], [1] * 7, [1] * 7),
    ],
)
def test_shares_of_pictures(frames: list[int], wanted: list[int], shares: list[int]) -> None:
    assert share_out(frames, wanted, 8) == shares


def sighting(frame: int, person: int, place: int, x: float = 100.0) -> Sighting:
    """A face whose look and place are random pictures with these numbers."""
    look = np.random.default_rng(person).normal(size=48 * 48 + 2)
    look[:-2] /= np.linalg.norm(look[:-2])
    look[-2:] = 0
    thumbnail = np.random.default_rng(1000 + place).integers(0, 255, (32, 32, 3), np.uint8)
    box = (x - 50, 50.0, x + 50, 150.0)
    return Sighting(frame, np.zeros((33, 2)), box, 0.0, 0.3, 40.0, Appearance(look.astype(np.float16), thumbnail))


def test_scenes_of_one_person_in_one_place_are_a_group() -> None:
    shots = [(0, 0), (1, 0), (0, 0), (0, 1), (1, 0), (0, 0)]  # person, place; ten frames each
    seen = [sighting(n, *shots[n // 10]) for n in range(60)]
    found = groups(seen, {10, 20, 30, 40, 50})
    assert found.tolist() == [0] * 10 + [1] * 10 + [0] * 10 + [2] * 10 + [1] * 10 + [0] * 10


def test_a_scene_begins_where_the_face_was_away_or_jumps() -> None:
    away = [sighting(n, int(n > 20), 0) for n in range(40) if not 15 <= n <= 20]
    assert groups(away, set()).tolist() == [1] * 15 + [0] * 19
    jump = [sighting(n, int(n > 20), 0, 300.0 if n > 20 else 100.0) for n in range(40)]
    assert groups(jump, set()).tolist() == [0] * 21 + [1] * 19
    followed = [sighting(n, int(n > 20), 0) for n in range(40)]
    assert set(groups(followed, set())) == {0}  # nobody comes while a face is followed


def test_a_clip_of_many_people_gives_no_more_than_eight_pictures() -> None:
    rng = np.random.default_rng(0)
    count = 12 * 20
    sup, boxes = rng.normal(100, 30, (count, 33, 2)), np.tile([50.0, 50, 150, 150], (count, 1))
    ones = np.ones(count)
    seen = Survey(count, 1, np.arange(count), sup, boxes, ones, ones, ones, (), np.repeat(np.arange(12), 20))
    assert np.unique(seen.worth_pictures(21).groups).tolist() == [0]  # the largest stays
    drawn = seen.worth_pictures(20)
    assert np.unique(drawn.groups).tolist() == list(range(8))
    people = drawn.by_group()
    of_group = source_frames(people, None)
    assert [len(frames) for frames in of_group] == [1] * 8
    table = scenes_of(drawn, people, of_group, 8)
    assert table is not None
    assert [table.pictures(20 * n, 8) for n in range(8)] == [(n,) for n in range(8)]


@pytest.fixture(scope="module")
def two_people(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, then a taller, green face in its mirror image, then the sample again."""
    with VideoReader(clip) as video:
        frames = [frame.rgb for frame in video.frames(Fraction(10))][:12]
    height, width = frames[0].shape[:2]
    tall = [cv2.resize(f, (width, height * 5 // 4))[height // 8 :][:height, ::-1, [1, 0, 2]] for f in frames]
    shots = [*frames, *map(np.ascontiguousarray, tall), *frames]
    return write_clip(tmp_path_factory.mktemp("two") / "two.mp4", shots, 10)


def test_each_person_is_drawn_from_own_pictures(two_people: Path, tmp_path: Path) -> None:
    stream = tmp_path / "two.fvc"
    report = fvc.encode(two_people, stream, fps=10, canvas=False)
    with open(stream, "rb") as file:
        scenes = StreamReader(file).header.scenes
    assert scenes is not None
    count = len(report["source_pictures_bytes"])
    first, second, third = (scenes.pictures(frame, count) for frame in (0, 12, 24))
    assert first == third
    assert sorted([*first, *second]) == list(range(count))
    pictures = SourceSet.parse(stream.with_suffix(".fvs").read_bytes()).pictures
    assert {is_green(pictures[n]) for n in first} == {False}
    assert {is_green(pictures[n]) for n in second} == {True}
    fvc.decode(stream, out=tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as video:
        drawn = [is_green(frame.rgb) for frame in video.frames(Fraction(10))]
    assert drawn == [False] * 12 + [True] * 12 + [False] * 12
    assert fvc.info(stream)["scenes"] == 3


def is_green(rgb: np.ndarray) -> bool:
    """Of the face."""
    return bool(rgb[60:200, 60:200, 1].mean() > rgb[60:200, 60:200, 0].mean())
