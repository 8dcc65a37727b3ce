"""What README.md says can be run, runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from fvc.cli.main import app
from fvc.training.generator.run import _parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_python_snippet_runs(encoded: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.S)
    shutil.copy(encoded.video, tmp_path / "talk.mp4")  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})
    assert (tmp_path / "back.mp4").stat().st_size > 10_000


def test_every_option_that_is_named_exists() -> None:
    known = {option for command in app.registered_commands for option in _options(command.callback)}
    known |= {option for action in _parser()._actions for option in action.option_strings}
    known |= {"--json", "--lpips", "--unfiltered", "--per-person", "--help", "--version", "--nproc-per-node"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known | {
        "--profile",
        "--lpips",
        "--loss",
        "--redundancy",
        "--delay",
        "--jitter",
        "--rtp",
        "--hours",
        "--draw-every",
        "--way",
        "--frames",
        "--basis",
    }


def _options(callback: object) -> set[str]:
    import typing

    names = set()
    for name, hint in typing.get_type_hints(callback, include_extras=True).items():
        names.add("--" + name.replace("_", "-"))
        for extra in getattr(hint, "__metadata__", ()):
            names |= {d for d in getattr(extra, "param_decls", None) or () if d.startswith("--")}
    return names


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_nothing_is_left_to_fill_in() -> None:
    for name in ("README.md", "models/MODEL_CARD.md", "training/LOG.md", "bitstream_spec.md"):
        assert "@@" not in (ROOT / name).read_text(), name
