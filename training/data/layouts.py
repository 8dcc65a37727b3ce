"""How the paper's data sets lie in folders: which videos count, and who is in them.

    DFDC (Dolhansky et al., 2020)          PART/metadata.json, PART/NAME.mp4
    VoxCeleb 1 and 2 (Nagrani et al.)      .../idNNNNN/VIDEO/CLIP.mp4

Of DFDC only videos count that the metadata labels REAL, and each face tube is a person of its own; in VoxCeleb the
person is idNNNNN. Any other tree is taken as it is.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path, PurePath

from fvc.codec.base.errors import InputError

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


def is_wanted(video: Path) -> bool:
    """Whether a video counts: not one that a DFDC part's metadata calls fake, or does not name. Raises InputError."""
    labels = _labels(video.parent)
    return labels is None or labels.get(video.name) == "REAL"


def person_of(name: PurePath, folder: Path) -> str | None:
    """Who is in the video `folder`/`name`: VoxCeleb's id; "" (not known) in DFDC; None: the tree does not say."""
    if _labels((folder / name).parent) is not None:
        return ""
    return next((part for part in name.parts[:-1] if _VOXCELEB_PERSON.fullmatch(part)), None)
