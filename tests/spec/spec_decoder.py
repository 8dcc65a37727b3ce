"""A second decoder of .fvc, .fvs and datagrams, written from bitstream_spec.md alone: standard library only.

It names the specification's sections. It is made to be read and compared, not to be fast, and it is strict: where a
player would hold the last picture and go on, it raises `SpecError` with the rule that is broken. A gap in the frame
numbers breaks no rule; frames up to the next keyframe are then held (None).
"""

from __future__ import annotations

import binascii
from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import Any

from spec_sources import SHAPE_BYTES as SHAPE_BYTES
from spec_sources import landmarks as landmarks
from spec_sources import parse_sources as parse_sources
from spec_sources import parse_sources_so_far as parse_sources_so_far
from spec_syntax import (
    AUDIO as AUDIO,
)
from spec_syntax import (
    COMPONENTS as COMPONENTS,
)
from spec_syntax import (
    END as END,
)
from spec_syntax import (
    KEY as KEY,
)
from spec_syntax import LAYER, Layer
from spec_syntax import (
    MAX_NUMBER as MAX_NUMBER,
)
from spec_syntax import (
    MAX_PAYLOAD as MAX_PAYLOAD,
)
from spec_syntax import (
    MOTION as MOTION,
)
from spec_syntax import (
    PARTS as PARTS,
)
from spec_syntax import (
    REFRESH as REFRESH,
)
from spec_syntax import (
    Bytes as Bytes,
)
from spec_syntax import (
    SpecError as SpecError,
)
from spec_syntax import (
    forbid as forbid,
)
from spec_syntax import (
    parse_end as parse_end,
)
from spec_syntax import (
    parse_header as parse_header,
)
from spec_syntax import (
    parse_packet as parse_packet,
)
from spec_syntax import (
    parse_refresh as parse_refresh,
)

# A.1 priors.bin
PRIORS_BYTES = (Path(__file__).parents[2] / "codec" / "motion" / "priors.bin").read_bytes()


MIX = (
    "key_spread_offset",
    "error_exponent",
    "recent_activity_exponent",
    "frame_activity_exponent",
    "key_activity_exponent",
    "hold_threshold",
)


def parse_priors(data: bytes) -> dict[str, dict[str, Any]]:
    """Every element by part and name; matrices are lists of rows."""
    file, parts = Bytes(data, "E04"), {}
    assert file.take(5) == b"FVCP\2"
    for part in COMPONENTS:
        n = file.u(8)
        assert n == COMPONENTS[part]
        p: dict[str, Any] = {"usual_bits": file.u(8)}
        p["order"] = [file.u(8) for _ in range(n)]
        p["mean"] = [file.u(16) for _ in range(n)]
        p["key_weights"] = [[file.i(16) for _ in range(i)] for i in range(n)]
        p["key_error"] = [file.u(32) for _ in range(n)]
        p["now_weights"] = [[file.i(16) for _ in range(i)] for i in range(n)]
        p["last_weights"] = [[file.i(16) for _ in range(n)] for _ in range(n)]
        p["mean_weights"] = [[file.i(16) for _ in range(n)] for _ in range(n)]
        p["error"] = [file.u(32) for _ in range(n)]
        p["spread"] = [file.i(16) for _ in range(n)]
        for name in MIX:
            p[name] = file.u(8)
        p["shape"] = [file.u(16) for _ in range(1024)]
        parts[part] = p
    assert file.at == len(data)
    return parts


PRIORS = parse_priors(PRIORS_BYTES)

# 6.1 Frequency tables
NARROW = (65536, 60097, 55109, 50535, 46341, 42495, 38968, 35734)


