"""Writes the golden streams of `tests/vectors`, or random valid ones for other people's decoders.

    python tests/spec/make_vectors.py [--out DIR]                    the golden streams
    python tests/spec/make_vectors.py --random N --out DIR --seed S  N random streams
    python tests/spec/make_vectors.py --spec                         tables and hex of bitstream_spec.md, Annexes A to C

Each stream is made by fvc's own encoder from seeded samples; beside it lies a JSON file with what a decoder must find:
header, [frame number, integers or null for hold], [audio number, payload], END payload. Only the AV1 data in the .fvs
depends on a library's version. If a golden stream changes, so did the format: give it a new version.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import spec_decoder
from annexes import compact, write_spec
from invalid_vectors import invalid
from source_vectors import SETS, gradient, source_set

from fvc.codec.call.datagram import Datagram, Packetizer
from fvc.codec.motion.quantizer import (
    COMPONENTS,
    DEFAULT,
    PAPER,
    Quantizer,
    coded_parts,
    for_parts,
    to_integers,
    to_sample,
)
from fvc.codec.motion.sample import Profile
from fvc.codec.sample_encoder import SampleEncoder
from fvc.codec.video_layer import LayerPayload
from fvc.codec.wire.av1_pictures import encode_still
from fvc.codec.wire.av1_video import encode_video
from fvc.codec.wire.bitstream import SHAPED, Audio, Crop, Header, Kind, Packet, RefreshPayload
from fvc.codec.wire.container import StreamWriter
from fvc.codec.wire.scenes import Scenes
from fvc.codec.wire.source_set import code_pictures

Integers = dict[str, list[int]]
HERE = Path(__file__).parents[1]
VECTORS, SPEC = HERE / "vectors", HERE.parent / "bitstream_spec.md"


def header_of(profile: Profile, interval: int = 0, audio: Audio | None = None, **fields: Any) -> Header:
    values = {
        "quantizers": for_parts(PAPER, profile.parts),
        "fps": Fraction(15),
        "crop": Crop(640, 480, 200, -12, 300),
        "model_hash": bytes(range(8)),
        "sources_hash": bytes(range(16, 32)),
        "pixels_hash": bytes(range(32, 48)),
    }
    return Header(profile=profile, keyframe_interval=interval, audio=audio, **(values | fields))


def usual_face(header: Header, rng: random.Random) -> Integers:
    """The mean of the priors, and a little noise."""
    face: Integers = {}
    for part, quantizer in header.quantizers.items():
        priors, values = spec_decoder.PRIORS[part], [0] * COMPONENTS[part]
        for place, mean in zip(priors["order"], priors["mean"], strict=True):
            noisy = (mean >> 16 - quantizer.bits) + rng.randint(-3, 3)
            values[place] = min(max(noisy, 0), quantizer.top)
        face[part] = values
    return face


def walk(header: Header, rng: random.Random, step: float, usual: bool = True) -> Iterator[Integers]:
    """A face that moves: all components drift together, and each a little by itself; `step` in quantizer steps.

    It begins as a usual face, or anywhere.
    """
    tops = {part: quantizer.top for part, quantizer in header.quantizers.items()}
    now = usual_face(header, rng)
    if not usual:
        now = {part: [rng.randrange(top + 1) for _ in range(COMPONENTS[part])] for part, top in tops.items()}
    while True:
        yield dict(now)
        drift = [rng.uniform(-step, step) for _ in range(4)]
        for part, values in now.items():
            moved = (round(v + drift[i % 4] + rng.uniform(-step, step)) for i, v in enumerate(values))
            now[part] = [min(max(v, 0), tops[part]) for v in moved]


def jumps(header: Header, rng: random.Random) -> Iterator[Integers]:
    """Ends of the range, alone and mixed: the largest residuals, escapes and shifts there are."""
    tops = {part: quantizer.top for part, quantizer in header.quantizers.items()}
    while True:
        for choice in ([0], [1], [0], [0, 1], [0, 1], [1], [0, 0, 0, 1]):
            yield {part: [rng.choice(choice) * top for _ in range(COMPONENTS[part])] for part, top in tops.items()}


def restored(number: int, lowest: int) -> int:
    """What a decoder makes of the number's six bits: after 64 lost packets it is wrong until the next keyframe."""
    return lowest + ((number - lowest) & 63)


