"""What a measurement says: means over clips, intervals over people, the headline; all worked out by hand."""

from __future__ import annotations

import statistics
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fvc.codec.base.errors import InputError
from fvc.evaluation.compare.people import mean_over_people, person_of
from fvc.evaluation.compare.spans import distinct, span_frames
from fvc.evaluation.compare.summary import all_bits, comparisons, headline, means

CODECS = {"x265": "HEVC"}


def point(system: str, kbps: float, lpips: float, label: str = "", is_floor: bool = False) -> dict[str, Any]:
    """The same in all spans; of ours, a quarter of the bits is motion."""
    rates = {"motion": kbps / 4, "stream": kbps / 2} if system == "fvc" else {}
    span = {"kbps": {"all": kbps, "wire": kbps + 5, **rates}, "metrics": {"lpips": lpips}}
    return {
        "system": system,
        "label": label or system,
        "profile": "sup" if system == "fvc" else None,
        "is_floor": is_floor,
        "spans": {name: span for name in ("10", "60", "whole")},
    }


def entry(ours: list[tuple[float, float]], theirs: list[tuple[float, float]], person: str = "a") -> dict[str, Any]:
    """A clip of 8 s with our points and HEVC's, each (kbps, LPIPS)."""
    own = [point("fvc", *each, label="fvc sup" + f" {n}" * (n > 0)) for n, each in enumerate(ours)]
    curve = [point("x265", *each, is_floor=n == 0) for n, each in enumerate(theirs)]
    found = comparisons(own, {"x265": curve}, source_bytes=5000)
    return {"error": None, "seconds": 8.0, "person": person, "points": [*own, *curve], **found}


CURVE = [(5.0, 0.3), (10.0, 0.2), (20.0, 0.1), (40.0, 0.05)]
FAILED = {"clip": "x", "error": "bad"}


class TestComparisons:
    def test_all_bits_and_motion_alone(self) -> None:
        row = entry([(8.0, 0.1)], CURVE)["equal_quality"][0]
        assert (row["span"], row["ours"], row["system"], row["metric"]) == ("10", "fvc sup", "x265", "lpips")
        assert (row["kbps"], row["times"], row["times_motion"]) == pytest.approx((20, 2.5, 10))

    def test_paid_off_where_all_our_bits_are_fewer(self) -> None:
        """5 kB of pictures, then 4 kbit/s against 20."""
        assert entry([(8.0, 0.1)], CURVE)["break_even_s"]["x265"] == pytest.approx(8 * 5000 / (20 - 4) / 1000)

    def test_bd_rate_over_our_operating_points(self) -> None:
        half = [(kbps / 2, lpips) for kbps, lpips in CURVE]
        row = entry(half, CURVE)["bd"][0]
        assert row["bd_rate_percent"] == pytest.approx(-50)
        assert "two are needed" in entry([(8.0, 0.1)], CURVE)["bd"][0]["note"]


class TestAllBits:
    def test_geometric_mean_over_clips(self) -> None:
        clips = [entry([(8.0, 0.1)], CURVE), FAILED, entry([(40.0, 0.1)], CURVE, "b")]
        (row,) = all_bits(clips)
        assert (row["span"], row["ours"], row["metric"]) == ("10", "fvc sup", "lpips")
        assert row["kbps"]["all"]["mean"] == pytest.approx(24)
        times = row["anchors"]["x265"]["times"]
        assert times["mean"] == pytest.approx((2.5 * 0.5) ** 0.5)
        assert (times["low"], times["clips"], times["people"]) == (None, 2, 2)

    def test_clips_without_a_rate_are_counted(self) -> None:
        (row,) = all_bits([entry([(8.0, 0.1)], CURVE), entry([(8.0, 0.01)], CURVE, "b")])
        against = row["anchors"]["x265"]
        assert (against["clips"], against["times"]["clips"]) == (2, 1)

    def test_each_operating_point_has_a_row(self) -> None:
        rows = all_bits([entry([(8.0, 0.1), (16.0, 0.05)], CURVE)])
        assert [row["ours"] for row in rows] == ["fvc sup", "fvc sup 1"]
        assert [row["anchors"]["x265"]["times"]["mean"] for row in rows] == pytest.approx([2.5, 2.5])

    def test_spans_that_differ(self) -> None:
        long = {**entry([(8.0, 0.1)], CURVE), "seconds": 30.0}
        assert [row["span"] for row in all_bits([long])] == ["10", "whole"]


