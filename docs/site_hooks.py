"""mkdocs hooks: the site has the repository's own layout, so that links work on both.

Pages are the Markdown files of the navigation, wherever they lie (README.md, docs/, bitstream_spec.md, ...). Whatever
else a page links to is copied beside it: pictures, tables, source files. A link to a file that does not exist stays
unresolved, and the strict build fails.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replaces the files of `docs_dir` by the pages of the navigation and what these link to."""
    root = Path(config.config_file_path).parent
    kept = [file for file in files if file.src_dir != config.docs_dir]
    pages = list(_paths(config.nav))
    wanted = dict.fromkeys(pages)
    for page in pages:
        if (root / page).is_file():
            wanted |= dict.fromkeys(_linked(root, page))
    found = [name for name in wanted if (root / name).is_file()]
    return Files([*kept, *(File.generated(config, name, abs_src_path=str(root / name)) for name in found)])


def _paths(nav: Any) -> Iterator[str]:
    """All file names in a navigation: a list of names, of {title: name} and of {title: navigation}."""
    for entry in nav:
        (target,) = entry.values() if isinstance(entry, dict) else (entry,)
        yield from [target] if isinstance(target, str) else _paths(target)


def _linked(root: Path, page: str) -> Iterator[str]:
    """Paths, relative to the root, of the files that a page links to; Markdown files must be in the navigation."""
    for target in _LINK.findall((root / page).read_text(encoding="utf-8")):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        if "://" not in target and not path.startswith("..") and not path.endswith(".md"):
            yield path