class Stream:
    """A stream and what a decoder must find in it."""

    def __init__(self, header: Header, refresh: int = 0) -> None:
        self._header, self._file = header, io.BytesIO()
        self._writer = StreamWriter(self._file, header)
        self._encoder = SampleEncoder(header, refresh)
        self._sounds = 0  # packets of sound so far
        self._next_frame = self._next_sound = 0  # the lowest number that a decoder may find next
        self._follows: int | None = None  # the frame that needs no keyframe
        self._slices: list[int] = []  # frames of the slices of one keyframe that came without a gap
        self._frames: list[tuple[int, Integers | None]] = []
        self._audio: list[tuple[int, str]] = []
        self._layer: list[tuple[int, str]] = []
        self._end: dict[str, Any] | None = None

    def frame(self, number: int, integers: Integers | None, lost: bool = False) -> None:
        """Codes a frame (None: no face); `lost` keeps its packet out of the stream."""
        packet, integers = code(self._encoder, self._header, number, integers, self._sounds)
        if lost:
            return
        if packet.kind == Kind.KEY:
            self._follows = number
        if packet.kind in (Kind.KEY, Kind.REFRESH):
            self._next_frame = number
            self._next_sound = max(self._next_sound, self._sounds)
        if packet.kind == Kind.REFRESH:
            part = RefreshPayload.parse(packet.payload)
            whole = self._slices == list(range(number - part.slice, number))
            self._slices = [*self._slices, number] if whole and part.slice else [number][: part.slice == 0]
            if len(self._slices) == part.slices:
                self._follows = number
        found = restored(number, self._next_frame)
        self._next_frame = found + 1
        whole = self._follows == found
        self._follows = found + 1 if whole else None
        self._frames.append((found, integers if whole else None))
        self._writer.write(packet)

    def sound(self, number: int, payload: bytes, lost: bool = False) -> None:
        self._sounds = number + 1
        if not lost:
            self._writer.write(Packet(Kind.AUDIO, number, payload))
            self._audio.append((restored(number, self._next_sound), payload.hex()))
            self._next_sound = self._audio[-1][0] + 1

    def layer(self, payload: bytes, number: int | None) -> None:
        """A LAYER packet of the frame that comes next; `number`: its frame where a decoder has a use for it."""
        self._writer.write(Packet(Kind.LAYER, 0, payload))
        if number is not None:
            self._layer.append((number, LayerPayload.parse(payload).coded.hex()))

    def bytes(self, ended: bool = True) -> bytes:
        if ended:
            self._writer.end()
            keyframes = [list(pair) for pair in self._writer.keyframes]
            self._end = {
                "frames": self._writer.frames,
                "audio_packets": self._writer.audio_packets,
                "keyframes": keyframes,
            }
        return self._file.getvalue()

    def json(self) -> str:
        header = self._header
        audio = header.audio and {"frame_ms": header.audio.frame_ms, "pre_skip": header.audio.pre_skip}
        quantizers = {
            part: {"bits": q.bits, "low": round(q.low * 256), "high": round(q.high * 256)}
            for part, q in header.quantizers.items()
        }
        fields = {
            "profile": header.profile + SHAPED * ("shape" in header.quantizers),
            "fps": [header.fps.numerator, header.fps.denominator],
            "keyframe_interval": header.keyframe_interval,
            "crop": vars(header.crop),
            "model_hash": header.model_hash.hex(),
            "sources_hash": header.sources_hash.hex(),
            "pixels_hash": header.pixels_hash.hex(),
            "quantizers": quantizers,
            "audio": audio,
        }
        fields |= {"scenes": vars(header.scenes)} if header.scenes else {}
        fields |= {"side": header.side} if header.side != 256 else {}
        coder = [f"{number:016x}" for number in spec_decoder.decode_stream(self._file.getvalue())["coder"]]
        layer = {"layer": self._layer} if self._layer else {}
        found = {"frames": self._frames, "audio": self._audio, **layer, "end": self._end, "coder": coder}
        return compact({"header": fields, **found})


def code(
    encoder: SampleEncoder, header: Header, number: int, integers: Integers | None, sounds: int = 0
) -> tuple[Packet, Integers | None]:
    """The packet of a frame (None: no face) and the integers that it carries, after so many packets of sound."""
    if integers is None:
        return encoder.hold(number, sounds), None
    sample = to_sample({part: np.array(values) for part, values in integers.items()}, header.quantizers)
    packet = encoder.encode(number, sample, sounds)
    arrays = to_integers(sample, header.quantizers)
    return packet, {part: array.tolist() for part, array in arrays.items()}


def profile_stream(profile: Profile, quantizers: Mapping[str, Quantizer] = PAPER) -> Stream:
    header = header_of(profile, interval=4, quantizers=for_parts(quantizers, profile.parts))
    stream, rng = Stream(header), random.Random(f"profile {profile.label}")
    for number, integers in zip(range(6), walk(header, rng, 2.5), strict=False):
        stream.frame(number, integers)
    return stream


