"""Frame by frame without files: the public streaming API, as `fvc.streaming` shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import frames_of

import fvc
from fvc.codec.base.errors import InputError, OptionError, StreamError, UsageError


@pytest.fixture(scope="module")
def pictures(clip: Path) -> list[np.ndarray]:
    return frames_of(clip, 5)


def test_two_ends_of_a_call(pictures: list[np.ndarray]) -> None:
    encoder, setup = fvc.open_encoder(pictures[:5], fps=5)
    packetizer = fvc.Packetizer(redundancy=2)
    decoder = fvc.open_decoder(bytes(setup))
    depacketizer, shown = fvc.Depacketizer(decoder.header), list[np.ndarray]()
    for number, picture in enumerate(pictures):
        for datagram in packetizer.add(encoder.encode(picture)):
            if number == 4:
                continue  # a lost datagram: the next ones carry copies of its frames
            for packet in depacketizer.add(datagram):
                decoder.put(packet)
        shown.append(decoder.show(number).rgb)
    assert all(picture.shape == (256, 256, 3) and picture.dtype == np.uint8 for picture in shown)
    assert len({picture.tobytes() for picture in shown}) == len(pictures)
    assert (decoder.tally.decoded, decoder.tally.concealed, decoder.held) == (len(pictures) - 1, 1, 1)
    assert shown[0].std() > 20


def test_numbers_follow_unless_they_are_given(pictures: list[np.ndarray]) -> None:
    encoder, _ = fvc.open_encoder(pictures[:3], fps=5)
    numbers = [encoder.encode(picture).number for picture in pictures[:2]]
    numbers.append(encoder.encode(fvc.Frame(pictures[2], 7)).number)
    numbers.append(encoder.encode(pictures[3]).number)
    assert numbers == [0, 1, 7, 8]


def test_the_same_packets_as_of_a_file(pictures: list[np.ndarray]) -> None:
    """Packets put directly, one by one, as `decode` does."""
    encoder, setup = fvc.open_encoder(pictures, fps=5, quality=60)
    decoder = fvc.open_decoder(setup)
    for picture in pictures[:4]:
        packet = encoder.encode(picture)
        assert decoder.decode(packet).index == packet.number
    assert decoder.held == 0


def test_what_cannot_be_opened(pictures: list[np.ndarray]) -> None:
    with pytest.raises(InputError, match="first pictures: no face found in any of its 2 frames"):
        fvc.open_encoder([np.zeros((96, 96, 3), np.uint8)] * 2)
    with pytest.raises(InputError, match="first pictures: no frames"):
        fvc.open_encoder([])
    with pytest.raises(OptionError, match="fps 0"):
        fvc.open_encoder(pictures, fps=0)
    with pytest.raises(StreamError):
        fvc.open_decoder(b"nothing")


@pytest.mark.parametrize("how", ["float", "grey", "alpha", "smaller"])
def test_other_pictures_are_refused_and_harm_no_later_one(how: str, pictures: list[np.ndarray]) -> None:
    """A float picture ended in an error of OpenCV, and so did the good one after it."""
    good = pictures[1]
    bad = {
        "float": good.astype(np.float32) / 255,
        "grey": good[..., 0],
        "alpha": np.dstack([good, good[..., 0]]),
        "smaller": good[:-2],
    }[how]
    encoder, _ = fvc.open_encoder(pictures[:3], fps=5)
    with pytest.raises(UsageError, match=r"give uint8 \[\d+, \d+, 3\]"):
        encoder.encode(bad)
    assert encoder.encode(good).payload
    with pytest.raises(UsageError, match="give uint8"):
        fvc.open_encoder([good, bad], fps=5)
