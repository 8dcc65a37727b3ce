"""Numbers and names as reports show them."""

from __future__ import annotations

import pytest
from report_fixtures import DASH

from fvc.evaluation.metrics.catalog import CATALOG
from fvc.evaluation.report import wording


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.rate(0.4567), "0.46"),
        (wording.rate(12.345), "12.3"),
        (wording.rate(123.4), "123"),
        (wording.rate(None), DASH),
        (wording.rate(5.0, 0.25), "5.00 ±\N{NO-BREAK SPACE}0.25"),
        (wording.times(7.84), "7.84\N{MULTIPLICATION SIGN}"),
        (wording.times(27.84), "27.8\N{MULTIPLICATION SIGN}"),
        (wording.times(120.4), "120\N{MULTIPLICATION SIGN}"),
        (wording.interval({"mean": 2.0, "low": 1.5, "high": 2.71}, wording.rate), "2.00 [1.50 to 2.71]"),
        (wording.interval({"mean": 2.0, "low": None, "high": None}, wording.rate), "2.00"),
        (wording.percent(-80.1), "\N{MINUS SIGN}80 %"),
        (wording.percent(3.6), "+4 %"),
        (CATALOG["lost"].shown(0.0333), "3.3"),
        (CATALOG["nme"].shown(0.01234, 0.001), "0.0123 ±\N{NO-BREAK SPACE}0.0010"),
        (CATALOG["lpips"].shown(None), DASH),
        (CATALOG["csim"].heading, "CSIM\N{NO-BREAK SPACE}↑"),
        (CATALOG["psnr"].heading, "PSNR, dB\N{NO-BREAK SPACE}↑"),
        (wording.markdown("a_b|c\n<i>"), r"a\_b\|c &lt;i&gt;"),
        (wording.one_line("a\r\nb\x1b[1m\u202e"), "a b [1m"),
    ],
)
def test_wording(shown: str, expected: str) -> None:
    assert shown == expected


def test_file_stems_are_harmless_and_unique() -> None:
    names = ["a b.mp4", "a/b.mp4", "A_B.mp4", "../..", "…", "x" * 300 + ".mkv"]
    stems = wording.file_stems(names)
    assert stems == ["a_b", "a_b-2", "A_B-3", "clip", "clip-2", "x" * 60]
