"""The sender's end of a call, without socket and clock (bitstream_spec.md, section 11).

    Setup -> pieces, until they are acknowledged;  Encoder -> packets -> Packetizer -> RTP;  hears Ack, Pli, Bye

Whatever comes from the network can be anything: what cannot be understood is dropped.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.rtp import App, Bye, Pli, Rtp, is_control, parse_control
from fvc.codec.call.setup import ACK, PIECE, Ack, Setup, SetupSender
from fvc.codec.constants import RTP_CLOCK, UDP_IPV4_HEADER_BYTES
from fvc.codec.errors import StreamError
from fvc.codec.wire.bitstream import Kind, Packet


@dataclass
class Traffic:
    """What went over the link one way; `size` in bytes, with IPv4 and UDP headers."""

    packets: int = 0
    size: int = 0

    def count(self, data: bytes) -> bytes:
        """One more packet; returns it."""
        self.packets, self.size = self.packets + 1, self.size + len(data) + UDP_IPV4_HEADER_BYTES
        return data


class SendingSession:
    """See the module.

    Args:
        packetizer: how packets become datagrams.
        setup_bitrate: bits per second at which set-ups are sent.
        seed: of the random numbers that RTP wants.

    Attributes:
        ended: why the other side left; None while it is there.
        heard: when it last said something; None before.
        setups, media: what was sent.
    """

    def __init__(self, setup: Setup, packetizer: Packetizer, setup_bitrate: float, seed: int | None = None) -> None:
        draw = random.Random(seed)
        self.ssrc, self._sequence, self._first_stamp = draw.getrandbits(32), draw.getrandbits(16), draw.getrandbits(32)
        self._fps, self._packetizer, self._bitrate = setup.header.fps, packetizer, setup_bitrate
        self._number, self._sender = 1, SetupSender(1, bytes(setup), setup_bitrate)
        self._frame, self._wants_keyframe = 0, False
        self.ended: str | None = None
        self.heard: float | None = None
        self.setups, self.media = Traffic(), Traffic()

    @property
    def ready(self) -> bool:
        """Whether the receiver uses the newest set-up."""
        return self._sender.done

    def extend(self, setup: Setup) -> None:
        """Sends a set-up with other source pictures, beside the frames."""
        self._number += 1
        self._sender = SetupSender(self._number, bytes(setup), self._bitrate)

    def handle(self, data: bytes, now: float) -> None:
        """Takes a packet from the other side."""
        try:
            packet = parse_control(data) if is_control(data) else None
            if isinstance(packet, App) and packet.subtype == ACK:
                self._sender.acknowledge(Ack.parse(packet.data))
        except StreamError:
            return
        if packet is not None:
            self.heard = now
        self._wants_keyframe |= isinstance(packet, Pli) and packet.media == self.ssrc
        if isinstance(packet, Bye):
            self.ended = packet.reason or "it hung up"

    def take_keyframe_request(self) -> bool:
        """Whether a keyframe was asked for since the last call."""
        wanted, self._wants_keyframe = self._wants_keyframe, False
        return wanted

    def due(self, now: float) -> list[bytes]:
        """Pieces of the set-up to send now."""
        return [self.setups.count(bytes(App(PIECE, self.ssrc, bytes(piece)))) for piece in self._sender.due(now)]

    def send(self, packet: Packet) -> list[bytes]:
        """The RTP packets that this packet of the stream completes."""
        if packet.kind != Kind.AUDIO:
            self._frame = packet.number
        return [self._framed(datagram) for datagram in self._packetizer.add(packet)]

    def bye(self) -> list[bytes]:
        """What is left, and that this is the end."""
        left = [self._framed(datagram) for datagram in self._packetizer.flush()]
        return [*left, self.media.count(bytes(Bye(self.ssrc)))]

    def _framed(self, datagram: bytes) -> bytes:
        stamp = self._first_stamp + int(self._frame * RTP_CLOCK / self._fps) & 0xFFFFFFFF
        self._sequence = self._sequence + 1 & 0xFFFF
        return self.media.count(bytes(Rtp(self._sequence, stamp, self.ssrc, datagram)))