def annex_b() -> Stream:
    """The stream that the specification takes apart: a keyframe, two ordinary frames, one without a face."""
    header = header_of(Profile.SUP)
    stream, rng = Stream(header), random.Random("annex B")
    for number, integers in zip(range(3), walk(header, rng, 1.5), strict=False):
        stream.frame(number, integers)
    stream.frame(3, None)
    return stream


def extremes(profile: Profile, is_shaped: bool = False) -> Stream:
    header = header_of(
        profile,
        fps=Fraction(65535, 274),
        crop=Crop(16384, 16384, -32768, 32767, 16384),
        quantizers={part: Quantizer(16, -128.0, 32767 / 256) for part in coded_parts(profile.parts, is_shaped)},
    )
    stream = Stream(header)
    for number, integers in zip(range(7), jumps(header, random.Random("extremes")), strict=False):
        stream.frame(number, integers)
    return stream


def coarse() -> Stream:
    """One bit a component, every frame a keyframe."""
    profile = Profile.SUP_UNSUP_EXPR
    header = header_of(profile, interval=1, quantizers={part: Quantizer(1, -1.0, 1.0) for part in profile.parts})
    stream = Stream(header)
    for number, integers in zip(range(3), jumps(header, random.Random("coarse")), strict=False):
        stream.frame(number, integers)
    return stream


def scenes() -> Stream:
    """Three sets of pictures, the last of which names none that is there, over few frames of a long table."""
    changes = ((0, 0), (2, 1), (3, 0), (4, 2), (5, 1), (1 << 28, 0), (1 << 29, 1))
    header = header_of(Profile.SUP, scenes=Scenes((0b00000011, 0b10011100, 0), changes))
    stream = Stream(header)
    for number, integers in zip(range(6), walk(header, random.Random("scenes"), 1), strict=False):
        stream.frame(number, integers)
    return stream


def large() -> Stream:
    """A header that says that the pictures have 512 x 512 pixels; motion is as ever."""
    header = header_of(Profile.SUP, scenes=Scenes((3,), ((0, 0),)), side=512)
    stream = Stream(header)
    for number, integers in zip(range(3), walk(header, random.Random("large"), 1), strict=False):
        stream.frame(number, integers)
    return stream


def still() -> Stream:
    """Nothing moves: expected magnitudes fall to zero, payloads to one byte."""
    header = header_of(Profile.SUP)
    stream, integers = Stream(header), next(walk(header, random.Random("still"), 0))
    for number in range(24):
        stream.frame(number, integers if number != 20 else {"sup": [255 - v for v in integers["sup"]]})
    return stream


def lost_face() -> Stream:
    """No face at first, then for more than 64 frames; the numbers' six bits wrap."""
    header = header_of(Profile.SUP, interval=30)
    stream, faces = Stream(header), walk(header, random.Random("lost face"), 2, usual=False)
    for number in range(90):
        stream.frame(number, next(faces) if number in (2, 3, 5, 6, 85, 86, 88) else None)
    return stream


def gap() -> Stream:
    """Packets never arrived (frame 2, then 80 frames), the sound's with them; there is no END packet.

    80 are more than six bits can count: until the next keyframe, what is found is 64 too low.
    """
    header = header_of(Profile.SUP, interval=5, audio=Audio(20, 312))
    stream, faces = Stream(header), walk(header, random.Random("gap"), 2)
    for number in range(94):
        missing = number == 2 or 8 <= number < 88
        stream.sound(number, bytes([number]), lost=missing)
        if number < 8 or number > 85:
            stream.frame(number, next(faces), lost=missing)
    return stream


def audio() -> Stream:
    """Sound, more packets of it than frames; their contents are Opus to a player and opaque here."""
    header = header_of(Profile.SUP, interval=3, audio=Audio(20, 312), fps=Fraction(30000, 1001))
    stream, rng = Stream(header), random.Random("audio")
    for number, integers in zip(range(5), walk(header, rng, 2), strict=False):
        for n in range(20 * number, 20 * number + 20):
            stream.sound(n, bytes(rng.randrange(256) for _ in range(rng.choice((0, 1, 3, 9)))))
        stream.frame(number, integers)
    return stream


def refresh() -> Stream:
    """Keyframes in three slices every 8 frames. Frame 5 is lost: those from 8 on (one without a face) help; frame 17,
    with a slice, and 18 are lost: those from 24 on do."""
    header = header_of(Profile.SUP, interval=8, audio=Audio(20, 312))
    stream, faces = Stream(header, refresh=3), walk(header, random.Random("refresh"), 1.5)
    for number in range(30):
        integers = next(faces)
        stream.sound(number, bytes([number]), lost=number == 5)
        stream.frame(number, integers if number != 9 else None, lost=number in (5, 17, 18))
    return stream


