"""A peer in a room: signalling and WebRTC in a thread of their own, for callers without an event loop.

The caller sends messages and takes events; `codec.channel.peer` makes sense of them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import aiohttp
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError

from fvc.codec.base.errors import LinkError
from fvc.codec.channel.messages import CONTROL, MEDIA
from fvc.web.invitation import Invitation

_MOST_WAITING = 8_000  # bytes that wait in a media channel: behind more of them, frames would come too late
_MAX_MESSAGE = 4096  # bytes; larger ones are none of a call's
_MAX_EVENTS = 1000  # that wait for the caller; messages beyond are dropped
_AGAIN = (0.5, 1.0, 2.0, 5.0)  # seconds until the server is tried again
_SLOW = 10.0  # seconds for the server to answer


@dataclass(frozen=True)
class Opened:
    """Both channels to the other end are open. Each one begins a new session."""


@dataclass(frozen=True)
class Arrived:
    """A message came."""

    channel: str
    data: bytes


@dataclass(frozen=True)
class Closed:
    """The connection is gone; another may follow."""


@dataclass(frozen=True)
class Failed:
    """Nothing can come any more."""

    reason: str


Event = Opened | Arrived | Closed | Failed


class RtcPeer:
    """See the module. Use as a context manager."""

    def __init__(self, invitation: Invitation) -> None:
        self._invitation, self._name = invitation, secrets.token_urlsafe(16)
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fvc-rtc", daemon=True)
        self._connection: Any = None  # an RTCPeerConnection, or None
        self._channels: dict[str, RTCDataChannel] = {}
        self._other = ""  # name of the end that we are connected to
        self._is_open = self._is_over = False
        self._tries = 0  # to reach the server, in vain
        self._main: asyncio.Task[None] | None = None
        self.dropped = 0  # media messages, because the channel was full

    def __enter__(self) -> RtcPeer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: self._main and self._main.cancel())
        self._thread.join(_SLOW)

    def event(self, seconds: float) -> Event | None:
        """The next event, waiting so long for it."""
        try:
            return self._events.get(timeout=max(seconds, 0.0001))
        except Empty:
            return None

    def send(self, channel: str, data: bytes) -> None:
        """Sends a message; one that cannot be sent is lost."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._send, channel, data)

    def _send(self, label: str, data: bytes) -> None:
        channel = self._channels.get(label)
        if channel is None or channel.readyState != "open":
            return
        if label == MEDIA and channel.bufferedAmount > _MOST_WAITING:
            self.dropped += 1
            return
        with suppress(InvalidStateError, ConnectionError):
            channel.send(data)

    # In the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        logging.getLogger("aioice").setLevel(logging.ERROR)
        logging.getLogger("aiortc").setLevel(logging.ERROR)
        self._main = self._loop.create_task(self._stay())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        self._loop.run_until_complete(self._hang_up())
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _stay(self) -> None:
        """Keeps a connection to the room, through failures of the network."""
        while not self._is_over:
            try:
                async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, connect=_SLOW)) as http:
                    await self._attend(http)
            except LinkError as error:
                self._events.put(Failed(str(error)))
                return
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if self._tries >= len(_AGAIN) and not self._is_open:
                    self._events.put(Failed(f"{self._invitation.server}: the server does not answer ({error})"))
                    return
                await asyncio.sleep(_AGAIN[min(self._tries, len(_AGAIN) - 1)])
                self._tries += 1

    async def _attend(self, http: aiohttp.ClientSession) -> None:
        """One connection to the server, until it ends."""
        async with http.get(f"{self._invitation.server}/settings") as answer:
            ice = [RTCIceServer(**server) for server in (await answer.json())["iceServers"]]
        async with http.ws_connect(self._invitation.signalling, params={"name": self._name}, heartbeat=10) as socket:
            async for message in socket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    await self._take(socket, message.json(), ice)
                    self._tries = 0
        raise aiohttp.ClientConnectionError("it has closed the connection")

    async def _take(self, socket: Any, message: dict[str, Any], ice: list[RTCIceServer]) -> None:
        match message:
            case {"type": "refused", "reason": str(reason)}:
                raise LinkError(f"{self._invitation.server}: {reason[:200]}")
            case {"type": "peer", "name": str(name), "calls": True}:
                if name != self._other or not self._is_open:  # else its connection to the server was renewed, no more
                    await self._call(socket, name, ice)
            case {"type": "message", "from": str(name), "text": str(text)}:
                with suppress(LinkError):  # not sealed with our key: a stranger's
                    await self._answer(socket, name, self._invitation.open(text), ice)

    async def _call(self, socket: Any, name: str, ice: list[RTCIceServer]) -> None:
        connection = await self._connect(name, ice)
        self._adopt(connection, connection.createDataChannel(CONTROL))
        self._adopt(connection, connection.createDataChannel(MEDIA, ordered=False, maxRetransmits=0))
        await connection.setLocalDescription(await connection.createOffer())
        await self._say(socket, "offer", connection)

    async def _answer(self, socket: Any, name: str, message: dict[str, Any], ice: list[RTCIceServer]) -> None:
        kind, sdp = message.get("type"), message.get("sdp")
        if message.get("from") != name or message.get("to") not in (self._name, "") or not isinstance(sdp, str):
            return
        try:
            description = RTCSessionDescription(sdp, str(kind))
            if kind == "offer":
                connection = await self._connect(name, ice)
                await connection.setRemoteDescription(description)
                await connection.setLocalDescription(await connection.createAnswer())
                await self._say(socket, "answer", connection)
            elif kind == "answer" and name == self._other and self._connection is not None:
                await self._connection.setRemoteDescription(description)
        except (ValueError, KeyError, IndexError, AttributeError, TypeError, InvalidStateError, AssertionError):
            await self._hang_up()  # a description of nonsense: the other end is not what it should be

    async def _say(self, socket: Any, kind: str, connection: RTCPeerConnection) -> None:
        sdp = connection.localDescription.sdp
        sealed = self._invitation.seal({"type": kind, "sdp": sdp, "from": self._name, "to": self._other})
        await socket.send_str(sealed)

    async def _connect(self, name: str, ice: list[RTCIceServer]) -> RTCPeerConnection:
        """A new connection in place of the old one."""
        await self._hang_up()
        connection = RTCPeerConnection(RTCConfiguration(iceServers=ice))  # an empty list: no server is asked
        self._connection, self._other = connection, name
        connection.on("datachannel", lambda channel: self._adopt(connection, channel))

        def changed() -> None:
            if connection is self._connection and connection.connectionState in ("failed", "closed"):
                self._note_closed()

        connection.on("connectionstatechange", changed)
        return connection

    def _adopt(self, connection: RTCPeerConnection, channel: RTCDataChannel) -> None:
        if (
            connection is not self._connection
            or channel.label not in (CONTROL, MEDIA)
            or channel.label in self._channels
        ):
            return
        self._channels[channel.label] = channel

        def opened() -> None:
            is_complete = len(self._channels) == 2 and all(c.readyState == "open" for c in self._channels.values())
            if connection is self._connection and is_complete and not self._is_open:
                self._is_open = True
                self._events.put(Opened())

        def heard(data: Any) -> None:
            is_ours = isinstance(data, bytes) and len(data) <= _MAX_MESSAGE and connection is self._connection
            if is_ours and self._events.qsize() < _MAX_EVENTS * (10 if channel.label == CONTROL else 1):
                self._events.put(Arrived(channel.label, data))

        def closed() -> None:
            if connection is self._connection:
                self._note_closed()

        channel.on("open", opened)
        channel.on("message", heard)
        channel.on("close", closed)
        if channel.readyState == "open":
            opened()

    def _note_closed(self) -> None:
        if self._is_open:
            self._is_open = False
            self._events.put(Closed())

    async def _hang_up(self) -> None:
        connection, self._connection, self._channels, self._other = self._connection, None, {}, ""
        self._note_closed()
        if connection is not None:
            with suppress(Exception):
                await asyncio.wait_for(connection.close(), 3)
