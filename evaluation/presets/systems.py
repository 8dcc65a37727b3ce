"""Systems under evaluation: a preset's networks with a profile, run as sender and receiver over a clip.

What is drawn went through the bytes of real packets; they are counted as they would lie in a .fvc.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder
from fvc.codec.errors import UsageError
from fvc.codec.motion.sample import Profile
from fvc.codec.motion.smoothing import Filters
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import SourceBuilder, TrackedClip, stream_header
from fvc.codec.wire.container import StreamWriter
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation.clips import Clip
from fvc.evaluation.presets.baselines import exported, trained
from fvc.models.installed import InstalledModel
from fvc.models.presets import DEFAULT
from fvc.models.weights import folder_of, shipped, verify

DEFAULT_PROFILE = Profile.SUP
KEYFRAME_SECONDS = 5  # what `fvc encode` does unless it is told otherwise
RATES: dict[str, str] = {
    "bits_per_frame": "motion: entropy-coded driving samples, bits per frame",
    "motion_kbps": "the same, kbit/s",
    "file_kbps": "all bytes of the .fvc without sound, kbit/s",
    "total_kbps": "the .fvc and, spread over the clip, the .fvs without its canvas, kbit/s",
    "sources_bytes": "the .fvs without its canvas",
    "held": "share of frames that show the last picture again, because there was no face",
}


@dataclass(frozen=True)
class System:
    """One row of the tables.

    Attributes:
        name: `preset` or `preset:profile`; weights: an installed preset, or the absolute path of an exported folder.
    """

    name: str
    weights: str
    profile: Profile


def parse_systems(presets: Sequence[str], profiles: Sequence[str] = ()) -> list[System]:
    """`preset`, `preset:profile` or `folder` -> systems.

    Args:
        presets: none: all that are installed.
        profiles: for presets that name none; none: the default profile.

    Raises:
        UsageError: a preset that is neither installed, nor a trained baseline, nor an exported folder; an unknown
            profile; a system twice.
        FvcError: damaged weights.
    """
    systems = []
    for text in presets or shipped():
        preset, profile = _split(text)
        weights = _weights(preset)
        name = Path(weights).name
        if profile or not profiles:
            kind = Profile.named(profile) if profile else DEFAULT_PROFILE
            systems.append(System(f"{name}:{profile}" if profile else name, weights, kind))
        else:
            systems += [System(f"{name}:{each}", weights, Profile.named(each)) for each in profiles]
    names = [system.name for system in systems]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{min(twice)}: named twice")
    return systems


def _split(text: str) -> tuple[str, str]:
    """A colon parts preset and profile, unless what follows it belongs to a path."""
    head, colon, tail = text.rpartition(":")
    return (head, tail) if colon and "/" not in tail and "\\" not in tail else (text, "")


def _weights(preset: str) -> str:
    if preset in shipped():
        return preset
    if preset in trained():
        return str(exported(preset).resolve())
    folder = Path(preset)
    if (folder / "manifest.json").is_file():
        weights = str(folder.resolve())  # `folder_of` gives an absolute path back as it is
        verify(folder_of(weights))
        return weights
    installed = ", ".join([*shipped(), *trained()]) or "none"
    raise UsageError(f"preset {preset!r}: not installed ({installed}), nor a folder with exported weights")


def default_of(systems: Sequence[System]) -> str | None:
    """The system that `fvc encode` is, if it is among them."""
    return next((s.name for s in systems if s.weights == DEFAULT and s.profile == DEFAULT_PROFILE), None)


@cache
def _builder(weights: str, profile: Profile) -> SourceBuilder:
    return InstalledModel(weights).source_builder(profile)


@dataclass
class Call:
    """A clip's way through a system; `pairs` runs it, `rates` is known afterwards.

    Attributes:
        quantizer: "default": as `fvc encode`; "paper": as the paper codes, its quantizers, the nearest integers, and no
            filters, which were chosen for our keypoints.
        sources: as `fvc encode` chooses and codes them.
    """

    clip: Clip
    system: System
    source_frames: int | None = None
    quantizer: str = "default"
    sources: SourceSet = field(init=False)

    def __post_init__(self) -> None:
        clip, system = self.clip, self.system
        model, builder = InstalledModel(system.weights), _builder(system.weights, system.profile)
        tracked = TrackedClip(clip.seen, clip.rate, clip.crop)
        self.sources, _ = builder.choose(clip.video, tracked, count=self.source_frames)
        self._sup = clip.seen.sup_of()
        options = EncoderOptions(fps=clip.rate, quantizer=self.quantizer)
        header = stream_header(self.sources, tracked, options.interval, options.quantizers)
        self._writer = StreamWriter(BytesIO(), header)
        filters: Filters | None = {} if self.quantizer == "paper" else None
        self._encoder = Encoder(header, builder.network, plan=options.plan(), filters=filters)
        self._decoder = Decoder(header, model.renderer(self.sources, system.profile, clip.rate))

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(original crop, drawn picture) of every frame, uint8 [256, 256, 3]."""
        for frame, original in self.clip.frames():
            packet = self._encoder.encode_tracked(frame, self._sup.get(frame.index))
            self._writer.write(packet)
            yield original, self._decoder.decode(packet).rgb
        self._writer.end()

    def rates(self) -> dict[str, float]:
        """The numbers of `RATES`."""
        frames, payload = self._writer.frames, self._writer.payload_bytes
        file, sources = sum(self._writer.bytes_of.values()), len(bytes(self.sources))
        kbps = 8 * float(self.clip.rate) / frames / 1000  # of one byte
        return {
            "bits_per_frame": 8 * payload / frames,
            "motion_kbps": payload * kbps,
            "file_kbps": file * kbps,
            "total_kbps": (file + sources) * kbps,
            "sources_bytes": sources,
            "held": self._decoder.held / frames,
        }
