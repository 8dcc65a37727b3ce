"""The videos of a data set below a folder: which count, how they are called, and who is in them.

    DFDC (Dolhansky et al., 2020)          PART/metadata.json, PART/NAME.mp4
    VoxCeleb 1 and 2 (Nagrani et al.)      .../idNNNNN/VIDEO/CLIP.mp4

Of DFDC only videos count that the metadata labels REAL, and each face tube is a person of its own; in VoxCeleb the
person is idNNNNN. Any other tree is taken as it is, whether its videos lie in one folder or in many.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path, PurePath

from fvc.codec.base.errors import InputError

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts"}  # of video files
_VOXCELEB_PERSON = re.compile(r"id\d{5}")


@lru_cache(maxsize=256)
def _labels(folder: Path) -> dict[str, str] | None:
    """File name -> label in capitals, from a DFDC part's metadata.json; None where there is none. Raises InputError."""
    path = folder / "metadata.json"
    if not path.is_file():
        return None
    try:
        return {name: str(entry["label"]).upper() for name, entry in json.loads(path.read_text()).items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the metadata of a DFDC part ({error!r})") from None


def find_videos(folder: Path) -> list[Path]:
    """The videos below `folder` that count, sorted by path. Raises InputError."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if _is_wanted(path))


def clip_name(video: Path, folder: Path) -> str:
    """The path of a video below `folder` as a file name: `id00012+VIDEO+00001.mp4` (VoxCeleb's own names repeat)."""
    return "+".join(video.relative_to(folder).parts)


def _is_wanted(video: Path) -> bool:
    """Whether a video counts: not one that a DFDC part's metadata calls fake, or does not name. Raises InputError."""
    labels = _labels(video.parent)
    return labels is None or labels.get(video.name) == "REAL"


def person_of(name: PurePath, folder: Path) -> str | None:
    """Who is in the video `folder`/`name`: VoxCeleb's id; "" (not known) in DFDC; None: the tree does not say."""
    if _labels((folder / name).parent) is not None:
        return ""
    return next((part for part in name.parts[:-1] if _VOXCELEB_PERSON.fullmatch(part)), None)
