"""The .fvc file: header, packets, END packet with an index, an eight-byte trailer (bitstream_spec.md, section 3).

The writer only appends, so a file that was cut off is whole up to its last packet. The reader takes any byte stream
without seeking, in bounded memory; it reports damage as `Damage` and continues at the next whole packet (9.2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from fvc.codec.base.constants import MAX_LAYER_PAYLOAD, MAX_NUMBER, MIN_PACKET_BYTES, NUMBER_BITS
from fvc.codec.base.errors import StreamError
from fvc.codec.wire.bitstream import (
    MAX_PAYLOAD,
    SYNC,
    SYNCED,
    EndPayload,
    Header,
    KeyPayload,
    Kind,
    Packet,
    RefreshPayload,
    parse_leb128,
)

TRAILER = b"FVCX"
_CHUNK = 1 << 16  # bytes that are read at a time
_END_HEAD = bytes([Kind.END << 6])
_MAX_INDEX = 1 << 16  # keyframes in the index, so that the END packet stays below its limit
_LONGEST = max(MAX_PAYLOAD.values()) + 16  # bytes: at least as many as any packet has
_LONGEST_BUT_END = MAX_LAYER_PAYLOAD + 64  # the same for packets of other kinds than END
# Damage can look like END packets of a megabyte with a wrong checksum. After this many, only small ones are read.
_MAX_FALSE_ENDS = 16
_SMALL_END = 4096  # bytes
_WRAP_BYTES = MIN_PACKET_BYTES << NUMBER_BITS  # can hold 64 packets: enough for the six-bit counter to wrap


_COUNTED_AS = {Kind.AUDIO: "audio", Kind.LAYER: "layer"}


class StreamWriter:
    """Writes a stream to a binary file object.

    Attributes:
        frames, audio_packets: how many were written.
        payload_bytes: of MOTION, KEY and REFRESH packets.
        keyframes: (frame number, position in the file) of each keyframe of the index.
        bytes_of: bytes written so far, by "header", "motion" (packets of frames), "audio", "layer" and "end".
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file, self._position = file, 0
        self.keyframes: list[tuple[int, int]] = []
        self.frames = self.audio_packets = 0
        self.payload_bytes = 0
        self.bytes_of = dict.fromkeys(("header", "motion", "audio", "layer", "end"), 0)
        self._append(bytes(header), "header")

    def _append(self, data: bytes, what: str) -> None:
        self._file.write(data)
        self._file.flush()  # if this process is killed, the packets up to here are in the file
        self._position += len(data)
        self.bytes_of[what] += len(data)

    def write(self, packet: Packet) -> None:
        """Appends a packet."""
        if begins_keyframe(packet):
            self.keyframes.append((packet.number, self._position))
            if len(self.keyframes) > _MAX_INDEX:
                del self.keyframes[1::2]  # a very long stream: a coarser index
        if packet.kind == Kind.AUDIO:
            self.audio_packets += 1
        elif packet.kind != Kind.LAYER:
            self.frames = packet.number + 1
            self.payload_bytes += len(packet.payload)
        self._append(bytes(packet), _COUNTED_AS.get(packet.kind, "motion"))

    def end(self) -> None:
        """Appends the END packet and the trailer."""
        payload = EndPayload(self.frames, self.audio_packets, tuple(self.keyframes))
        data = bytes(Packet(Kind.END, 0, bytes(payload)))
        self._append(data + struct.pack(">I4s", len(data), TRAILER), "end")


def begins_keyframe(packet: Packet) -> bool:
    """Whether a decoder can start here: a KEY packet, or the first slice of a keyframe that is spread over frames."""
    if packet.kind == Kind.REFRESH:
        return RefreshPayload.parse(packet.payload).slice == 0
    return packet.kind == Kind.KEY


def has_face(packet: Packet) -> bool:
    """Whether the frame of a MOTION, KEY or REFRESH packet shows a face."""
    return bool(RefreshPayload.parse(packet.payload).motion if packet.kind == Kind.REFRESH else packet.payload)


@dataclass(frozen=True)
class Damage:
    """Bytes [start, stop) of the stream are unusable.

    Attributes:
        uncounted: enough bytes were lost since the last whole packet of a frame for the six-bit numbers to have
            wrapped, so frame numbers may be too low: no MOTION packet before the next keyframe may be decoded (9.1).
    """

    start: int
    stop: int
    reason: str
    uncounted: bool = False