class TestMeans:
    def test_ours_the_floor_and_rates_that_all_clips_cover(self) -> None:
        other = entry([(10.0, 0.3)], [(11.0, 0.4), (44.0, 0.2)], "b")
        rows = means([entry([(8.0, 0.1)], CURVE), FAILED, other])
        found = {(row["system"], row["at"]): row for row in rows}
        assert list(found) == [("fvc", None), ("x265", "floor"), *(("x265", at) for at in ("12", "20", "32"))]
        assert found["fvc", None]["metrics"]["lpips"] == {
            "mean": pytest.approx(0.2),
            "stderr": pytest.approx(0.1),
            "n": 2,
        }
        assert found["x265", "floor"]["kbps"]["all"] == pytest.approx(8)
        at_20 = 0.4 - 0.2 * np.log(20 / 11) / np.log(4)
        assert found["x265", "20"]["metrics"]["lpips"]["mean"] == pytest.approx((0.1 + at_20) / 2)


class TestHeadline:
    def test_all_bits_come_first(self) -> None:
        lines = headline(all_bits([entry([(8.0, 0.1)], CURVE)]), 1, 1, CODECS)
        assert lines == [
            "All bits, first 10 s: fvc sup 8 kbit/s, LPIPS 0.100; HEVC needs 2.5 times that for the same LPIPS",
            "Motion alone, source pictures not counted: fvc sup 2 kbit/s, LPIPS 0.100;"
            " HEVC needs 10 times that for the same LPIPS",
        ]

    def test_several_clips(self) -> None:
        clips = [entry([(8.0, 0.1)], CURVE, person) for person in "abc"] + [entry([(8.0, 0.01)], CURVE, "d")]
        first, _ = headline(all_bits(clips), 4, 4, CODECS)
        assert first.startswith("All bits, first 10 s, 4 clips of 4 people: ")
        assert first.endswith("HEVC needs 2.5 times that for the same LPIPS (2.5 to 2.5), in 3 of 4 clips")

    def test_a_reason_stands_for_a_number(self) -> None:
        first, _ = headline(all_bits([entry([(8.0, 0.01)], CURVE)]), 1, 1, CODECS)
        assert first.endswith("HEVC for the same LPIPS: not reached at 40 kbps")

    def test_nothing_measured(self) -> None:
        assert headline(all_bits([FAILED]), 0, 0, CODECS) == []


class TestPeople:
    def test_people_are_drawn_not_clips(self) -> None:
        """Nine clips of one person are no surer than one."""
        values, people = [1.0, 2.0, 3.0], ["a", "b", "c"]
        once = mean_over_people(values, people)
        often = mean_over_people([*values, *[3.0] * 8], [*people, *["c"] * 8])
        assert once is not None
        assert often is not None
        assert (once.mean, often.mean) == pytest.approx((2, statistics.fmean([1, 2, *[3] * 9])))
        assert once.low is not None
        assert 1 <= once.low < 2 < (once.high or 0) <= 3
        assert often.low == pytest.approx(1)  # when c is not among the drawn

    def test_interval_of_many_people_is_that_of_the_normal_distribution(self) -> None:
        values = np.random.default_rng(1).normal(5, 1, 400).tolist()
        found = mean_over_people(values, [str(n) for n in range(400)])
        assert found is not None
        error = 1.96 * statistics.stdev(values) / 20
        assert (found.low, found.high) == pytest.approx((found.mean - error, found.mean + error), abs=0.02)

    def test_geometric(self) -> None:
        found = mean_over_people([1.0, 2.0, 4.0], ["a", "b", "c"], geometric=True)
        assert found is not None
        assert found.mean == pytest.approx(2)
        assert found.low is not None
        assert found.low >= 1

    def test_few_people_have_no_interval(self) -> None:
        found = mean_over_people([1.0, 2.0, 3.0], ["a", "a", "b"])
        assert found is not None
        assert (found.mean, found.low, found.high, found.clips, found.people) == (2, None, None, 3, 2)
        assert mean_over_people([], []) is None

    def test_who_is_in_a_clip(self, tmp_path: Path) -> None:
        (tmp_path / "val").mkdir()
        assert person_of(tmp_path / "val" / "a.mp4") == "a.mp4"
        (tmp_path / "catalog.csv").write_text("clip,identity\na.mp4,p7\n")
        assert person_of(tmp_path / "val" / "a.mp4") == "p7"
        assert person_of(tmp_path / "val" / "b.mp4") == "b.mp4"
        (tmp_path / "catalog.csv").write_text("name\na.mp4\n")
        with pytest.raises(InputError, match="not a catalog"):
            person_of(tmp_path / "val" / "a.mp4")


class TestSpans:
    def test_frames(self) -> None:
        assert span_frames(450, Fraction(15)) == {"10": 150, "60": 450, "whole": 450}
        assert span_frames(1500, Fraction(15)) == {"10": 150, "60": 900, "whole": 1500}

    def test_a_clip_that_is_hardly_longer_counts_whole(self) -> None:
        assert span_frames(153, Fraction(15))["10"] == 153

    def test_only_those_that_differ(self) -> None:
        assert list(distinct([4.0, 10.2])) == ["10"]
        assert list(distinct([4.0, 20.0])) == ["10", "whole"]
        assert list(distinct([70.0])) == ["10", "60", "whole"]
