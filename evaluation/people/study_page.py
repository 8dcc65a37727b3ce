"""The page of a study: `fvc evaluate --study DIR` writes index.html and the videos that it shows.

The page needs no server and no network. It shows two systems' videos of a clip side by side, in random order and on
random sides, without names, with the original above if the question asks for it; keys 1, 2 and 0 answer. Answers are
saved as a file of JSON, which `fvc study` counts.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from fvc.codec.media.output import atomic_write
from fvc.evaluation.people.preferences import FORMAT
from fvc.evaluation.people.study_videos import VIDEOS, StudyVideos

PAGE = "index.html"


def write_page(folder: Path, shown: dict[str, list[str]], systems: tuple[str, ...]) -> Path:
    """Writes index.html for clips, each with the systems that drew it; returns the file. Raises OutputError."""
    names = StudyVideos(folder, systems)
    trials: list[dict[str, Any]] = [
        {
            "clip": clip,
            "original": f"{VIDEOS}/{names.path(clip, None).name}",
            "pair": [{"system": name, "video": f"{VIDEOS}/{names.path(clip, name).name}"} for name in pair],
        }
        for clip, drawn in shown.items()
        for pair in itertools.combinations(drawn, 2)
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=select_autoescape()
    )
    data = json.dumps(trials).replace("<", "\\u003c")  # inside a script element
    page = environment.get_template("study.html.j2").render(trials=data, format=FORMAT, count=len(trials))
    with atomic_write(folder / PAGE, overwrite=True) as file:
        file.write(page.encode())
    return folder / PAGE
