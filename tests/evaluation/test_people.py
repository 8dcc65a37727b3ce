"""Studies of people: the page with its videos, and the count of its answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import Run, frames_of

from fvc.codec.base.errors import InputError
from fvc.evaluation.people.preferences import FORMAT, Vote, interval, read_votes, table


def answers(path: Path, *preferred: str) -> Path:
    given = [{"clip": f"{n}.mp4", "systems": ["a", "b"], "preferred": name} for n, name in enumerate(preferred)]
    path.write_text(json.dumps({"format": FORMAT, "question": "closer", "answers": given}))
    return path


def test_shares_with_intervals(tmp_path: Path, run: Run) -> None:
    files = [answers(tmp_path / "1.json", "a", "a", "b", ""), answers(tmp_path / "2.json", "a", "a", "a", "a")]
    text = table(read_votes(files))
    assert "| a | 81 % | 47 to 96 % | 81 % of 8 | 47 to 96 % |" in text
    assert "| b | 19 % | 4 to 53 % | 19 % of 8 | 4 to 53 % |" in text
    assert "8 votes on 4 clips" in text
    shown = run("study", *files)
    assert (shown.code, shown.out) == (0, text + "\n")


def test_the_share_of_votes_has_an_interval_of_its_own() -> None:
    """Of 10 votes, 8 of which asked about `a`, it won 5. Wilson: 0.2366 to 0.7634 of 10, 0.3057 to 0.8632 of 8."""
    pairs = [*[("a", "b")] * 8, *[("b", "c")] * 2]
    votes = [Vote(f"{n}.mp4", pair, "a" if n < 5 else "b") for n, pair in enumerate(pairs)]
    assert "| a | 50 % | 24 to 76 % | 62 % of 8 | 31 to 86 % |" in table(votes)


def test_intervals_are_wilsons() -> None:
    assert interval(0, 0) == (0, 1)
    assert interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', '{"format": "fvc-study-1", "answers": [{}]}'])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="not the answers of a study"):
        read_votes([tmp_path / "a.json"])
    with pytest.raises(InputError, match="no answers"):
        read_votes([answers(tmp_path / "none.json")])


def test_a_page_is_made(clip: Path, tmp_path: Path, run: Run) -> None:
    """It works offline and says no system's name to who looks at it."""
    (tmp_path / "data" / "val").mkdir(parents=True)
    (tmp_path / "data" / "val" / "talk.mp4").write_bytes(clip.read_bytes())
    options = ["--data", tmp_path / "data", "--cache", tmp_path / "cache", "--fps", 5, "--study", tmp_path / "study"]
    shown = run("evaluate", "composed", "tiny", *options)
    assert shown.code == 0, shown.err
    page = (tmp_path / "study" / "index.html").read_text()
    assert not re.search("https?://", page)
    found = re.search(r"const trials = (\[.*\]), answers", page)
    assert found
    [trial] = json.loads(found[1])
    assert [side["system"] for side in trial["pair"]] == ["composed", "tiny"]
    for video in (trial["original"], *(side["video"] for side in trial["pair"])):
        assert "composed" not in video
        assert len(frames_of(tmp_path / "study" / video, 5)) == 16
    again = run("evaluate", "composed", "tiny", *options)
    assert again.code != 0
    assert "study" in again.err
