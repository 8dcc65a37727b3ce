"""Frame by frame, without files: what a program with a camera and a transport of its own needs.

encoder, setup = fvc.open_encoder(first_pictures, fps=15)      # uint8 [H, W, 3] each, a second or more of them
send_reliably(bytes(setup))                                    # header and source pictures, once
packetizer = fvc.Packetizer(redundancy=2)
for picture in camera:
    for datagram in packetizer.add(encoder.encode(picture)):
        send(datagram)                                         # any may be lost

decoder = fvc.open_decoder(receive_reliably())
depacketizer = fvc.Depacketizer(decoder.header)
for number in itertools.count():                               # every 1 / fps seconds
    for datagram in received():
        for packet in depacketizer.add(datagram):
            decoder.put(packet)
    show(decoder.show(number).rgb)                             # uint8 [256, 256, 3]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fvc.calls.enrolment import enrol
from fvc.codec.base.errors import OptionError
from fvc.codec.base.reporting import Note, silent
from fvc.codec.call.setup import Setup
from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder, check_picture
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame
from fvc.codec.options import EncoderOptions
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT


def open_encoder(
    first_pictures: Iterable[np.ndarray], *, preset: str = DEFAULT, note: Note = silent, **options: Any
) -> tuple[Encoder, Setup]:
    """An encoder for the face in some pictures, and the set-up that its receiver needs first.

    Args:
        first_pictures: uint8 [H, W, 3] each, all of one size, one per frame of the stream: crop and source pictures
            are taken from them. A second suffices; several, with turns of the head and a blink, draw better.
        preset: the networks, one of those whose weights are installed.
        note: called with one-line remarks.
        options: those of `codec.options.EncoderOptions` that concern frames: fps, profile, quality,
            motion_kbps, keyframe_interval, refresh, face, size.

    Returns:
        the encoder, whose `encode` takes pictures in order; the set-up, whose bytes `open_decoder` takes.

    Raises:
        InputError: no face in the pictures. OptionError: see `EncoderOptions`. UsageError: an unknown preset,
            pictures of another type or of several sizes.
    """
    settings = EncoderOptions(**{"audio_bitrate": None, **options})
    if settings.kbps is not None:
        fault = "counts everything in a file, which a stream without end cannot; `motion_kbps` limits its motion"
        raise OptionError("kbps", settings.kbps, fault)
    model = InstalledModel.named(preset)
    model.require_size(settings.size)
    builder = model.source_builder(settings.kind, settings.size)
    frames = _frames(first_pictures)
    all_of_them = float("inf")
    interval, choice = settings.interval, settings.face_choice
    enrolled = enrol("first pictures", frames, settings.rate, all_of_them, builder, interval, None, note, choice)
    tracker = FaceTracker(place=enrolled.place)
    encoder = Encoder(enrolled.setup.header, builder.network, tracker, settings.refresh, settings.plan())
    return encoder, enrolled.setup


def _frames(pictures: Iterable[np.ndarray]) -> Iterator[Frame]:
    size = None
    for index, picture in enumerate(pictures):
        size = check_picture(np.asarray(picture), size)
        yield Frame(picture, index)


def open_decoder(setup: Setup | bytes, *, note: Note = silent) -> Decoder:
    """A decoder for the stream that a set-up announces.

    Raises:
        StreamError: the bytes are no set-up. SourcesError: the weights of its profile are not installed.
    """
    parsed = setup if isinstance(setup, Setup) else Setup.parse(setup)
    header = parsed.header
    model = InstalledModel.of(header, "the set-up", note)
    return Decoder(header, model.renderer(parsed.source_set, header.profile, header.fps))