class StreamReader:
    """Reads header and packets from a binary file object, front to back.

    Attributes:
        header: the stream's header.
        end: the END payload, once `packets()` has reached it; None if the stream was cut off.

    Raises:
        StreamError: the header is invalid (E01 to E04, E06 to E09).
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._buffer, self._start, self._at_eof = file, bytearray(), 0, False
        self._fill(7)
        self._fill(Header.size(bytes(self._buffer[:7])))
        size = Header.size(bytes(self._buffer[:7]))
        self.header = Header.parse(bytes(self._buffer[:size]))
        self._drop(size)
        self.end: EndPayload | None = None
        self._next = {Kind.MOTION: 0, Kind.AUDIO: 0}
        self._false_ends = 0
        self._gone = 0  # damaged bytes since the last whole packet of a frame

    def _fill(self, count: int) -> None:
        while len(self._buffer) < count and not self._at_eof:
            data = self._file.read(max(_CHUNK, count - len(self._buffer)))
            self._at_eof = not data
            self._buffer += data or b""

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._start += count

    def packets(self) -> Iterator[Packet | Damage]:
        """Packets with their full numbers, and `Damage` where bytes are unusable."""
        while self.end is None:
            self._fill(_LONGEST_BUT_END)
            if not self._buffer:
                return
            try:
                packet, size = self._parse(0)
                packet = self._numbered(packet)
            except StreamError as error:
                start = self._start
                self._resynchronise()
                self._gone += self._start - start
                yield Damage(start, self._start, str(error), self._gone >= _WRAP_BYTES)
                continue
            self._drop(size)
            if self.end is None:
                yield packet

    def _parse(self, at: int) -> tuple[Packet, int]:
        """The packet at position `at`, and where it ends. Only a limited number of false END packets is read."""
        is_end = self._buffer[at : at + 1] == _END_HEAD
        if is_end and self._false_ends > _MAX_FALSE_ENDS and self._end_of(at) - at > _SMALL_END:
            raise StreamError("E10", "a packet is damaged: size")
        try:
            return self._parse_filled(at)
        except StreamError:
            self._false_ends += is_end
            raise

    def _parse_filled(self, at: int) -> tuple[Packet, int]:
        try:
            return Packet.parse(self._buffer, at)
        except StreamError as error:
            if error.rule != "E04" or self._at_eof:
                raise
        self._fill(at + _LONGEST)
        return Packet.parse(self._buffer, at)

    def _numbered(self, packet: Packet) -> Packet:
        """The packet with its full number, from the six bits and, in keyframes, from the payload (4.3)."""
        if packet.kind == Kind.END:
            self.end = EndPayload.parse(packet.payload)
            return packet
        if packet.kind == Kind.LAYER:  # of the frame that comes next; whether that is so, its payload tells (4.5)
            return replace(packet, number=self._next[Kind.MOTION])
        series = Kind.AUDIO if packet.kind == Kind.AUDIO else Kind.MOTION
        number = self._next[series] + ((packet.number - self._next[series]) & 63)
        key: KeyPayload | RefreshPayload | None = None
        if packet.kind in SYNCED:
            is_key = packet.kind == Kind.KEY
            key = KeyPayload.parse(packet.payload) if is_key else RefreshPayload.parse(packet.payload)
            if (is_key and key.frame & 63 != packet.number) or key.frame < self._next[series]:
                raise StreamError("E10", "a packet is damaged: frame number")
            number = key.frame
        if number > MAX_NUMBER:
            raise StreamError("E10", "a packet is damaged: number")
        if key is not None:
            self._next[Kind.AUDIO] = max(self._next[Kind.AUDIO], key.audio_packets)
        self._next[series] = number + 1
        if series == Kind.MOTION:
            self._gone = 0
        return replace(packet, number=number)

    def _resynchronise(self) -> None:
        """Skips to the next whole packet: after the damaged one if its size is right, else at a sync word (9.2)."""
        try:
            after = self._end_of(0)
            if after < len(self._buffer) and not self._keyframe_within(1, after):
                self._parse(after)
                self._drop(after)
                return
        except StreamError:
            pass
        self._drop(1)
        while True:
            self._fill(_CHUNK)
            found = self._buffer.find(SYNC)
            if found < 0:
                if self._at_eof:
                    self._drop(len(self._buffer))
                    return
                self._drop(max(len(self._buffer) - len(SYNC) + 1, 0))
                continue
            self._drop(found)
            try:
                self._parse(0)
                return
            except StreamError:
                self._drop(1)

    def _keyframe_within(self, start: int, stop: int) -> bool:
        """Whether a whole keyframe packet begins in these bytes: then the damaged packet's size was wrong."""
        while (start := self._buffer.find(SYNC, start, stop)) >= 0:
            try:
                self._parse(start)
                return True
            except StreamError:
                start += 1
        return False

    def _end_of(self, at: int) -> int:
        """Where the packet at position `at` ends, going by its payload_size. Raises StreamError if that is invalid."""
        at += len(SYNC) if self._buffer.startswith(SYNC, at) else 0
        size, at = parse_leb128(self._buffer, at + 1, "payload_size")
        return at + size + 2


def read_index(file: BinaryIO) -> EndPayload | None:
    """The index of a seekable file, found from its trailer; None if it has none (the file was cut off)."""
    end = file.seek(0, 2)
    if end < 8:
        return None
    file.seek(end - 8)
    size, magic = struct.unpack(">I4s", file.read(8))
    if magic != TRAILER or not 4 <= size <= min(end - 8, _LONGEST):
        return None
    file.seek(end - 8 - size)
    try:
        packet, _ = Packet.parse(file.read(size))
        return EndPayload.parse(packet.payload) if packet.kind == Kind.END else None
    except StreamError:
        return None
