"""Rooms of two: who is there, and what the server passes between them. Knows nothing of sockets.

The server sees sealed texts only (`fvc.web.invitation`), and nothing of the call itself. Everything is bounded: rooms,
members, the size and rate of messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_ROOMS, MAX_ROOMS_OF_A_HOST = 10_000, 20
MAX_TEXT = 32_768  # characters of a message
_MAX_MESSAGES, _REFILL = 60.0, 1.0  # messages of a member that may come at once; a second later, so many more

Send = Callable[[dict[str, Any]], None]


@dataclass(eq=False)
class Member:
    """Someone in a room.

    Attributes:
        name: chosen by the member at random; the same name again replaces the old connection.
        host: where the connection comes from; send: gives it a message; close: ends its connection.
    """

    name: str
    host: str
    send: Send
    close: Callable[[], None]
    credit: float = _MAX_MESSAGES
    heard: float = 0.0

    def may_speak(self, now: float) -> bool:
        """Whether it has sent few enough messages; counts one."""
        self.credit = min(self.credit + _REFILL * (now - self.heard), _MAX_MESSAGES) - 1
        self.heard = now
        return self.credit >= 0


@dataclass
class Rooms:
    """All rooms that have members."""

    _members: dict[str, list[Member]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._members)

    def join(self, room: str, member: Member, now: float) -> str | None:
        """Lets somebody in; returns why not, or None. The one that was there first is told to call the other."""
        member.heard = now
        there = self._members.get(room, [])
        before = next((other for other in there if other.name == member.name), None)
        if before is not None:
            there.remove(before)
            before.close()
        if len(there) >= 2:
            return "the room is full"
        if not there and len(self._members) >= MAX_ROOMS:
            return "the server is full"
        if not there and sum(m.host == member.host for ms in self._members.values() for m in ms) >= MAX_ROOMS_OF_A_HOST:
            return "too many rooms from this address"
        self._members[room] = [*there, member]
        for other in there:
            other.send({"type": "peer", "name": member.name, "calls": False})
            member.send({"type": "peer", "name": other.name, "calls": True})
        return None

    def leave(self, room: str, member: Member) -> None:
        """Somebody's connection has ended."""
        there = self._members.get(room, [])
        if member not in there:
            return
        there.remove(member)
        for other in there:
            other.send({"type": "left", "name": member.name})
        if not there:
            del self._members[room]

    def say(self, room: str, member: Member, text: str, now: float) -> bool:
        """Passes a text to the other one in the room; returns whether the member may stay."""
        if len(text) > MAX_TEXT or not member.may_speak(now):
            return False
        for other in self._members.get(room, []):
            if other is not member:
                other.send({"type": "message", "from": member.name, "text": text})
        return True
