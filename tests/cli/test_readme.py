"""What README.md and docs/ say can be run, runs; what they name, exists."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import Encoded, Run

from fvc.cli.main import app
from fvc.training.generator.run import command_line

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS, *(ROOT / n for n in ("SECURITY.md", "export/README.md", "samples/README.md"))]
WITH_SITE = [*PAGES, *(ROOT / name for name in ("bitstream_spec.md", "models/MODEL_CARD.md", "training/LOG.md"))]
FOLDERS = "fvc|codec|models|export|training|evaluation|samples|tests|docs"

name_of = {"ids": lambda path: str(path.relative_to(ROOT))}


def code_lines(text: str) -> Iterator[str]:
    """Each line of each fenced block, and each inline code span."""
    parts = re.split(r"^```.*?$", text, flags=re.M)
    for number, part in enumerate(parts):
        if number % 2:
            yield from part.splitlines()
        else:
            yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", part))


def words(line: str) -> list[str]:
    """A line of shell without its comment; words as the shell sees them where it can."""
    line = re.sub(r"(^|\s)#.*", "", line.removeprefix("$ "))
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def fvc_commands(group: Any, name: str = "fvc") -> dict[str, set[str]]:
    """Command, e.g. "fvc export onnx" -> its options."""
    found = {}
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= fvc_commands(command, f"{name} {word}")
        else:
            found[f"{name} {word}"] = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {
                "--help",
                "-h",
            }
    return found


COMMANDS = fvc_commands(typer.main.get_command(app))
COMMANDS["fvc train"] |= {option for action in command_line()._actions for option in action.option_strings}
COMMANDS["fvc"] = {"--help", "-h", "--version"}


def script_options(path: Path) -> set[str]:
    """The options that a script's source names, or those of `fvc train` where it only hands them on."""
    source = path.read_text(encoding="utf-8")
    if path.name in ("bare.py", "run.py") and "training" in path.parts:
        return COMMANDS["fvc train"]
    return {*re.findall(r'"(--?[a-z][a-z-]*)"', source), "--help"}


def script_of(module: str) -> Path:
    """The file of "fvc.codec.encoder", whose folder is codec/."""
    parts = module.split(".")[1:]
    home = ROOT if parts[0] in FOLDERS.split("|") else ROOT / "fvc"
    path = home.joinpath(*parts)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def command_of(line: list[str]) -> tuple[set[str], list[str]] | None:
    """The options that the command of a line takes, and the words after it; None: no command of this repository."""
    if line[:1] == ["fvc"]:
        for count in (3, 2, 1):
            if (name := " ".join(line[:count])) in COMMANDS:
                return COMMANDS[name], line[count:]
        return (set(), line[1:]) if re.fullmatch(r"[a-z-]+", line[1]) else None
    if line[:1] in (["python"], ["torchrun"]):
        for place, word in enumerate(line):
            if re.fullmatch(rf"(fvc\.[\w.]+|({FOLDERS})/[\w/]+\.py)", word):
                path = script_of(word) if word.startswith("fvc.") else ROOT / word
                assert path.is_file(), f"{word} does not exist"
                return script_options(path), line[place + 1 :]
    return None


def options(line: list[str]) -> set[str]:
    """Words that are options: "--weight", of "--weight=3" too."""
    return {m[0] for word in line if (m := re.match(r"--[a-z][a-z-]*", word))}


@pytest.mark.parametrize("page", PAGES, **name_of)
def test_commands_and_options_exist(page: Path) -> None:
    files = [*scripts().values(), ROOT / "export/c/fvc_decode.c"]
    anything = set().union(*COMMANDS.values(), *map(script_options, files))
    for line in map(words, code_lines(page.read_text(encoding="utf-8"))):
        command = command_of(line)
        if command is not None:
            known, rest = command
            assert options(rest) <= known, f"{page.name}: {' '.join(line)}"
        elif line[:1] and line[0].startswith("--"):
            assert options(line) <= anything, f"{page.name}: {' '.join(line)}"


