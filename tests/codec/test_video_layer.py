"""The video layer: its packets, lost and hostile ones, and coding it into a number of bytes."""

from __future__ import annotations

import io
from fractions import Fraction

import cv2
import numpy as np
import pytest

from fvc.codec.base.errors import StreamError
from fvc.codec.distortion import edge_distance
from fvc.codec.layer_encoder import CodedLayer, LayerCoder, code_layer
from fvc.codec.media.video import VideoReader
from fvc.codec.video_layer import LayerDecoder, LayerPayload, resized
from fvc.codec.wire.av1_video import VideoDecoder, encode_video
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.codec.wire.container import StreamReader, StreamWriter

FPS = Fraction(15)


def moving(side: int, count: int, seed: int = 0) -> list[np.ndarray]:
    """A textured square that shifts by two pixels a frame, uint8 [side, side, 3] each."""
    rng = np.random.default_rng(seed)
    wide = cv2.resize(rng.integers(0, 256, (side // 8, side // 4, 3), np.uint8), (2 * side, side))
    return [wide[:, 2 * n : 2 * n + side] for n in range(count)]


@pytest.fixture(scope="module")
def coded() -> list[bytes]:
    return encode_video(moving(64, 8), 50, FPS)


def payload(coded: list[bytes], frame: int, step: int = 1) -> bytes:
    return bytes(LayerPayload(step if frame else 0, None if frame else 0, coded[frame]))


def test_pictures_are_those_of_the_av1_stream(coded: list[bytes]) -> None:
    layer, decoder = LayerDecoder(), VideoDecoder(64)
    for frame, data in enumerate(coded):
        layer.put(frame, payload(coded, frame))
        picture = layer.take(frame)
        assert picture is not None
        assert np.array_equal(picture, resized(decoder.decode(data), 256))
    assert (layer.pictures, layer.damaged) == (8, 0)
    assert layer.take(3) is None  # only the newest


def test_a_missing_packet_ends_the_layer_until_it_starts_anew(coded: list[bytes]) -> None:
    layer, shown = LayerDecoder(), []
    for frame in range(8):
        if frame == 2:
            continue
        restart = bytes(LayerPayload(0, 5, coded[0]))
        layer.put(frame, restart if frame == 5 else payload(coded, frame - 5 if frame > 5 else frame))
        shown += [frame] * (layer.take(frame) is not None)
    assert shown == [0, 1, 5, 6, 7]


def test_a_packet_of_another_frame_is_not_shown(coded: list[bytes]) -> None:
    layer = LayerDecoder()
    layer.put(1, payload(coded, 0))  # says frame 0
    assert layer.take(1) is None
    layer.put(2, bytes(LayerPayload(0, 2, coded[0])))
    layer.put(2, bytes(LayerPayload(0, 2, coded[0])))  # the same frame twice
    assert layer.take(2) is None
    assert layer.damaged == 2


def test_pictures_of_another_size_are_refused() -> None:
    layer = LayerDecoder()
    layer.put(0, bytes(LayerPayload(0, 0, encode_video(moving(320, 1), 60, FPS)[0])))
    assert layer.take(0) is None


def test_hostile_payloads_never_raise(coded: list[bytes]) -> None:
    rng, layer = np.random.default_rng(0), LayerDecoder()
    for number in range(60):
        data = bytearray(payload(coded, number % 8))
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        layer.put(number, bytes(data[: rng.integers(0, len(data) + 1)]))
    assert layer.damaged > 10
    for data, rule in ((b"", "E04"), (b"\0", "E04"), (b"\0\x80\0x", "E05"), (b"\1", "E26"), (b"\0\0", "E26")):
        with pytest.raises(StreamError, match=rule):
            LayerPayload.parse(data)
    two = coded[0] + coded[1]
    with pytest.raises(StreamError, match="E26"):
        VideoDecoder(256).decode(two)


def test_reader_gives_layer_packets_the_frame_that_comes_next(coded: list[bytes]) -> None:
    with open("tests/vectors/layer.fvc", "rb") as file:
        header = StreamReader(file).header
    file_ = io.BytesIO()
    writer = StreamWriter(file_, header)
    for frame in range(70):
        writer.write(Packet(Kind.LAYER, 0, payload(coded, min(frame, 7))))
        writer.write(Packet(Kind.MOTION, frame, b""))
    writer.end()
    assert writer.frames == 70
    assert writer.bytes_of["layer"] > 70 * 10
    file_.seek(0)
    numbers = [item.number for item in StreamReader(file_).packets() if isinstance(item, Packet)]
    assert numbers == [n for frame in range(70) for n in (frame, frame)]


def test_layer_takes_what_it_may_and_no_more() -> None:
    pictures = moving(256, 12)
    coder, sizes = LayerCoder(lambda: pictures, FPS), []
    for budget in (14_000, 5_000):
        layer = coder.within(budget)
        assert layer is not None
        assert 0.7 * budget < layer.bytes <= budget
        assert layer.bytes == sum(len(bytes(layer.packet(n))) for n in range(12))
        sizes.append((layer.side, -layer.crf))
    assert sizes[1] < sizes[0]
    assert coder.within(200) is None


def test_coded_layer_is_what_a_receiver_sees() -> None:
    pictures = moving(256, 6)
    layer = code_layer(lambda: pictures, FPS, 128, 40)
    receiver = LayerDecoder()
    for frame in range(6):
        receiver.put(frame, layer.packet(frame).payload)
        seen = receiver.take(frame)
        assert seen is not None
        if frame in (0, 4):
            assert np.array_equal(layer.pictures({0, 4})[frame], seen)
    assert receiver.pictures == 6
    assert isinstance(layer, CodedLayer)


def test_edge_distance_sees_blur_where_the_squared_error_does_not() -> None:
    with VideoReader("samples/astronaut.mp4") as video:
        picture = next(iter(video.frames(Fraction(1)))).rgb[:256, :256]
    brighter = np.clip(picture.astype(int) + 12, 0, 255).astype(np.uint8)
    blurred = cv2.GaussianBlur(picture, (0, 0), 2)
    error = [np.square(other.astype(float) - picture).mean() for other in (brighter, blurred)]
    assert edge_distance(picture, picture) == 0
    assert error[0] > 0.5 * error[1]
    assert edge_distance(blurred, picture) > 5 * edge_distance(brighter, picture)