def frequencies(part: str, c: int, a: int) -> list[int]:
    shape = PRIORS[part]["shape"]

    def below(q: int) -> int:
        edge = 32 * q + 15 - 2 * a
        k = (abs(edge) * NARROW[c % 8]) >> (11 + c // 8)
        size = shape[min(k, 1023)]
        return 32768 + size if edge > 0 else 32768 - size

    out = [1 + (((below(s - 16) - below(s - 17)) * 65502) >> 16) for s in range(33)]
    out.append(1 + (((65536 - below(16) + below(-17)) * 65502) >> 16))
    out[16] += 65536 - sum(out)
    return out


def round24(number: int) -> int:  # 6.2 Cumulative probabilities of 24 bits
    """To the nearest number with at most 24 significant bits, ties to an even last bit."""
    drop = max(number.bit_length() - 24, 0)
    kept, rest = number >> drop, number % (1 << drop)
    if 2 * rest > 1 << drop or (2 * rest == 1 << drop and kept % 2):
        kept += 1
    return kept << drop


def cumulative(frequency: list[int]) -> list[int]:
    n = len(frequency)
    return [i + (round24(sum(frequency[:i]) * ((1 << 24) - n)) >> 16) for i in range(n)] + [1 << 24]


@cache
def cdf_of(part: str, c: int, a: int) -> list[int]:
    return cumulative(frequencies(part, c, a))


# 6.3 Range decoder
MOD = 1 << 64


class RangeDecoder:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.lower, self.range = 0, MOD - 1
        self.point = self.word() << 32
        self.point += self.word()

    def word(self) -> int:  # past the end of the data there are zeros
        self.at += 4
        return int.from_bytes(self.data[self.at - 4 : self.at].ljust(4, b"\0"), "big")

    def quantile(self) -> tuple[int, int]:
        scale = self.range >> 24
        q = (self.point - self.lower) % MOD // scale
        forbid(q >= 1 << 24, "E12", "no symbol has this code")
        return scale, q

    def narrow(self, scale: int, start: int, end: int) -> None:
        self.lower = (self.lower + scale * start) % MOD
        self.range = scale * (end - start)
        if self.range < 1 << 32:
            self.lower = (self.lower << 32) % MOD
            self.range <<= 32
            self.point = (self.point << 32) % MOD + self.word()

    def symbol(self, cdf: list[int]) -> int:
        scale, q = self.quantile()
        s = bisect_right(cdf, q) - 1  # cdf[s] <= q < cdf[s + 1]
        self.narrow(scale, cdf[s], cdf[s + 1])
        return s

    def bits(self, count: int) -> int:  # 6.4
        value = 0
        while count > 0:
            width = (count - 1) % 16 + 1
            scale, q = self.quantile()
            chunk = q >> (24 - width)
            self.narrow(scale, chunk << (24 - width), (chunk + 1) << (24 - width))
            value = (value << width) + chunk
            count -= width
        return value

    def value(self, part: str, prediction: int, spread: int) -> int:  # 6.5
        c = max(spread, 0) >> 2
        shift = min(max((c - 40) >> 3, 0), 12)
        c = min(c - 8 * shift, 47)
        base = (prediction + 2048 - (((1 << shift) - 1) << 11)) >> 12
        a = (prediction - base * 4096) >> 8 if shift == 0 else 0
        a, sign = (-1 - a, -1) if a < 0 else (a, 1)
        q = self.symbol(cdf_of(part, c, a)) - 16
        if q == 17:  # the escape
            negative, width = self.bits(1), self.bits(5)
            forbid(not 1 <= width <= 20, "E12", "escape width")
            q = 16 + (1 << (width - 1)) + self.bits(width - 1)
            q = -q if negative else q
        else:
            q = sign * q
        return base + q * (1 << shift) + self.bits(shift)


# 5. Decoding a frame
def log2(x: int) -> int:  # 5.2
    k = x.bit_length() - 1
    return 32 * (k - 1) + ((x * 32) >> k)


class Part:
    """5.2: one part's state between frames, and the two ways to code it. All lists are in the part's coding order."""

    def __init__(self, name: str, bits: int) -> None:
        self.name, self.bits, self.p = name, bits, PRIORS[name]
        self.n, self.top = COMPONENTS[name], (1 << bits) - 1
        self.trace: list[dict[str, int]] = []  # each step of the last frame

    def scaled(self, errors: list[int]) -> list[int]:  # 5.1
        finer = self.bits - self.p["usual_bits"]
        return [max(e << finer if finer >= 0 else e >> -finer, 1) for e in errors]

    def components(  # 5.3
        self,
        decoder: RangeDecoder,
        origin: list[int],
        learned: list[int],
        hold: list[bool],
        expected: list[int],
        spread: list[int],
        weights: list[list[int]],
        exponent: int,
    ) -> list[int]:
        self.trace, out = [], []
        actual = past = 4 * sum(expected) // self.n
        for i in range(self.n):
            prediction = origin[i] * 4096 if hold[i] else min(max(learned[i], 0), self.top * 4096)
            s = spread[i] + ((exponent * (log2(actual) - log2(past))) >> 6)
            q = decoder.value(self.name, prediction, s)
            forbid(not 0 <= q <= self.top, "E13", self.name)
            for j in range(i + 1, self.n):
                learned[j] += weights[j][i] * (q - origin[i])
            actual += abs(q * 4096 - prediction)
            past += expected[i]
            step = {
                "i": i,
                "component": self.p["order"][i],
                "origin": origin[i],
                "prediction": prediction,
                "s": s,
                "q": q,
            }
            self.trace.append(step | {"lower": decoder.lower, "range": decoder.range})
            out.append(q)
        return out

    def key(self, decoder: RangeDecoder) -> None:  # 5.4
        p = self.p
        origin = [m >> (16 - self.bits) for m in p["mean"]]
        expected = self.scaled(p["key_error"])
        spread = [p["key_spread_offset"] - 128 + log2(e) - 256 for e in expected]
        learned = [o * 4096 for o in origin]
        hold = [False] * self.n
        weights, exponent = p["key_weights"], p["key_activity_exponent"]
        self.last = self.components(decoder, origin, learned, hold, expected, spread, weights, exponent)
        self.restart()

    def restart(self) -> None:  # the end of 5.4
        self.change = [0] * self.n
        self.usual = [q * 256 for q in self.last]
        self.learned_error = self.quick_error = self.scaled(self.p["error"])
        self.hold_error = [2 * e for e in self.learned_error]
        self.frames = 0

    def motion(self, decoder: RangeDecoder) -> None:  # 5.5
        p, n, last = self.p, range(self.n), self.last
        from_mean = [last[i] * 256 - self.usual[i] for i in n]
        learned = [
            last[i] * 4096
            + sum(p["last_weights"][i][j] * self.change[j] for j in n)
            + (sum(p["mean_weights"][i][j] * from_mean[j] for j in n) >> 8)
            for i in n
        ]
        hold = [64 * self.hold_error[i] < p["hold_threshold"] * self.learned_error[i] for i in n]
        expected = [80 + (self.hold_error[i] if hold[i] else self.learned_error[i]) for i in n]
        recent = p["recent_activity_exponent"] * (log2(sum(self.quick_error) + 80 * self.n) - log2(sum(expected)))
        fine = 32 * (self.bits - p["usual_bits"])
        own = [p["error_exponent"] * (log2(expected[i]) - fine) for i in n]
        spread = [p["spread"][i] + ((own[i] + recent) >> 6) + fine - 256 for i in n]
        weights, exponent = p["now_weights"], p["frame_activity_exponent"]
        q = self.components(decoder, last, learned, hold, expected, spread, weights, exponent)
        error = [abs(q[i] * 4096 - min(max(learned[i], 0), self.top * 4096)) for i in n]
        held = [4096 * abs(q[i] - last[i]) for i in n]
        taken = [held[i] if hold[i] else error[i] for i in n]
        pace = min(self.frames + 3, 8)
        self.usual = [self.usual[i] + ((5 * from_mean[i]) >> 5) for i in n]
        self.quick_error = [e + ((3 * (taken[i] - e)) >> 3) for i, e in enumerate(self.quick_error)]
        self.learned_error = [e + (error[i] - e) // pace for i, e in enumerate(self.learned_error)]
        self.hold_error = [e + (held[i] - e) // pace for i, e in enumerate(self.hold_error)]
        self.change, self.last = [q[i] - last[i] for i in n], q
        self.frames += 1

    def integers(self) -> list[int]:
        return [q for _, q in sorted(zip(self.p["order"], self.last, strict=True))]


class Motion:
    """The parts of a stream."""

    def __init__(self, header: dict[str, Any]) -> None:
        self.parts = [Part(name, header["quantizers"][name]["bits"]) for name in PARTS[header["profile"]]]
        self.decoder = RangeDecoder(b"")  # of the last coded frame

    def key(self, coded: bytes) -> dict[str, list[int]]:
        self.decoder = RangeDecoder(coded)
        for part in self.parts:
            part.key(self.decoder)
        return {part.name: part.integers() for part in self.parts}

    def restart(self) -> None:  # 4.4, with slice 0
        for part in self.parts:
            part.restart()

    def motion(self, coded: bytes) -> dict[str, list[int]]:
        self.decoder = RangeDecoder(coded)
        for part in self.parts:
            part.motion(self.decoder)
        return {part.name: part.integers() for part in self.parts}


class Frames:
    """9.1: which frames have integers. Takes the packets of frames in order of their numbers."""

    def __init__(self, header: dict[str, Any]) -> None:
        self.motion = Motion(header)
        self.follows: int | None = None
        self.slices: list[dict[str, Any]] = []  # of one keyframe, without a gap, the newest last
        self.found: list[tuple[int, dict[str, list[int]] | None]] = []

    def take(self, kind: int, number: int, payload: bytes) -> None:
        refresh = parse_refresh(payload) if kind == REFRESH else None
        self.collect(refresh)
        coded = refresh["motion"] if refresh else payload
        integers = None
        if kind == KEY:
            fields = Bytes(payload, "E04")
            fields.leb128(), fields.leb128()
            integers = self.motion.key(payload[fields.at :])
        elif self.follows == number:
            integers = self.motion.motion(coded) if coded else None
            if refresh and refresh["slice"] == 0:
                self.motion.restart()
        elif refresh and len(self.slices) == refresh["slices"]:
            self.motion.key(b"".join(one["coded"] for one in self.slices))
            for one in self.slices[1:]:
                integers = self.motion.motion(one["motion"]) if one["motion"] else None
        else:
            self.follows = None
            self.found.append((number, None))
            return
        self.follows = number + 1
        self.found.append((number, integers))

    def collect(self, refresh: dict[str, Any] | None) -> None:
        if refresh is None:
            self.slices = []
        elif refresh["slice"] == 0:
            self.slices = [refresh]
        elif self.slices and all(
            refresh[name] == self.slices[-1][name] + step for name, step in (("frame", 1), ("slice", 1), ("slices", 0))
        ):
            self.slices.append(refresh)
        else:
            self.slices = []


def decode_stream(data: bytes, partial: dict[str, Any] | None = None) -> dict[str, Any]:  # 3. The stream
    """A whole .fvc file. `frames` holds (number, integers of each part, or None for hold), `audio` (number, payload);
    `end` is None if the stream was cut off between two packets. `partial` gets the frames and audio before an error."""
    header, at = parse_header(data)
    frames = Frames(header)
    audio: list[tuple[int, bytes]] = []
    layer = Layer()
    if partial is not None:
        partial |= {"frames": frames.found, "audio": audio}
    next_frame = next_audio = 0  # 4.3
    end = None
    while at < len(data) and end is None:
        kind, low_bits, payload, at = parse_packet(data, at)
        if kind == END:
            end = parse_end(payload)
        elif kind == AUDIO:
            number = next_audio + (low_bits - next_audio) % 64
            forbid(number > MAX_NUMBER, "E10", "number")
            audio.append((number, payload))
            next_audio = number + 1
        elif kind == LAYER:
            layer.take(payload, next_frame)
        else:
            number = next_frame + (low_bits - next_frame) % 64
            if kind in (KEY, REFRESH):
                fields = Bytes(payload, "E04")
                number, audio_packets = fields.leb128(), fields.leb128()
                forbid(kind == REFRESH and parse_refresh(payload)["frame"] != number, "E10", "frame")
                forbid((kind == KEY and number % 64 != low_bits) or number < next_frame, "E10", "frame")
                next_audio = max(next_audio, audio_packets)
            forbid(number > MAX_NUMBER, "E10", "number")
            frames.take(kind, number, payload)
            next_frame = number + 1
    motion = frames.motion
    coder = (motion.decoder.lower, motion.decoder.range)
    return {
        "header": header,
        "frames": frames.found,
        "audio": audio,
        "layer": layer.found,
        "end": end,
        "coder": coder,
        "trace": motion.parts[0].trace,
    }


# 10. Datagrams


def parse_datagram(data: bytes, header: dict[str, Any]) -> list[tuple[int, int, bytes]]:
    """Kind, number and payload of each packet."""
    forbid(not 3 <= len(data) <= 1200, "E24", "size")
    body = Bytes(data[:-2], "E24")
    forbid(binascii.crc_hqx(body.data, 0xFFFF) != int.from_bytes(data[-2:], "big"), "E24", "datagram_crc")
    packets = []
    try:
        frame = body.leb128()
        while body.at < len(body.data):
            head = body.u(8)
            payload = body.take(body.leb128())
            kind = (MOTION, KEY, AUDIO, REFRESH)[head // 64]
            forbid(len(payload) > MAX_PAYLOAD[kind], "E25", "payload_size")
            number = frame - head % 64
            if kind == AUDIO:
                number = nearest_sound(frame, head % 64, header)
            forbid(number < 0, "E25", "low")
            if kind in (KEY, REFRESH):
                fields = Bytes(payload, "E04")
                stated = (fields.leb128(), fields.leb128())[0]
                forbid(kind == REFRESH and not parse_refresh(payload), "E24", "payload")
                forbid(stated != number, "E25", "frame")
            packets.append((kind, number, payload))
    except SpecError as error:
        raise SpecError("E25" if error.rule == "E25" else "E24", str(error)) from None
    return packets


def nearest_sound(frame: int, low: int, header: dict[str, Any]) -> int:
    due, (numerator, denominator) = 0, header["fps"]
    if header["audio"]:
        due = (1000 * frame * denominator) // (numerator * header["audio"]["frame_ms"])
    return due + (low - due + 32) % 64 - 32


def decode_datagrams(header_bytes: bytes, datagrams: list[bytes]) -> dict[str, Any]:
    """All that came, in order of numbers: `frames` and `audio` as of a stream, `dropped` the rules of bad datagrams."""
    header, _ = parse_header(header_bytes)
    motion: dict[int, tuple[int, bytes]] = {}
    audio, dropped = dict[int, bytes](), list[str]()
    for data in datagrams:
        try:
            packets = parse_datagram(data, header)
        except SpecError as error:
            dropped.append(error.rule)
            continue
        for kind, number, payload in packets:
            if kind == AUDIO:
                audio.setdefault(number, payload)
            else:
                motion.setdefault(number, (kind, payload))
    frames = Frames(header)
    for number, (kind, payload) in sorted(motion.items()):
        frames.take(kind, number, payload)
    return {"frames": frames.found, "audio": sorted(audio.items()), "dropped": dropped}


def check_missing(data: bytes) -> None:  # 9.1 Loss, for players
    """Raises SpecError (E14) if a player would have to fill in too much."""
    found = decode_stream(data)
    header, end = found["header"], found["end"] or {"frames": 0, "audio_packets": 0}
    series = [([number for number, _ in found["frames"]], end["frames"], header["fps"][1], header["fps"][0])]
    if header["audio"]:
        series.append(([n for n, _ in found["audio"]], end["audio_packets"], header["audio"]["frame_ms"], 1000))
    for numbers, total, step, per_second in series:
        missing = max([total, *(number + 1 for number in numbers)]) - len(numbers)
        forbid(missing * step > 600 * per_second or missing > 900 + len(data), "E14", "missing")
