"""Counts the traffic of a link in one direction."""

from __future__ import annotations

from dataclasses import dataclass

from fvc.codec.base.constants import UDP_IPV4_HEADER_BYTES


@dataclass
class Traffic:
    """Counts packets; `size` is in bytes, with `header_bytes` of headers for each: by default those of IPv4 and UDP."""

    packets: int = 0
    size: int = 0
    header_bytes: int = UDP_IPV4_HEADER_BYTES

    def count(self, data: bytes) -> bytes:
        """Counts a packet and returns it."""
        self.packets, self.size = self.packets + 1, self.size + len(data) + self.header_bytes
        return data
