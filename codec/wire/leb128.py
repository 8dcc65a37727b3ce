"""LEB128: unsigned integers in one to five bytes (bitstream_spec.md, section 2)."""

from __future__ import annotations

from fvc.codec.base.errors import StreamError


def leb128(value: int) -> bytes:
    """Encodes an unsigned integer: seven bits in each byte, least significant first; bit 7 says that more follow."""
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def parse_leb128(data: bytes | bytearray, at: int, field: str) -> tuple[int, int]:
    """Decodes the integer at position `at`; returns (value, next position).

    Raises StreamError: E04 the data end, E05 more than five bytes, above 2^32 - 1, or not the shortest form.
    """
    value = 0
    for n in range(5):
        if at + n >= len(data):
            raise StreamError("E04", f"{field} is truncated")
        byte = data[at + n]
        value |= (byte & 0x7F) << 7 * n
        if not byte & 0x80:
            if value >= 1 << 32 or (n and not byte):
                break
            return value, at + n + 1
    raise StreamError("E05", f"{field} is not a valid number")
