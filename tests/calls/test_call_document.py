"""Section 11 of the specification says what the code does: numbers, and the layout of packets."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from fvc.codec.base import constants
from fvc.codec.call import joining, session
from fvc.codec.call.rtp import App, Pli, Report
from fvc.codec.call.setup import ACK, CHALLENGE, PIECE, Ack, Challenge, Piece

SPEC = (Path(__file__).parent.parent.parent / "bitstream_spec.md").read_text()
CALLS = SPEC[SPEC.index("## 11. Calls over RTP") : SPEC.index("## Annex A.")]
TEXT = " ".join(CALLS.split())


def layout(subtype: str) -> list[str]:
    """The descriptors of an APP packet's data, as its table lists them."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in CALLS.splitlines() if line.startswith("| ")]
    starts = [n for n, row in enumerate(rows) if len(row) == 5 and re.match(r"\d: ", row[0])]
    at = next(n for n in starts if rows[n][0].endswith(subtype))
    end = next((n for n in range(at + 1, len(rows)) if rows[n][0] or len(rows[n]) != 5), len(rows))
    return [row[3] for row in rows[at:end]]


def test_layout_of_packets() -> None:
    assert layout("piece") == ["u(32)", "u(8)", "u(16), u(16)", "b(1..1024)"]
    assert bytes(Piece(1, 2, 3, 4, b"x")) == struct.pack(">IBHH", 1, 2, 3, 4) + b"x"
    assert layout("acknowledgement") == ["u(32)", "u(8)", "u(16)", "b((count + 7) // 8)"]
    assert bytes(Ack(1, 2, frozenset({0, 9}), 10)) == struct.pack(">IBH", 1, 2, 10) + b"\x80\x40"
    assert layout("challenge") == ["u(32)"]
    assert bytes(Challenge(1)) == struct.pack(">I", 1)
    for number, name in ((PIECE, "piece"), (ACK, "acknowledgement"), (CHALLENGE, "challenge")):
        assert f"| {number}: {name} |" in CALLS
    head = bytes(App(PIECE, 1, b""))
    assert head[8:12].hex(" ") == re.findall(r"name `([0-9a-f ]+)`", TEXT)[0]
    assert f'("{head[8:12].decode()}")' in TEXT


def test_a_challenge_is_smaller_than_any_piece() -> None:
    challenge = bytes(App(CHALLENGE, 1, bytes(Challenge(1))))
    smallest = bytes(App(PIECE, 1, bytes(Piece(0, 1, 0, 1, b"x"))))
    assert f"a challenge has {len(challenge)} bytes, the smallest piece {len(smallest)}" in TEXT
    assert len(challenge) < len(smallest)


def test_control_packets_are_those_of_the_rfcs() -> None:
    assert bytes(Report(1, 2))[:4].hex() == "81c90007"  # RFC 3550, 6.4.2: one block
    assert bytes(Pli(1, 2))[:4].hex() == "81ce0002"  # RFC 4585, 6.3.1


def test_numbers() -> None:
    assert f"fps is at least {constants.MIN_CALL_FPS} (E25)" in TEXT
    four, six = joining._PREFIX[4], joining._PREFIX[6]
    most = f"{joining.MAX_SENDERS}, {joining.MAX_OF_A_NETWORK} of one /{four} of IPv4 or /{six} of IPv6"
    assert f"(fvc: {most}, of which" in TEXT
    assert session.REPORT_INTERVAL == 1
    assert "once a second during the call" in TEXT
    assert f"at least {session.MIN_TIMEOUT:g})" in TEXT
    assert session.SILENCE == 2
    assert "nothing has come from the sender for two seconds" in TEXT
