"""First part of the decoder written from bitstream_spec.md alone: conventions, header, packets and their payloads.

Sections 2 to 4 of the document. Imports nothing of fvc; see `spec_decoder`.
"""

from __future__ import annotations

import binascii
import zlib
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
PARTS |= {8: ("unsup", "jac", "expr"), 9: ("sup", "unsup", "jac", "expr"), 13: ("shape", "unsup", "jac", "expr")}
COMPONENTS = {"sup": 66, "unsup": 20, "jac": 40, "expr": 16, "shape": 66}


def parse_header(data: bytes) -> tuple[dict[str, Any], int]:
    magic = b"\xabFVC"
    forbid(not data or data[:4] != magic[: len(data)], "E01", "magic")
    start = Bytes(data, "E04")
    start.take(4)
    version, header_length = start.u(8), start.u(16)
    forbid(version != 2, "E02", "version")
    forbid(header_length > 4096, "E03", "header_length")
    body = Bytes(start.take(header_length), "E03")
    forbid(start.u(32) != zlib.crc32(data[: 7 + header_length]), "E03", "header_crc")

    has_audio, profile = body.u(8), body.u(8)
    fps = [body.u(16), body.u(16)]
    keyframe_interval = body.u(16)
    crop = {"width": body.u(16), "height": body.u(16), "x": body.i(16), "y": body.i(16), "side": body.u(16)}
    forbid(has_audio > 1 or profile not in PARTS, "E06", "has_audio or profile")
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
    while body.at < len(body.data):
        extension_type, extension_size = body.u(8), body.u(16)
        extension = body.take(extension_size)
        if extension_type == 1:
            header["scenes"] = parse_scenes(extension)
        elif extension_type == 2:
            forbid(extension != b"\x02\0", "E28", "size")
            header["side"] = 512
    return header, start.at


def parse_scenes(data: bytes) -> dict[str, Any]:
    scenes = Bytes(data, "E27")
    set_count = scenes.u(8)
    forbid(not 1 <= set_count <= 8, "E27", "set_count")
    sets, changes, frame = [scenes.u(8) for _ in range(set_count)], [], 0
    while scenes.at < len(data):
        try:
            change = scenes.leb128()
        except SpecError:
            raise SpecError("E27", "change") from None
        frame += change // 8
        wrong = change % 8 >= set_count or frame > MAX_NUMBER or (changes and change < 8)
        forbid(bool(wrong), "E27", "change")
        changes.append([frame, change % 8])
    return {"sets": sets, "changes": changes}


# 4.2 Packets
MOTION, KEY, AUDIO, END, REFRESH, LAYER = range(6)  # REFRESH, LAYER: kind 3 with other six bits than END
MAX_NUMBER = (1 << 32) - 2  # 4.3
MAX_PAYLOAD = {MOTION: 4096, KEY: 4096, AUDIO: 1500, END: 1 << 20, REFRESH: 4096, LAYER: 1 << 14}


def parse_packet(data: bytes, at: int) -> tuple[int, int, bytes, int]:
    """Returns kind, the six bits of number (END, REFRESH, LAYER: 0), payload, and where the next packet begins."""
    packet = Bytes(data, "E04")
    packet.at = at
    synced = data[at] == 0xFF
    forbid(synced and packet.take(4) != b"\xffFVK", "E10", "sync")
    body_start = packet.at
    head = packet.u(8)
    kind, number = head // 64, head % 64
    if kind == END:
        forbid(number > 2, "E10", "kind")
        kind, number = (END, REFRESH, LAYER)[number], 0
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


def parse_layer(payload: bytes) -> dict[str, Any]:  # 4.5
    fields = Bytes(payload, "E04")
    layer: dict[str, Any] = {"step": fields.u(8)}
    layer["frame"] = fields.leb128() if layer["step"] == 0 else None
    layer["coded"] = payload[fields.at :]
    forbid(not layer["coded"], "E26", "coded")
    return layer


class Layer:
    """4.5: which LAYER packets are of use, as far as that does not depend on AV1."""

    def __init__(self) -> None:
        self.newest, self.started = -1, False
        self.found: list[tuple[int, bytes]] = []

    def take(self, payload: bytes, next_frame: int) -> None:
        try:
            layer = parse_layer(payload)
        except SpecError:
            self.started = False
            return
        n = layer["frame"] if layer["step"] == 0 else self.newest + layer["step"]
        if n != next_frame or n <= self.newest or (layer["step"] != 0 and not self.started):
            self.started = False
            return
        self.started, self.newest = True, n
        self.found.append((n, layer["coded"]))


def parse_end(payload: bytes) -> dict[str, Any]:
    end = Bytes(payload, "E04")
    frames, audio_packets, keyframe_count = end.leb128(), end.leb128(), end.leb128()
    forbid(keyframe_count > (len(payload) - end.at) // 2, "E11", "keyframe_count")
    keyframes, frame, offset = [], 0, 0
    for _ in range(keyframe_count):
        frame, offset = frame + end.leb128(), offset + end.leb128()
        keyframes.append([frame, offset])
    return {"frames": frames, "audio_packets": audio_packets, "keyframes": keyframes}
