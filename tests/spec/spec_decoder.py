"""A second decoder of .fvc, .fvs and datagrams, written from bitstream_spec.md alone: standard library only.

It names the specification's sections. It is made to be read and compared, not to be fast, and it is strict: where a
player would hold the last picture and go on, it raises `SpecError` with the rule that is broken. A gap in the frame
numbers breaks no rule; frames up to the next keyframe are then held (None).
"""

from __future__ import annotations

import binascii
import hashlib
import zlib
from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import Any


class SpecError(Exception):
    """The bytes break a rule of the specification's section 9.3; `rule` is its name."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{message} [{rule}]")
        self.rule = rule


def forbid(fault: bool, rule: str, message: str) -> None:
    if fault:
        raise SpecError(rule, message)


class Bytes:  # 2. Conventions
    """Reads the descriptors u(n), i(n) and leb128; `short` is the rule that a premature end breaks."""

    def __init__(self, data: bytes, short: str) -> None:
        self.data, self.at, self.short = data, 0, short

    def take(self, count: int) -> bytes:
        forbid(self.at + count > len(self.data), self.short, "more bytes are needed")
        self.at += count
        return self.data[self.at - count : self.at]

    def u(self, bits: int) -> int:
        return int.from_bytes(self.take(bits // 8), "big")

    def i(self, bits: int) -> int:
        return int.from_bytes(self.take(bits // 8), "big", signed=True)

    def leb128(self) -> int:
        value = 0
        for n in range(5):
            byte = self.u(8)
            value += (byte % 128) << (7 * n)
            if byte < 128:
                if value >= 1 << 32 or (byte == 0 and n > 0):
                    break
                return value
        raise SpecError("E05", "not a valid leb128 number")


# 4.1 Header
PARTS = {0: ("sup",), 1: ("sup", "unsup"), 2: ("sup", "unsup", "expr"), 3: ("unsup", "jac")}  # 5.1
PARTS |= {4: ("shape",), 5: ("shape", "unsup"), 6: ("shape", "unsup", "expr")}
COMPONENTS = {"sup": 66, "unsup": 20, "jac": 40, "expr": 16, "shape": 66}


def parse_header(data: bytes) -> tuple[dict[str, Any], int]:
    magic = b"\xabFVC"
    forbid(not data or data[:4] != magic[: len(data)], "E01", "magic")
    start = Bytes(data, "E04")
    start.take(4)
    version, header_length = start.u(8), start.u(16)
    forbid(version != 2, "E02", "version")
    forbid(header_length > 256, "E03", "header_length")
    body = Bytes(start.take(header_length), "E03")
    forbid(start.u(32) != zlib.crc32(data[: 7 + header_length]), "E03", "header_crc")

    has_audio, profile = body.u(8), body.u(8)
    fps = [body.u(16), body.u(16)]
    keyframe_interval = body.u(16)
    crop = {"width": body.u(16), "height": body.u(16), "x": body.i(16), "y": body.i(16), "side": body.u(16)}
    forbid(has_audio > 1 or profile > 6, "E06", "has_audio or profile")
    forbid(0 in fps or fps[0] > 240 * fps[1], "E07", "fps")
    forbid(not all(0 < crop[name] <= 16384 for name in ("width", "height", "side")), "E07", "crop")
    header = {"profile": profile, "fps": fps, "keyframe_interval": keyframe_interval, "crop": crop}
    header |= {"model_hash": body.take(8), "sources_hash": body.take(16), "pixels_hash": body.take(16)}
    header["quantizers"] = {}
    for part in PARTS[profile]:
        quantizer = {"bits": body.u(8), "low": body.i(16), "high": body.i(16)}
        forbid(not 1 <= quantizer["bits"] <= 16 or quantizer["high"] <= quantizer["low"], "E08", part)
        header["quantizers"][part] = quantizer
    header["audio"] = {"frame_ms": body.u(8), "pre_skip": body.u(16)} if has_audio else None
    audio = header["audio"] or {"frame_ms": 20, "pre_skip": 0}
    forbid(audio["frame_ms"] not in (10, 20, 40, 60) or audio["pre_skip"] > 48000, "E09", "audio")
    return header, start.at


# 4.2 Packets
MOTION, KEY, AUDIO, END, REFRESH = range(5)  # REFRESH: kind 3 with other six bits than END
MAX_NUMBER = (1 << 32) - 2  # 4.3
MAX_PAYLOAD = {MOTION: 4096, KEY: 4096, AUDIO: 1500, END: 1 << 20, REFRESH: 4096}


def parse_packet(data: bytes, at: int) -> tuple[int, int, bytes, int]:
    """Returns kind, the six bits of number (END, REFRESH: 0), payload, and where the next packet begins."""
    packet = Bytes(data, "E04")
    packet.at = at
    synced = data[at] == 0xFF
    forbid(synced and packet.take(4) != b"\xffFVK", "E10", "sync")
    body_start = packet.at
    head = packet.u(8)
    kind, number = head // 64, head % 64
    if kind == END:
        forbid(number > 1, "E10", "kind")
        kind, number = (END, REFRESH)[number], 0
    forbid(synced != (kind in (KEY, REFRESH)), "E10", "kind")
    try:
        payload_size = packet.leb128()
    except SpecError as error:
        raise SpecError("E10" if error.rule == "E05" else error.rule, "payload_size") from None
    forbid(payload_size > MAX_PAYLOAD[kind], "E10", "payload_size")
    payload = packet.take(payload_size)
    crc = binascii.crc_hqx(data[body_start : packet.at], 0xFFFF)
    forbid(packet.u(16) != crc, "E10", "packet_crc")
    return kind, number, payload, packet.at


def parse_refresh(payload: bytes) -> dict[str, Any]:  # 4.4
    fields = Bytes(payload, "E04")
    refresh: dict[str, Any] = {"frame": fields.leb128(), "audio_packets": fields.leb128()}
    refresh |= {"slice": fields.u(8), "slices": fields.u(8)}
    refresh["motion"] = fields.take(fields.leb128())
    refresh["coded"] = payload[fields.at :]
    forbid(not 2 <= refresh["slices"] <= 16 or refresh["slice"] >= refresh["slices"], "E23", "slices")
    forbid(refresh["slice"] > refresh["frame"], "E23", "slice")
    forbid(refresh["slice"] == 0 and not refresh["motion"], "E23", "motion_size")
    return refresh


def parse_end(payload: bytes) -> dict[str, Any]:
    end = Bytes(payload, "E04")
    frames, audio_packets, keyframe_count = end.leb128(), end.leb128(), end.leb128()
    forbid(keyframe_count > (len(payload) - end.at) // 2, "E11", "keyframe_count")
    keyframes, frame, offset = [], 0, 0
    for _ in range(keyframe_count):
        frame, offset = frame + end.leb128(), offset + end.leb128()
        keyframes.append([frame, offset])
    return {"frames": frames, "audio_packets": audio_packets, "keyframes": keyframes}


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
        "end": end,
        "coder": coder,
        "trace": motion.parts[0].trace,
    }


# 8.2 From integers to a picture
SHAPE_BYTES = (Path(__file__).parents[2] / "codec" / "motion" / "shape.bin").read_bytes()


def parse_shape(data: bytes) -> tuple[list[int], list[list[int]]]:  # A.3 shape.bin
    """mean and basis, in 1/16384."""
    file, n = Bytes(data, "E04"), COMPONENTS["shape"]
    mean = [file.i(16) for _ in range(n)]
    basis = [[file.i(16) for _ in range(n)] for _ in range(n)]
    assert file.at == len(data)
    return mean, basis


MEAN, BASIS = parse_shape(SHAPE_BYTES)


def landmarks(values: list[float]) -> list[float]:
    """The values of `shape`, which are coefficients -> those of `sup`; both in row-major order."""
    return [(m + sum(v * row[j] for v, row in zip(values, BASIS, strict=True))) / 16384 for j, m in enumerate(MEAN)]


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
    audio: dict[int, bytes] = {}
    dropped = []
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
    for number in sorted(motion):
        frames.take(motion[number][0], number, motion[number][1])
    return {"frames": frames.found, "audio": sorted(audio.items()), "dropped": dropped}


def check_missing(data: bytes) -> None:  # 9.1 Loss, for players
    """Raises SpecError (E14) if a player would have to fill in too much."""
    found = decode_stream(data)
    header, end = found["header"], found["end"] or {"frames": 0, "audio_packets": 0}
    series = [([number for number, _ in found["frames"]], end["frames"], header["fps"][1], header["fps"][0])]
    if header["audio"]:
        numbers = [number for number, _ in found["audio"]]
        series.append((numbers, end["audio_packets"], header["audio"]["frame_ms"], 1000))
    for numbers, total, step, per_second in series:
        missing = max([total, *(number + 1 for number in numbers)]) - len(numbers)
        forbid(missing * step > 600 * per_second or missing > 900 + len(data), "E14", "missing")


def count_frame_headers(coded: bytes) -> int:  # 7.1, and section 5.3 of the AV1 specification
    """Of the OBUs of a picture."""
    obus, count = Bytes(coded, "E22"), 0
    while obus.at < len(coded):
        head = obus.u(8)
        obus.take(head >> 2 & 1)
        forbid(not head & 2, "E22", "an OBU without its size")
        size = more = 0
        for n in range(8):
            byte = obus.u(8)
            size, more = size + (byte % 128 << 7 * n), byte >> 7
            if not more:
                break
        forbid(more == 1, "E22", "size of an OBU")
        obus.take(size)
        count += head >> 3 & 15 in (3, 6)
    return count


def parse_sources(data: bytes) -> dict[str, Any]:  # 7. Source sets
    """A whole .fvs file: its fields, integers and coded pictures (of which only the frames are counted)."""
    found = parse_sources_so_far(data, is_all=True)
    del found["missing"]
    return found


def parse_sources_so_far(data: bytes, is_all: bool = False) -> dict[str, Any]:
    """The same of a file that has not arrived as a whole; "missing": how many sections are not there."""
    forbid(data[:4] != b"\xabFVS", "E20", "magic")
    forbid(len(data) > 4 and data[4] != 2, "E02", "version")
    body = Bytes(data, "E21")
    body.take(5)
    model_hash, profile, source_count = body.take(8), body.u(8), body.u(8)
    width, height = body.u(16), body.u(16)
    table = [(body.u(32), body.take(16)) for _ in range(source_count + 1)]
    head_size = body.at
    forbid(body.u(32) != zlib.crc32(data[:head_size]), "E21", "head_crc")
    forbid(profile > 3 or not 1 <= source_count <= 8 or width * height > 1 << 22, "E21", "an element of the head")
    least = 2 * sum(COMPONENTS[part] for part in PARTS[profile])
    for number, (size, _) in enumerate(table):
        low = least if number < source_count else 0
        forbid(not low <= size <= low + (1 << 20), "E21", "section_bytes")
    sections = []
    for size, digest in table:
        if size > len(data) - body.at:
            break
        sections.append(body.take(size))
        forbid(hashlib.sha256(sections[-1]).digest()[:16] != digest, "E21", "section_digest")
    forbid(not sections, "E21", "no picture is there")
    missing = len(table) - len(sections)
    forbid(is_all and missing > 0, "E21", "sections are missing")
    forbid(not missing and body.at != len(data), "E21", "bytes are left over")
    sources = []
    for section in sections[:source_count]:
        values = Bytes(section, "E21")
        integers = {part: [values.u(16) for _ in range(COMPONENTS[part])] for part in PARTS[profile]}
        sources.append({"integers": integers, "coded": section[values.at :]})
    for source in sources:
        forbid(count_frame_headers(source["coded"]) != 1, "E22", "not one picture")
    canvas = None if missing else sections[-1] or None
    fields = {"model_hash": model_hash, "profile": profile, "canvas_size": [width, height]}
    return fields | {"sources": sources, "canvas": canvas, "missing": missing}
