"""The provenance tag of a decoded video: it says that a generator drew it, from which stream, sources and weights.

It is the container's "comment" tag, one line for people and programs. It helps honest people; anyone who wants to
deceive can remove it (SECURITY.md). A live recording, of a call for instance, has no stream file: its tag holds the
hash of its first header instead, and names its first sources.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass

import av

from fvc.codec.media.video import LIMITS

_FORM = re.compile(
    r"Synthesised by fvc (?P<version>\S+): drawn by a generator, not filmed\. "
    r"(stream sha256:(?P<stream>[0-9a-f]{64})|live, header sha256:(?P<header>[0-9a-f]{64}) first) "
    r"sources (?P<sources>[0-9a-f]{32})(?P<foreign>, foreign,)? weights (?P<weights>[0-9a-f]{16})"
)


@dataclass(frozen=True)
class Provenance:
    """Where a synthesised video comes from.

    Attributes:
        version: of fvc.
        stream: SHA-256 of the .fvc file, in hexadecimal; None: there was none.
        sources: sources_hash of the .fvs (pixels_hash, where pictures were given) that it was drawn with; in a live
            recording, that of the first source set.
        foreign: whether these are not the sources that the stream was made for.
        weights: model_hash of the networks.
        header: SHA-256 of the first header of a live recording; None: there is a stream file.
    """

    version: str
    stream: str | None
    sources: str
    foreign: bool
    weights: str
    header: str | None = None

    def __str__(self) -> str:
        foreign = ", foreign," if self.foreign else ""
        live = f"live, header sha256:{self.header} first sources"
        origin = live if self.stream is None else f"stream sha256:{self.stream} sources"
        return (
            f"Synthesised by fvc {self.version}: drawn by a generator, not filmed. "
            f"{origin} {self.sources}{foreign} weights {self.weights}"
        )

    @classmethod
    def parse(cls, text: str) -> Provenance | None:
        """The inverse of `str`; None for any other text."""
        found = _FORM.fullmatch(text)
        if not found:
            return None
        is_foreign = found["foreign"] is not None
        return cls(found["version"], found["stream"], found["sources"], is_foreign, found["weights"], found["header"])


def read_provenance(path: str | os.PathLike[str]) -> dict[str, object] | None:
    """The provenance tag of a video, as `fvc info` shows it; None if it is no video or has no tag."""
    try:
        with av.open(f"file:{os.fsdecode(path)}", options=LIMITS) as container:
            tags = {name.lower(): text for name, text in container.metadata.items()}  # Matroska writes COMMENT
            found = Provenance.parse(tags.get("comment", ""))
    except (av.FFmpegError, OSError, ValueError):
        return None
    return {"type": "video", "synthesised": True, **asdict(found)} if found else None
