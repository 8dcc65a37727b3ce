"""Streams that are cut off or have flipped bits: nothing wrong is decoded, nothing whole is lost."""

from __future__ import annotations

import io
import random
from fractions import Fraction

import make_vectors
import pytest
import spec_decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from make_vectors import CUT_OFF, VECTORS, Stream, header_of
from spec_decoder import SpecError
from spec_support import (
    WITH_AUDIO,
    Found,
    by_spec,
)

from fvc.codec.base.errors import StreamError
from fvc.codec.motion.quantizer import Quantizer
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.bitstream import Audio, Kind, Packet
from fvc.codec.wire.container import StreamReader, read_index
from fvc.codec.wire.source_set import SourceSet


@pytest.mark.parametrize("name", ["annex_b", CUT_OFF])
def test_cut_streams_are_whole_up_to_the_cut(name: str) -> None:
    data = (VECTORS / f"{name}.fvc").read_bytes()
    whole, header_size = by_spec(data), 7 + int.from_bytes(data[5:7], "big") + 4
    for cut in range(0, len(data), 1 if name == "annex_b" else 7):
        try:
            frames, rule = by_spec(data[:cut])["frames"], ""
        except SpecError as error:
            frames, rule = [], error.rule
        assert frames == whole["frames"][: len(frames)]
        assert rule in ("", "E04") if cut else rule == "E01"
        if cut < header_size:
            with pytest.raises(StreamError, match="E04" if cut else "E01"):
                StreamReader(io.BytesIO(data[:cut]))
        else:
            found = Found(data[:cut])
            assert found.frames == whole["frames"][: len(found.frames)]
            assert len(found.damage) <= 1
            assert found.end is None or cut >= len(data) - 8


@pytest.mark.parametrize("name", ["annex_b.fvc", "sources.fvs"])
def test_cut_files_raise_nothing_else(name: str) -> None:
    data = (VECTORS / name).read_bytes()
    parse, read = {
        "annex_b.fvc": (spec_decoder.decode_stream, Found),
        "sources.fvs": (spec_decoder.parse_sources, SourceSet.parse),
    }[name]
    for cut in range(len(data)):
        for function, error in ((parse, SpecError), (read, StreamError)):
            try:
                function(data[:cut])  # type: ignore[operator]
            except error:
                continue
            assert name == "annex_b.fvc"


def small_stream() -> tuple[bytes, list[tuple[int, int, Packet]]]:
    """Two groups of frames with sound between, and the place of each packet."""
    quantizers = {part: Quantizer(2, -2.0, 2.0) for part in Profile.UNSUP_JAC.parts}
    header = header_of(Profile.UNSUP_JAC, 3, Audio(20, 312), quantizers=quantizers, fps=Fraction(10))
    stream, motion = Stream(header), make_vectors.walk(header, random.Random("small"), 0.6)
    for number in range(6):
        stream.frame(number, next(motion) if number != 4 else None)
        stream.sound(number, bytes([number] * number))
    data = stream.bytes()
    places, at = [], len(bytes(header))
    while at < len(data) - 8:
        packet, after = Packet.parse(data, at)
        places.append((at, after, packet))
        at = after
    return data, places