@pytest.mark.parametrize("page", PAGES, **name_of)
def test_files_and_modules_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(rf"(?<![\w/.])(?:{FOLDERS})/[\w./-]+\.(?:py|bin|md|csv|c|h|sh|swift|mp4|png)\b", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    named = re.findall(r"`(fvc\.(?:" + FOLDERS + r"|cli|jobs|calls)(?:\.[a-z_]+)+)`", text)
    assert [module for module in named if not script_of(module).exists()] == []


def python_snippets() -> list[Any]:
    found = []
    for page in [ROOT / "README.md", *DOCS]:
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)):
            found.append(pytest.param(code, id=f"{page.name}-{number}"))
    return found


@pytest.mark.parametrize("code", python_snippets())
def test_python_snippets_run(code: str, encoded: Encoded, tmp_path: Path) -> None:
    """In a process of its own: some register things."""
    shutil.copy(encoded.video, tmp_path / "talk.mp4")
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    if "back.mp4" in code:
        assert (tmp_path / "back.mp4").stat().st_size > 10_000


def test_readme_shows_what_encode_and_decode_print(
    encoded: Encoded, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words are those of today; the numbers are of the whole sample."""
    (shown,) = re.findall(r"```\n(talk\.fvc: .*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    shutil.copy(encoded.video, tmp_path / "talk.mp4")
    monkeypatch.chdir(tmp_path)
    printed = run("encode", "talk.mp4", "talk.fvc").out + run("decode", "talk.fvc").out
    assert shape(printed) == shape(shown)


def shape(text: str) -> list[list[str]]:
    """Lines of words; all numbers are alike."""
    return [re.sub(r"\d[\d.]*(\+\d+)*", "#", line).split() for line in text.splitlines()]


def test_readme_is_short_and_its_lines_are_readable() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", WITH_SITE, **name_of)
def test_linked_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def scripts() -> dict[str, Path]:
    """How a script is called -> its file: everything with a main block, and the shell scripts of the tests."""
    found = {}
    for path in sorted(path for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).with_suffix("")
        if not re.search(r"^if __name__ == ", path.read_text(encoding="utf-8"), re.M):
            continue
        is_plain = name.parts[0] in ("samples", "tests") or name.name in ("bare", "verify_on_mac")
        module = ".".join(name.parts if name.parts[0] == "fvc" else ("fvc", *name.parts))
        found[f"python {name}.py" if is_plain else f"python -m {module}"] = path
    return found | {f"sh {path.relative_to(ROOT)}": path for path in (ROOT / "tests").glob("*.sh")}


def test_list_of_tools_is_complete() -> None:
    listed = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/TOOLS.md").read_text(encoding="utf-8"), re.M)
    there = {*scripts(), *COMMANDS} - {"fvc", "python -m fvc.__main__"}
    assert sorted(listed) == sorted(there)


def test_architecture_names_every_folder_of_code() -> None:
    text = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = [str(script_of(package).parent.relative_to(ROOT)) for package in packages if package != "fvc"]
    assert [folder for folder in folders if f"`{folder}/`" not in text] == []


def located_names() -> list[Any]:
    """Rows of tables in docs/ with a cell `file.py` and, right of it, a cell of names that the file defines."""
    found = []
    for page in DOCS:
        for row in re.findall(r"^\|.*\|$", page.read_text(encoding="utf-8"), re.M):
            for path, names in re.findall(r"\| `([\w/]+\.py)` \| ([^|]*`[^|]*) \|", row):
                found += [pytest.param(path, name, id=f"{path}:{name}") for name in re.findall(r"`([\w.]+)`", names)]
    return found


@pytest.mark.parametrize(("path", "name"), located_names())
def test_functions_are_where_the_docs_say(path: str, name: str) -> None:
    body: Any = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for part in name.split("."):
        inside = [node for node in body if part in defined(node)]
        assert inside, f"{path} does not define {name}"
        body = getattr(inside[0], "body", [])


def defined(node: ast.stmt) -> set[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_nothing_is_left_to_fill_in() -> None:
    for page in WITH_SITE:
        assert "@@" not in page.read_text(encoding="utf-8"), page.name
