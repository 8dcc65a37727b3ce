"""Systems under evaluation: a preset's networks with a profile, run as sender and receiver over a clip.

Bytes are those of the .fvc and the .fvs that `fvc encode` would write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from fvc.codec.base.errors import OptionError, UsageError
from fvc.codec.dataset import Clip
from fvc.codec.motion.sample import Profile
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import SourceBuilder
from fvc.evaluation.presets.baselines import exported, trained
from fvc.evaluation.system_run import SystemRun
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT
from fvc.models.weights import folder_of, shipped, verify
from fvc.models.weights import profiles as trained_profiles

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
    """Parses `preset`, `preset:profile` and `folder`.

    Args:
        presets: empty: all that are installed.
        profiles: for presets that name none; empty: the first profile of each preset (`models.presets`).

    Raises:
        UsageError: a preset is neither installed, nor a trained baseline, nor an exported folder; a profile is
            unknown, or the preset was not trained for it; a system is named twice.
        FvcError: damaged weights.
    """
    systems = []
    for text in presets or shipped():
        preset, profile = _split(text)
        weights = _weights(preset)
        name = Path(weights).name
        if profile:
            systems.append(System(f"{name}:{profile}", weights, _profile_of(text, profile)))
        elif profiles:
            systems += [System(f"{name}:{label}", weights, kind) for label, kind in _named(profiles).items()]
        else:
            systems.append(System(name, weights, Profile.named(trained_profiles(weights)[0])))
    for system in systems:
        _check_trained(system)
    names = [system.name for system in systems]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{min(twice)}: named twice")
    return systems


def _check_trained(system: System) -> None:
    """Raises UsageError for a profile whose parts the preset has never drawn from."""
    known = trained_profiles(system.weights)
    if system.profile.label not in known:
        fault = f"not trained for profile {system.profile.label}; choose {' or '.join(known)}"
        raise UsageError(f"{Path(system.weights).name}: {fault}")


def _split(text: str) -> tuple[str, str]:
    """(preset, profile). A colon separates them, unless the text after it belongs to a path."""
    head, colon, tail = text.rpartition(":")
    return (head, tail) if colon and "/" not in tail and "\\" not in tail else (text, "")


def _named(profiles: Sequence[str]) -> dict[str, Profile]:
    """Name -> profile. Raises OptionError."""
    try:
        return {name: Profile.named(name) for name in profiles}
    except OptionError as error:
        raise OptionError("profiles", error.value, error.fault) from None


def _profile_of(text: str, profile: str) -> Profile:
    """The profile in `preset:profile`. Raises UsageError."""
    try:
        return Profile.named(profile)
    except OptionError as error:
        raise UsageError(f"{text}: profile {profile!r}: {error.fault}") from None


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
    """The name of the system that `fvc encode` uses by default, if it is among them."""
    return next((s.name for s in systems if s.weights == DEFAULT and s.profile == Profile.SUP), None)


@cache
def _source_builder(weights: str, profile: Profile) -> SourceBuilder:
    return InstalledModel(weights).source_builder(profile)


class ClipRun:
    """One run of a clip through a system: `pairs` runs it, `rates` is known afterwards.

    Args:
        quantizer: "default": as `fvc encode`; "paper": as the paper codes: its quantizers, the nearest integers, and
            no filters, which were chosen for our keypoints.

    Attributes:
        sources: as `fvc encode` chooses and codes them.
    """

    def __init__(
        self, clip: Clip, system: System, source_frames: int | None = None, quantizer: str = "default"
    ) -> None:
        options = EncoderOptions(
            fps=clip.rate, profile=system.profile.label, quantizer=quantizer, source_frames=source_frames
        )
        self._clip = clip
        self._run = SystemRun(
            clip.video,
            clip.tracked,
            InstalledModel(system.weights),
            options,
            _source_builder(system.weights, system.profile),
            filters={} if quantizer == "paper" else None,
        )
        self.sources = self._run.sources

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(original crop, drawn picture) of every frame, uint8 [256, 256, 3]."""
        for frame, original in self._clip.frames():
            yield original, self._run.draw(frame)
        self._run.end()

    def rates(self) -> dict[str, float]:
        """The numbers of `RATES`."""
        run = self._run
        payload, file, sources = sum(run.payload_bytes), run.stream_bytes, run.source_bytes
        kbps_of_byte = 8 * float(self._clip.rate) / run.frames / 1000
        return {
            "bits_per_frame": 8 * payload / run.frames,
            "motion_kbps": payload * kbps_of_byte,
            "file_kbps": file * kbps_of_byte,
            "total_kbps": (file + sources) * kbps_of_byte,
            "sources_bytes": sources,
            "held": run.held / run.frames,
        }