def test_no_flipped_bit_gives_wrong_integers() -> None:
    """packet_crc finds each: what stands before it and from the next keyframe on is right, the rest right or held."""
    data, places = small_stream()
    clean, start = Found(data), places[0][0]
    motion = [place for place in places if place[2].kind in (Kind.MOTION, Kind.KEY)]
    sound = [place for place in places if place[2].kind == Kind.AUDIO]
    keys = [place[0] for place in places if place[2].kind == Kind.KEY]
    for bit in range(8 * len(data)):
        at = bit // 8
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit % 8
        if at < start:
            for read in (StreamReader, lambda file: spec_decoder.decode_stream(file.read())):
                with pytest.raises((StreamError, SpecError)):
                    read(io.BytesIO(bytes(flipped)))
            continue
        found = Found(bytes(flipped))
        if at >= len(data) - 8:
            assert (found.frames, found.audio, found.end, found.damage) == (clean.frames, clean.audio, clean.end, [])
            assert read_index(io.BytesIO(bytes(flipped))) is None
            continue
        first, after, packet = next(place for place in places if place[0] <= at < place[1])
        assert found.damage
        assert found.damage[0].start == first
        next_key = min((key for key in keys if key >= found.damage[0].stop), default=len(data))
        integers = {number: values for number, values in found.frames}
        sounds = {number: payload for number, payload in found.audio}
        for (place, _, own), (number, values) in zip(motion, clean.frames, strict=True):
            if place < first or place >= next_key:
                assert integers[number] == values
            elif packet.kind in (Kind.MOTION, Kind.KEY):
                assert integers.get(number) is None
                assert place != first or number not in integers
            else:
                assert integers.get(number) in (None, values)
            assert own.number == number & 63
        for (place, _, _), (number, payload) in zip(sound, clean.audio, strict=True):
            if place < first or place >= next_key:
                assert sounds[number] == payload
            else:
                assert sounds.get(number) in (None, payload)
                assert place != first or number not in sounds
        assert len(integers) == len(found.frames)
        assert set(integers) <= {number for number, _ in clean.frames}
        if packet.kind == Kind.END:
            assert found.end is None
        elif 4 < at - first - 4 * (packet.kind == Kind.KEY) < after - first:  # neither sync, head nor payload_size
            assert found.end == clean.end
            assert len(found.frames) + len(found.audio) == len(clean.frames) + len(clean.audio) - 1


def test_no_flipped_bit_gives_wrong_integers_with_sliced_keyframes() -> None:
    """Each bit: what has integers has the right ones, and two whole slices end any loss before them."""
    quantizers = {part: Quantizer(1, -2.0, 2.0) for part in Profile.UNSUP_JAC.parts}
    header = header_of(Profile.UNSUP_JAC, 3, quantizers=quantizers)
    stream, motion = Stream(header, refresh=2), make_vectors.walk(header, random.Random("slices"), 0.3)
    for number in range(5):
        stream.frame(number, next(motion))
    data, start = stream.bytes(), len(bytes(header))
    clean = dict(Found(data).frames)
    places, at = dict[int, tuple[int, int]](), start
    for number in range(5):
        places[number] = at, Packet.parse(data, at)[1]
        at = places[number][1]
    assert [n for n in clean if data[places[n][0] + 4] == 0xC1] == [3, 4]
    for bit in range(8 * start, 8 * at):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found = Found(bytes(flipped))
        hit = next(n for n, (a, b) in places.items() if a <= bit // 8 < b)
        assert len(found.frames) == len(dict(found.frames))
        assert all(values in (None, clean[number]) for number, values in found.frames)
        numbers = {number for number, values in found.frames if values is not None}
        assert hit not in numbers
        assert numbers >= set(range(hit)) | ({4} if hit < 3 else set())


def test_damage_hides_no_keyframe() -> None:
    """A flipped bit in a payload_size may point to the end of another packet; a keyframe before that still counts."""
    data, places = small_stream()
    keys = {packet.number: at for at, _, packet in places if packet.kind == Kind.KEY}
    for first, after, _ in places:
        for bit in range(8 * first, 8 * after):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            items = list(StreamReader(io.BytesIO(bytes(flipped))).packets())
            found = {item.number for item in items if isinstance(item, Packet) and item.kind == Kind.KEY}
            assert found >= {number for number, at in keys.items() if at > first}


@given(st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None)
def test_damage_raises_nothing_else(seed: int) -> None:
    rng, data = random.Random(seed), bytearray(WITH_AUDIO)
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(77, len(data))] = rng.randrange(256)
    Found(bytes(data))
    try:
        by_spec(bytes(data))
    except SpecError:
        return
