"""The user's cache folder: results come back, and what cannot be written costs only time."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fvc.codec.base.cache import Cache, written_whole


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    kept = tmp_path / "new folder" / "kept"
    with written_whole(kept) as part:
        part.write_text("first")
    with pytest.raises(OSError, match="full"):
        _fill_the_disk(kept)
    assert kept.read_text() == "first"
    assert list(kept.parent.iterdir()) == [kept]


def test_results_are_made_once_and_again_where_they_are_damaged(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> str:
        made.append("result")
        return "result"

    def get() -> str:
        return Cache(tmp_path).get(("kind", "of", "this"), Path.read_text, make, lambda text, path: _write(path, text))

    assert [get(), get(), len(made)] == ["result", "result", 1]
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"\xff\xfe\xff")
    assert [get(), len(made)] == ["result", 2]


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    notes: list[str] = []
    cache = Cache(tmp_path / "file", notes.append)
    results = [
        cache.get((name,), Path.read_text, lambda: "made", lambda text, path: _write(path, text)) for name in "ab"
    ]
    assert results == ["made", "made"]
    assert len(notes) == 1
    assert str(tmp_path / "file") in notes[0]


def _fill_the_disk(path: Path) -> None:
    with written_whole(path) as part:
        part.write_text("sec")
        raise OSError(errno.ENOSPC, "the disk is full")


def _write(path: Path, text: str) -> None:
    path.write_text(text)
