"""What a decoded video says of itself: that a generator drew it, from which stream, sources and weights.

It is the container's "comment" tag, one line for people and programs. It helps honest people; whoever wants to
deceive can remove it (SECURITY.md).
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import asdict, dataclass

import av

from fvc.codec.video import LIMITS

_FORM = re.compile(
    r"Synthesised by fvc (?P<version>\S+): drawn by a generator, not filmed\. "
    r"stream sha256:(?P<stream>[0-9a-f]{64}) sources (?P<sources>[0-9a-f]{32})(?P<foreign>, foreign,)? "
    r"weights (?P<weights>[0-9a-f]{16})"
)


@dataclass(frozen=True)
class Provenance:
    """Where a synthesised video comes from.

    Attributes:
        version: of fvc.
        stream: SHA-256 of the .fvc file, in hexadecimal.
        sources: sources_hash of the .fvs (pixels_hash, where pictures were given) that it was drawn with.
        foreign: whether these are not the sources that the stream was made for.
        weights: model_hash of the networks.
    """

    version: str
    stream: str
    sources: str
    foreign: bool
    weights: str

    def __str__(self) -> str:
        foreign = ", foreign," if self.foreign else ""
        return (
            f"Synthesised by fvc {self.version}: drawn by a generator, not filmed. "
            f"stream sha256:{self.stream} sources {self.sources}{foreign} weights {self.weights}"
        )

    @classmethod
    def parse(cls, text: str) -> Provenance | None:
        """The inverse of `str`; None for any other text."""
        found = _FORM.fullmatch(text)
        if not found:
            return None
        return cls(found["version"], found["stream"], found["sources"], bool(found["foreign"]), found["weights"])


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_provenance(path: str | os.PathLike[str]) -> dict[str, object] | None:
    """What a video says of its origin, as `fvc info` shows it; None where it is no video or says nothing."""
    try:
        with av.open(f"file:{os.fsdecode(path)}", options=LIMITS) as container:
            found = Provenance.parse(container.metadata.get("comment", ""))
    except (av.FFmpegError, OSError, ValueError):
        return None
    return {"type": "video", "synthesised": True, **asdict(found)} if found else None
