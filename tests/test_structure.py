"""How the house is built, held by numbers: `python tests/structure.py` prints them."""

from __future__ import annotations

import ast
from pathlib import Path

import structure

ROOT = Path(__file__).parent.parent
MAX_FILES = 15  # in a room
MAX_LINES = 40  # of a function, without its docstring
MAX_TEST_LINES = 500  # of a file of tests


def test_no_circles() -> None:
    assert structure.circles(structure.rooms(ROOT)) == []
    assert structure.circles(structure.imports(ROOT)) == []


def test_nothing_below_imports_the_face_and_the_wings_stay_apart() -> None:
    assert structure.upward(ROOT) == []


def test_rooms_are_small() -> None:
    crowded = {room: count for room, count in structure.files_a_folder(ROOT).items() if count > MAX_FILES}
    assert crowded == {}


def test_functions_fit_on_a_screen() -> None:
    long = []
    for module, path in structure.modules(ROOT).items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
                if lines > MAX_LINES:
                    long.append(f"{module}.{node.name}: {lines} lines")
    assert long == []


def test_files_of_tests_are_short() -> None:
    counts = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert {name: count for name, count in counts.items() if count > MAX_TEST_LINES} == {}


def test_library_messages_have_no_flags() -> None:
    """Options are named as in Python, in backticks; the command line makes flags of them (`codec.base.errors`)."""
    found = []
    for module, path in structure.modules(ROOT).items():
        if module.startswith("fvc.cli") or "argparse" in path.read_text():
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Raise)
                and node.exc is not None
                and '"--' in ast.unparse(node.exc).replace("'", '"')
            ):
                found.append(f"{module}:{node.lineno}")
    assert found == []


def test_the_counting_sees_a_circle_and_an_upward_import(tmp_path: Path) -> None:
    """A test that could not fail would be worth nothing."""
    for name, text in {
        "codec/a.py": "from fvc.codec import b\n",
        "codec/b.py": "def later():\n    from fvc.codec.a import x\n",
        "codec/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fvc.codec.a import x\n",
        "models/m.py": "from fvc.codec.c import x\n",
        "fvc/jobs/j.py": "from fvc.models.m import x\n",
        "evaluation/e.py": "import fvc.jobs.j\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert structure.circles(structure.imports(tmp_path)) == [{"fvc.codec.a", "fvc.codec.b"}]
    assert structure.circles(structure.rooms(tmp_path)) == []
    assert structure.upward(tmp_path) == ["fvc.evaluation.e -> fvc.jobs.j"]
    assert structure.depth(structure.rooms(tmp_path)) == 4
