"""Counts the structure of the code: files in each folder, imports between folders, their depth, import cycles.

    python tests/structure.py [CHECKOUT]

Reads imports from the source, including those inside functions, but not those for type checkers only. A "room" is a
folder of modules, a "circle" an import cycle. `tests/test_structure.py` sets limits to these numbers.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

TOPS = {"fvc": "fvc", **{top: f"fvc.{top}" for top in ("codec", "models", "export", "training", "evaluation")}}
Graph = Mapping[str, set[str]]


@cache
def modules(root: Path) -> dict[str, Path]:
    """Module name as installed -> file, of everything except tests and samples."""
    found = {}
    for folder, package in TOPS.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = path
    return found


def _nodes(tree: ast.AST) -> Iterator[ast.stmt]:
    """All import statements except those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from _nodes(node)


@cache
def imports(root: Path) -> dict[str, set[str]]:
    """Module -> the modules of the project that it imports."""
    known = modules(root)
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        wanted: set[str] = set()
        for node in _nodes(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                within = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= {inner if inner in known else node.module for inner in within}
        graph[name] = {other for other in wanted if other in known and other != name}
    return graph


def room_of(module: str, known: Mapping[str, Path]) -> str:
    """The folder of a module, as a package name."""
    return module if known[module].name == "__init__.py" else module.rpartition(".")[0]


def rooms(root: Path) -> dict[str, set[str]]:
    """Room -> the rooms that its modules import from."""
    known, graph = modules(root), defaultdict[str, set[str]](set)
    for module, others in imports(root).items():
        room = room_of(module, known)
        graph[room] |= {room_of(other, known) for other in others} - {room}
    return dict(graph)


def circles(graph: Graph) -> list[set[str]]:
    """Groups of nodes that import each other (strongly connected components of more than one node; Tarjan, 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = {stack.pop()}
            while node not in group:
                group.add(stack.pop())
            if len(group) > 1:
                found.append(group)

    for node in graph:
        if node not in order:
            visit(node)
    return found


def depth(graph: Graph) -> int:
    """Number of nodes on the longest chain of imports; a circle counts as one node."""
    of = {node: min(group) for group in circles(graph) for node in group}

    def name(node: str) -> str:
        return of.get(node, node)

    edges: dict[str, set[str]] = defaultdict(set)
    for node, others in graph.items():
        edges[name(node)] |= {name(other) for other in others} - {name(node)}
    known: dict[str, int] = {}

    def floors(node: str) -> int:
        if node not in known:
            known[node] = 1 + max((floors(other) for other in edges[node]), default=0)
        return known[node]

    return max(floors(node) for node in list(edges))


def crossings(root: Path, importer: str, imported: str) -> list[str]:
    """Imports of modules under one package by modules under another, as "a -> b"."""
    return sorted(
        f"{module} -> {other}"
        for module, others in imports(root).items()
        if module == importer or module.startswith(f"{importer}.")
        for other in others
        if other == imported or other.startswith(f"{imported}.")
    )


def files_a_folder(root: Path) -> dict[str, int]:
    """Room -> number of its modules, without `__init__`."""
    count: dict[str, int] = defaultdict(int)
    for module, path in modules(root).items():
        count[room_of(module, modules(root))] += path.name != "__init__.py"
    return dict(count)


FACE = ("fvc.jobs", "fvc.calls", "fvc.web", "fvc.cli", "fvc.__main__")


def upward(root: Path) -> list[str]:
    """Imports against the layers, as "a -> b": of `FACE` or higher layers, or between training and evaluation."""
    below = ("fvc.codec", "fvc.models", "fvc.export", "fvc.training", "fvc.evaluation")
    old = tuple(f"fvc.{path.stem}" for path in (root / "fvc").glob("*.py") if path.stem not in ("__init__", "_version"))
    found = [line for low in below for high in {*FACE, *old} for line in crossings(root, low, high)]
    found += crossings(root, "fvc.training", "fvc.evaluation") + crossings(root, "fvc.evaluation", "fvc.training")
    for low, highs in (("fvc.codec", below[1:]), ("fvc.models", below[2:])):
        found += [line for high in highs for line in crossings(root, low, high)]
    return sorted(set(found))


def report(root: Path) -> str:
    """The counts as text."""
    house, counts, graph = rooms(root), files_a_folder(root), imports(root)
    lines = [
        f"modules {len(graph)}, rooms {len(counts)}, largest room {max(counts, key=lambda room: counts[room])} "
        f"with {max(counts.values())} files",
        f"between rooms: arrows {sum(map(len, house.values()))}, depth {depth(house)}, circles {len(circles(house))}",
        f"between modules: depth {depth(graph)}, circles {len(circles(graph))}",
        f"imports upward or across the wings: {len(upward(root))}",
    ]
    lines += [f"  {room}: {count} files" for room, count in sorted(counts.items())]
    lines += [f"  circle of rooms: {', '.join(sorted(group))}" for group in circles(house)]
    lines += [f"  circle of modules: {', '.join(sorted(group))}" for group in circles(graph)]
    lines += [f"  upward: {line}" for line in upward(root)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent))
