"""One set of installed weights, with everything that senders and receivers need from it.

A stream names its weights by a hash; a user names them by a preset. Both lead here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import OptionError, SourcesError
from fvc.codec.base.reporting import Note, silent
from fvc.codec.media.resizing import resized
from fvc.codec.motion.sample import Profile
from fvc.codec.renderer import Renderer, SceneDraw
from fvc.codec.wire.bitstream import Header
from fvc.codec.wire.scenes import Scenes
from fvc.codec.wire.source_set import SourceSet
from fvc.models.inference.drawing import DrawRuntime
from fvc.models.inference.fusing import LazyFuse
from fvc.models.inference.motion import MotionRuntime
from fvc.models.presets import DEFAULT
from fvc.models.weights import blends_parts, draws_large, model_hash, preset_of, profiles, require_shipped

if TYPE_CHECKING:
    from fvc.codec.source_builder import SourceBuilder


@dataclass(frozen=True)
class InstalledModel:
    """A preset whose weights are installed (or, for evaluation, the absolute path of an exported folder)."""

    preset: str

    @classmethod
    def named(cls, preset: str = DEFAULT) -> InstalledModel:
        """The preset of this name. Raises UsageError where it is not installed."""
        require_shipped(preset)
        return cls(preset)

    @classmethod
    def of(cls, header: Header, name: str = "the stream", note: Note = silent) -> InstalledModel:
        """The weights that draw the stream called `name`: those it was made for, where they are installed.

        A stream without learned parts carries tracked landmarks, which any weights can draw: where its own are not
        installed it gets the default ones, with a note.

        Raises SourcesError where the weights of learned parts are not installed.
        """
        preset = preset_of(header.model_hash)
        if preset is not None:
            return cls(preset)
        fault = f"{name}: made for weights {header.model_hash.hex()}, which are not installed"
        if header.profile.is_learned:
            raise SourcesError(f"{fault}; profile {header.profile.label} can be drawn with no others")
        note(f"{fault}; drawn with those of {DEFAULT}")
        return cls.named(DEFAULT)

    @property
    def hash(self) -> bytes:
        """The eight bytes by which streams name these weights."""
        return model_hash(self.preset)

    @property
    def blends_parts(self) -> bool:
        """Whether eyes and mouth may come from another source than the rest of the face."""
        return blends_parts(self.preset)

    @property
    def draws_large(self) -> bool:
        """Whether pictures of 512x512 pixels are drawn as such; else they are averaged down to 256x256."""
        return draws_large(self.preset)

    def require_size(self, size: int) -> None:
        """Raises OptionError where these weights do not draw pictures of this side."""
        if size != SIDE and not self.draws_large:
            raise OptionError("size", size, f"preset {self.preset} draws {SIDE} pixels only")

    def source_builder(self, profile: Profile, side: int = SIDE) -> SourceBuilder:
        """A builder of source sets for these weights; loads the sender's networks if the profile needs them.

        `side`: of the pictures, 256 or 512 pixels. Raises OptionError for a profile that they were not trained for.
        """
        if profile.label not in (known := profiles(self.preset)):
            fault = f"preset {Path(self.preset).name} was not trained for it; choose {' or '.join(known)}"
            raise OptionError("profile", profile.label, fault)
        from fvc.codec.source_builder import SourceBuilder  # a sender's: receivers start sooner without it

        return SourceBuilder(profile, self.motion(profile), self.hash, self.blends_parts, side)

    def motion(self, profile: Profile) -> MotionRuntime | None:
        """The sender's networks, if the profile has parts that they compute."""
        return MotionRuntime(self.preset) if profile.is_learned else None

    def renderer(
        self,
        source_set: SourceSet,
        profile: Profile,
        fps: Fraction,
        streams: int = 1,
        exact: bool = False,
        relative_motion: bool = False,
        scenes: Scenes | None = None,
        shows_layers: bool = True,
    ) -> Renderer:
        """A renderer of streams of this profile and rate from a source set, which may have more parts than that.

        `streams` and `exact`: see `DrawRuntime`; `relative_motion`: see `Renderer`; `scenes`: of the stream;
        `shows_layers`: whether video layers are shown. The network for them is loaded when the first one comes.
        """
        samples = [sample.only(profile.parts) for sample in source_set.samples]
        is_large = source_set.side != SIDE and self.draws_large  # which reads the large graphs: only where they matter
        side = source_set.side if is_large else SIDE
        drawn_from = [resized(picture, side) for picture in source_set.pictures]

        def draw_from(numbers: Sequence[int]) -> DrawRuntime:
            pictures = [drawn_from[n] for n in numbers]
            return DrawRuntime(self.preset, pictures, [samples[n] for n in numbers], streams, exact)

        count = len(samples)
        draw = draw_from(range(count)) if scenes is None else SceneDraw(scenes, count, draw_from)
        return Renderer(draw, samples[0], fps, relative_motion, LazyFuse(streams) if shows_layers else None, side)
