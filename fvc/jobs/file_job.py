"""One clip that is being encoded: what both ways of encoding it, with and without a budget, start from."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from fvc.codec.base.constants import SOURCES_HASH_BYTES
from fvc.codec.base.reporting import Note, PathLike, Progress
from fvc.codec.encoder import Encoder, Found
from fvc.codec.face.crop import cut
from fvc.codec.layer_encoder import CodedLayer
from fvc.codec.media.pipeline import ahead
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.motion.quantizer import for_parts
from fvc.codec.motion.ratecontrol import Plan
from fvc.codec.options import EncoderOptions
from fvc.codec.sound_track import SoundTrack
from fvc.codec.source_builder import (
    ChosenSources,
    PickedSources,
    SourceBuilder,
    TrackedClip,
    stream_header,
)
from fvc.codec.wire.bitstream import Header, Kind, Packet
from fvc.codec.wire.source_set import code_pictures
from fvc.models.inference.installed import InstalledModel

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_KEPT_CROPS = 900  # 177 MB; of longer clips the crops are read again each time


@dataclass(frozen=True)
class Shares:
    """What is sent of a clip.

    Attributes:
        sources: the source pictures.
        packets: of motion and sound, in order.
        layer: the video layer; None: there is none.
    """

    sources: ChosenSources
    packets: Iterable[Packet]
    layer: CodedLayer | None = None


@dataclass
class FileJob:
    """One encode of a file.

    Attributes:
        source: the file; video: the same, open.
        clip: the result of tracking it.
        skipped: frames with a face that were left out because the rate had no room for them, once all are coded.
    """

    source: PathLike
    settings: EncoderOptions
    model: InstalledModel
    video: VideoReader
    clip: TrackedClip
    note: Note
    progress: Progress
    skipped: int = 0
    _kept: list[np.ndarray] = field(default_factory=list)
    _picked: dict[int, PickedSources] = field(default_factory=dict)

    def __post_init__(self) -> None:
        builder = self.model.source_builder(self.settings.kind, self.settings.size)
        self.builder: SourceBuilder = builder.fitting(self.clip.crop, self.video.name, self.note)
        self._sound = self._new_sound()
        if self.settings.audio_bitrate is not None and self._sound.audio is None:
            self.note(f"{self.video.name}: has no sound")

    def _new_sound(self) -> SoundTrack:
        return SoundTrack(self.source, self.settings.audio_bitrate, self.settings.audio_stream)

    def unlimited(self) -> Shares:
        """Pictures as good as they need to be, no layer; packets are coded as they are asked for."""
        chosen = self.sources(self.settings.source_frames, self.settings.source_bytes)
        return Shares(chosen, self.packets(self.header(chosen), self.settings.plan()))

    def sources(self, count: int | None, most_bytes: int | None) -> ChosenSources:
        """As `SourceBuilder.choose`."""
        self.progress("sources", 0, None)
        chosen = self.builder.choose(self.video, self.clip, self.settings.canvas, count, most_bytes)
        self.progress("sources", 1, 1)
        return chosen

    def coded(self, count: int, crf: int) -> ChosenSources:
        """This many source pictures of each person and place, none patched, at this constant rate factor."""
        if count not in self._picked:
            self._picked[count] = self.builder.pick(self.video, self.clip, count, patched=False)
        picked = self._picked[count]
        return self.builder.chosen(picked, code_pictures(picked.crops, crf), self.settings.canvas)

    def header(self, sources: ChosenSources | None = None) -> Header:
        """The header of a stream with these sources; None: with hashes of none."""
        settings, audio = self.settings, self._sound.audio
        if sources is not None:
            found = sources.source_set
            return stream_header(found, self.clip, settings.interval, settings.quantizers, audio, sources.scenes)
        quantizers, no_hash = for_parts(settings.quantizers, settings.kind.parts), bytes(SOURCES_HASH_BYTES)
        crop, rate, weights = self.clip.crop, self.clip.rate, self.builder.model_hash
        return Header(settings.kind, quantizers, rate, settings.interval, crop, weights, no_hash, no_hash, audio)

    def packets(self, header: Header, plan: Plan) -> Iterator[Packet]:
        """Codes motion and sound. Packets do not depend on the sources that the header names."""
        encoder = Encoder(header, self.builder.network, refresh=self.settings.refresh, plan=plan)
        sup_of, cuts, sounds = self.clip.seen.sup_of(), set(self.clip.seen.cuts), 0
        sound, self._sound = self._sound, self._new_sound() if self.settings.kbps is not None else self._sound
        with closing(self._second_look(encoder)) as frames:
            for frame in frames:
                for packet in sound.due(frame.index / self.clip.rate):
                    sounds += 1
                    yield packet
                found = Found(sup_of.get(frame.index), frame.index in cuts)
                yield encoder.encode(frame, found, audio_packets=sounds)
                self.progress("encoding", frame.index + 1, self.clip.seen.frames)
        self.skipped = encoder.skipped
        yield from sound.due(None)

    def _second_look(self, encoder: Encoder) -> Generator[Frame, None, None]:
        """The frames of the second pass; without pixels if the landmarks of the first pass suffice."""
        if encoder.looks:
            return ahead(self.video.frames(self.clip.rate))
        return (Frame(_NO_PIXELS, index) for index in range(self.clip.seen.frames))

    def crops(self) -> Iterator[np.ndarray]:
        """The coded squares of all frames, uint8 [256, 256, 3]; kept from the first call on if they are few."""
        if self._kept:
            yield from self._kept
            return
        kept: list[np.ndarray] | None = [] if self.clip.seen.frames <= _KEPT_CROPS else None
        with closing(ahead(self.video.frames(self.clip.rate))) as frames:
            for frame in frames:
                crop = cut(frame.rgb, self.clip.crop)
                if kept is not None:
                    kept.append(crop)
                yield crop
        self._kept = kept or []


def with_layer(packets: Iterable[Packet], layer: CodedLayer | None) -> Iterator[Packet]:
    """Puts the LAYER packet of each frame before the frame's own."""
    for packet in packets:
        if layer is not None and packet.kind != Kind.AUDIO and packet.number < len(layer.coded):
            yield layer.packet(packet.number)
        yield packet