def layer() -> Stream:
    """Pictures of 64x64 that move, of frames 0 to 9 and 12 to 15; that of frame 3 is missing, which frame 5 ends."""
    header = header_of(Profile.SUP, interval=4, audio=Audio(20, 312))
    stream, faces = Stream(header), walk(header, random.Random("layer"), 1.5)
    first, second = (encode_video([gradient(64, 64, n) for n in range(1, 7)], 63, Fraction(15)) for _ in "ab")
    payloads = {n: LayerPayload(int(n > 0), None if n else 0, data) for n, data in enumerate(first) if n != 3}
    payloads |= {n + 5: LayerPayload((0, 1, 1, 1, 3, 1)[n], None if n else 5, data) for n, data in enumerate(second)}
    payloads[12], payloads[13] = replace(payloads.pop(9), step=4), replace(payloads.pop(10), step=1)
    payloads[14] = LayerPayload(2, None, second[5])  # one too many
    useful = {0, 1, 2, 5, 6, 7, 8, 12, 13}
    for number in range(16):
        if number in payloads:
            stream.layer(bytes(payloads[number]), number if number in useful else None)
        stream.sound(number, bytes([number]))
        stream.frame(number, next(faces) if number != 7 else None)
    return stream


STREAMS: dict[str, Callable[[], Stream]] = {
    "annex_b": annex_b,
    "profile_sup": lambda: profile_stream(Profile.SUP),
    "profile_sup_unsup": lambda: profile_stream(Profile.SUP_UNSUP),
    "profile_sup_unsup_expr": lambda: profile_stream(Profile.SUP_UNSUP_EXPR),
    "profile_unsup_jac": lambda: profile_stream(Profile.UNSUP_JAC),
    "profile_unsup_jac_expr": lambda: profile_stream(Profile.UNSUP_JAC_EXPR),
    "profile_sup_unsup_jac_expr": lambda: profile_stream(Profile.SUP_UNSUP_JAC_EXPR),
    "profile_shape_unsup_jac_expr": lambda: profile_stream(Profile.SUP_UNSUP_JAC_EXPR, DEFAULT),
    "profile_shape": lambda: profile_stream(Profile.SUP, DEFAULT),
    "profile_shape_unsup": lambda: profile_stream(Profile.SUP_UNSUP, DEFAULT),
    "profile_shape_unsup_expr": lambda: profile_stream(Profile.SUP_UNSUP_EXPR, DEFAULT),
    "extremes_shape": lambda: extremes(Profile.SUP, is_shaped=True),
    "extremes": lambda: extremes(Profile.UNSUP_JAC),
    "coarse": coarse,
    "scenes": scenes,
    "large": large,
    "still": still,
    "lost_face": lost_face,
    "gap": gap,
    "audio": audio,
    "refresh": refresh,
    "layer": layer,
}
CUT_OFF = "gap"  # has no END packet


