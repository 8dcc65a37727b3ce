"""`fvc serve`: the page, the rooms in which two ends find each other, and a health check. No media pass through it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from fvc.codec.base.errors import LinkError, UsageError
from fvc.codec.base.reporting import Note, silent
from fvc.codec.base.version import __version__
from fvc.codec.media.video import reason
from fvc.web.invitation import ROOM_FORM, Invitation
from fvc.web.rooms import MAX_TEXT, Member, Rooms

PAGE = Path(__file__).with_name("page")
_MEMBER_FORM = ROOM_FORM
_HEARTBEAT = 10.0  # seconds between two pings of a connection
_TURN_SECONDS = 3600  # for which a TURN credential is good
_MAX_WAITING = 64  # messages that wait for a slow member, before it is dropped
# Threads of WebAssembly need the two Cross-Origin headers; `connect-src` names the page's own socket alone.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self';"
    " img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class ServeOptions:
    """What the server tells the ends of a call.

    Attributes:
        stun, turn: addresses as "stun:host:port" and "turn:host:port"; none: only hosts that reach each other directly.
        turn_secret: shared with the TURN server (coturn's `static-auth-secret`): each end gets an hour's credential.
        public: the address under which people open the page, for the invitation that is printed; None: localhost.
    """

    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    turn_secret: str | None = None
    public: str | None = None

    def __post_init__(self) -> None:
        for kind, urls in (("stun", self.stun), ("turn", self.turn)):
            for url in urls:
                if not url.startswith((f"{kind}:", f"{kind}s:")):
                    raise UsageError(f"{url[:80]}: not an address of a {kind.upper()} server; say {kind}:HOST:PORT")
        if bool(self.turn) != (self.turn_secret is not None):
            raise UsageError("serve: a TURN server goes with its secret")

    def ice_servers(self, now: float) -> list[dict[str, Any]]:
        """The servers, as `RTCPeerConnection` takes them."""
        found: list[dict[str, Any]] = [{"urls": [url]} for url in self.stun]
        if self.turn and self.turn_secret is not None:
            name = str(int(now) + _TURN_SECONDS)
            digest = hmac.digest(self.turn_secret.encode(), name.encode(), hashlib.sha1)
            found.append({"urls": [*self.turn], "username": name, "credential": base64.b64encode(digest).decode()})
        return found


def application(options: ServeOptions, page: Path = PAGE) -> web.Application:
    """The whole server."""
    rooms = Rooms()

    async def health(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": __version__, "rooms": len(rooms), "page": _has(page)})

    async def settings(request: web.Request) -> web.Response:
        return web.json_response({"iceServers": options.ice_servers(time.time())})

    async def index(request: web.Request) -> web.StreamResponse:
        if not _has(page):
            return web.Response(status=503, text="The page was not built: run `make page` in the checkout.\n")
        return web.FileResponse(page / "index.html")

    async def room(request: web.Request) -> web.StreamResponse:
        return await _attend(request, rooms)

    app = web.Application(middlewares=[_with_headers], client_max_size=MAX_TEXT)
    app.add_routes([web.get("/healthz", health), web.get("/settings", settings), web.get("/", index)])
    app.add_routes([web.get("/r/{room}", index), web.get("/ws/{room}", room)])
    if page.is_dir():
        app.router.add_static("/page", page, append_version=False)
    return app


def _has(page: Path) -> bool:
    """Whether the page was built."""
    return (page / "index.html").is_file() and (page / "built").is_dir()


@web.middleware
async def _with_headers(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    if not response.prepared:
        response.headers.update(_HEADERS)
        response.headers.setdefault("Cache-Control", "no-cache")
    return response


async def _attend(request: web.Request, rooms: Rooms) -> web.StreamResponse:
    """One connection, from joining a room to leaving it."""
    room, name = request.match_info["room"], request.query.get("name", "")
    origin = request.headers.get("Origin")
    if not ROOM_FORM.fullmatch(room) or not _MEMBER_FORM.fullmatch(name):
        return web.Response(status=404)
    if origin is not None and origin.partition("://")[2] != request.host:
        return web.Response(status=403)  # a page of somebody else's opens rooms here
    socket = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=MAX_TEXT + 1024)
    await socket.prepare(request)
    waiting: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_MAX_WAITING)
    member = Member(name, request.remote or "", lambda message: _hand(waiting, message), lambda: _hand(waiting, None))
    speaker = asyncio.create_task(_speak(socket, waiting))
    try:
        if (fault := rooms.join(room, member, time.monotonic())) is not None:
            await socket.send_json({"type": "refused", "reason": fault})
            return socket
        async for message in socket:
            if message.type != WSMsgType.TEXT or not rooms.say(room, member, message.data, time.monotonic()):
                break
    finally:
        rooms.leave(room, member)
        speaker.cancel()
        await socket.close()
    return socket


def _hand(waiting: asyncio.Queue[dict[str, Any] | None], message: dict[str, Any] | None) -> None:
    """Queues a message; a member that does not read is dropped."""
    try:
        waiting.put_nowait(message)
    except asyncio.QueueFull:
        waiting.get_nowait()
        waiting.put_nowait(None)


async def _speak(socket: web.WebSocketResponse, waiting: asyncio.Queue[dict[str, Any] | None]) -> None:
    while (message := await waiting.get()) is not None:
        await socket.send_str(json.dumps(message))
    await socket.close()


def serve(host: str, port: int, options: ServeOptions, note: Note = silent, listening: Note = silent) -> None:
    """Serves until it is interrupted.

    Args:
        listening: called with an invitation once the server is up.

    Raises LinkError where it cannot listen there.
    """

    async def run() -> None:
        runner = web.AppRunner(application(options), access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            opened = runner.addresses[0][1]
            listening(str(Invitation.new(options.public or f"http://localhost:{opened}")))
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    if not _has(PAGE):
        note("the page was not built, so only `fvc call` can be used: run `make page` in the checkout")
    try:
        asyncio.run(run())
    except OSError as error:
        raise LinkError(f"port {port}: cannot be listened on ({reason(error)})") from None