def wire() -> str:
    """Datagrams with two copies, sound and sliced keyframes: some lost, doubled, late, damaged; frames above 2^14."""
    header = header_of(Profile.SUP, interval=8, audio=Audio(20, 312), model_hash=bytes(8))
    rng, encoder, packetizer = random.Random("wire"), SampleEncoder(header, 3), Packetizer(2)
    first, sent, faces = 20_000, list[bytes](), walk(header, rng, 1.5)
    truth: dict[int, Integers | None] = {}
    for number in range(first, first + 32):
        for sound in range(50 * number // 15 - 3, 50 * number // 15):
            sent += packetizer.add(Packet(Kind.AUDIO, sound, bytes([sound % 256, number % 256])))
        packet, truth[number] = code(encoder, header, number, next(faces) if number % 11 else None)
        sent += packetizer.add(packet)
    gone = {6, 7, 8, 13, 25, 27}  # 6 to 8: longer than the copies reach
    arrived = [data for n, data in enumerate(sent) if n not in gone]
    arrived[3:3] = [bytes(Datagram(first + 1, (Packet(Kind.MOTION, first + 1, b""),)))[:-1] + b"?", arrived[1]]
    arrived[12], arrived[15] = arrived[15], arrived[12]
    arrived.append(arrived.pop(20))  # much too late
    arrived[17:17] = [bytes(Datagram(3, (Packet(Kind.KEY, 3, b"\2\0"),))), bytes(Datagram(3, ()))]
    found = spec_decoder.decode_datagrams(bytes(header), arrived)
    for number, integers in found["frames"]:
        assert integers in (truth[number], None)
    fields = {"frames": found["frames"], "audio": [[n, payload.hex()] for n, payload in found["audio"]]}
    datagrams = [data.hex() for data in arrived]
    return compact({"header": bytes(header).hex(), "datagrams": datagrams, **fields, "dropped": found["dropped"]})


def write_golden(out: Path, names: tuple[str, ...] = (*STREAMS, *SETS, "wire")) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    for name in names:
        if name in SETS:
            side = SETS[name]
            coded, pictures = code_pictures([gradient(side, side, 1), gradient(side, side, 2)], 63)
            sources, text = source_set(coded, pictures, encode_still(gradient(96, 64, 1), 63))
            files |= {f"{name}.fvs": bytes(sources), f"{name}.json": text.encode()}
        elif name == "wire":
            files["wire.json"] = wire().encode()
        else:
            stream = STREAMS[name]()
            files[f"{name}.fvc"] = stream.bytes(ended=name != CUT_OFF)
            files[f"{name}.json"] = stream.json().encode()
    for file, data in files.items():
        (out / file).write_bytes(data)
    return [out / file for file in files]


def write_invalid(out: Path) -> list[Path]:
    """The streams and source sets that break a rule, made of the golden ones."""
    out.mkdir(parents=True, exist_ok=True)
    for name, (_, data) in invalid().items():
        (out / name).write_bytes(data)
    return sorted(out.iterdir())


def random_stream(rng: random.Random) -> Stream:
    """Any valid header, any motion, faces that come and go, sound that is longer or shorter than the picture."""
    profile, is_shaped = rng.choice(list(Profile)), rng.random() < 0.5
    quantizers = {}
    for part in coded_parts(profile.parts, is_shaped):
        low = rng.randrange(-32768, 32767)
        quantizers[part] = Quantizer(rng.randint(1, 16), low / 256, rng.randint(low + 1, 32767) / 256)
    fps = Fraction(rng.randint(1, 65535), rng.randint(1, 65535))
    header = header_of(
        profile,
        interval=rng.choice((0, 0, 1, 7, 65535)),
        audio=rng.choice((None, Audio(rng.choice((10, 20, 40, 60)), rng.randint(0, 48000)))),
        quantizers=quantizers if rng.random() < 0.5 else for_parts(DEFAULT if is_shaped else PAPER, profile.parts),
        fps=fps if fps <= 240 else 1 / fps,
        crop=Crop(rng.randint(1, 16384), rng.randint(1, 16384), *(rng.randint(-32768, 32767) for _ in "xy"), 256),
        model_hash=rng.getrandbits(64).to_bytes(8, "big"),
    )
    slices = rng.choice((0, 0, 2, 5, 7)) if header.keyframe_interval in (0, 7, 65535) else 0
    stream, sound, face = Stream(header, slices), 0, rng.random() < 0.8
    motion = (
        jumps(header, rng)
        if rng.random() < 0.2
        else walk(header, rng, rng.choice((0.3, 2, 20, 300)), rng.random() < 0.5)
    )
    loss = rng.choice((0, 0, 0.05))
    for number in range(rng.choice((0, 1, 3, 10, 80))):
        face ^= rng.random() < 0.1
        stream.frame(number, next(motion) if face else None, lost=rng.random() < loss)
        while header.audio and rng.random() < 0.5:
            stream.sound(sound, rng.randbytes(rng.randrange(20)), lost=rng.random() < loss)
            sound += 1
    return stream


def write_random(out: Path, count: int, seed: int) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for n in range(count):
        rng = random.Random(f"{seed} {n}")
        stream = random_stream(rng)
        for file, data in (
            (f"random{n:04}.fvc", stream.bytes(ended=rng.random() < 0.9)),
            (f"random{n:04}.json", stream.json().encode()),
        ):
            (out / file).write_bytes(data)
            written.append(out / file)
    return written


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=VECTORS)
    parser.add_argument("--random", type=int, metavar="N", help="write N random streams instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spec", action="store_true", help="instead, renew Annexes A to C of bitstream_spec.md")
    options = parser.parse_args(arguments)
    if options.spec:
        return write_spec(SPEC, annex_b().bytes())
    if options.random is not None and options.out == VECTORS:
        sys.exit("--random needs --out: random streams are not golden")
    if options.random is None:
        written = write_golden(options.out) + write_invalid(options.out / "invalid")
    else:
        written = write_random(options.out, options.random, options.seed)
    for path in written:
        print(f"{path.stat().st_size:6} {path.name}")


if __name__ == "__main__":
    main()
