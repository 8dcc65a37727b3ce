"""The server: rooms of two, what it refuses, and what it tells the ends."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from web_support import serving

from fvc.codec.base.errors import LinkError, UsageError
from fvc.web.invitation import Invitation
from fvc.web.rooms import MAX_ROOMS_OF_A_HOST, MAX_TEXT, Member, Rooms
from fvc.web.server import ServeOptions

ROOM, ANNE, BEN, CHRIS = "room-of-twenty-chars", "a" * 16, "b" * 16, "c" * 16


def member(name: str, heard: list[Any], host: str = "192.0.2.1") -> Member:
    return Member(name, host, heard.append, lambda: heard.append("closed"))


def test_two_meet_and_a_third_is_refused() -> None:
    rooms, anne, ben, third = Rooms(), [], [], []
    first = member(ANNE, anne)
    assert rooms.join(ROOM, first, 0) is None
    assert rooms.join(ROOM, member(BEN, ben), 0) is None
    assert anne == [{"type": "peer", "name": BEN, "calls": False}]
    assert ben == [{"type": "peer", "name": ANNE, "calls": True}]
    assert rooms.join(ROOM, member(CHRIS, third), 0) == "the room is full"
    assert third == []
    assert rooms.say(ROOM, first, "hello", 0)
    assert ben[-1] == {"type": "message", "from": ANNE, "text": "hello"}
    rooms.leave(ROOM, first)
    assert ben[-1] == {"type": "left", "name": ANNE}


def test_a_renewed_connection_replaces_its_old_one() -> None:
    rooms, old, new = Rooms(), [], []
    rooms.join(ROOM, member(ANNE, old), 0)
    rooms.join(ROOM, member(BEN, []), 0)
    assert rooms.join(ROOM, member(ANNE, new), 0) is None
    assert old[-1] == "closed"


def test_rooms_messages_and_hosts_are_limited() -> None:
    rooms = Rooms()
    talker = member(ANNE, [])
    rooms.join(ROOM, talker, 0)
    assert not rooms.say(ROOM, talker, "x" * (MAX_TEXT + 1), 0)
    assert [rooms.say(ROOM, talker, "x", 0) for _ in range(70)].count(True) < 62
    refused = [rooms.join(f"{n:020}", member(f"{n:016}", []), 0) for n in range(MAX_ROOMS_OF_A_HOST)]
    assert refused[-1] == "too many rooms from this address"
    assert rooms.join("another-host's-room", member(BEN, [], "192.0.2.2"), 0) is None


def test_invitations() -> None:
    invitation = Invitation.new("https://talk.example/")
    assert Invitation.parse(str(invitation)) == invitation
    assert invitation.signalling == f"wss://talk.example/ws/{invitation.room}"
    sealed = invitation.seal({"sdp": "secret"})
    assert "secret" not in base64.urlsafe_b64decode(sealed + "==").decode("latin1")
    assert invitation.open(sealed) == {"sdp": "secret"}
    other = Invitation(invitation.server, invitation.room, bytes(16))
    elsewhere = Invitation(invitation.server, "x" * 20, invitation.key)
    for stranger in (other, elsewhere):
        with pytest.raises(LinkError, match="not sealed"):
            stranger.open(sealed)
    for damaged in ("", "!", "AAAA", sealed[:-4], sealed[:8] + "AAAA" + sealed[12:]):
        with pytest.raises(LinkError):
            invitation.open(damaged)


@pytest.mark.parametrize(
    "link",
    ["", "talk.example", "ftp://x/r/" + ROOM, "https://x/r/short#a", f"https://x/r/{ROOM}", f"https://x/r/{ROOM}#zz"],
)
def test_links_of_nonsense(link: str) -> None:
    with pytest.raises(UsageError):
        Invitation.parse(link)


def test_the_server_never_sees_the_key() -> None:
    invitation = Invitation.new("http://localhost:1")
    assert str(invitation).endswith("#" + base64.urlsafe_b64encode(invitation.key).rstrip(b"=").decode())
    assert "#" not in invitation.signalling


def test_turn_credentials_are_those_of_coturn() -> None:
    options = ServeOptions(("stun:s.example:3478",), ("turn:t.example:3478",), "hush")
    stun, turn = options.ice_servers(1000)
    assert stun == {"urls": ["stun:s.example:3478"]}
    assert turn["username"] == "4600"
    wanted = hmac.new(b"hush", b"4600", hashlib.sha1).digest()
    assert base64.b64decode(turn["credential"]) == wanted
    for wrong in ({"stun": ("http://x",)}, {"turn": ("turn:x",)}, {"turn_secret": "x"}):
        with pytest.raises(UsageError):
            ServeOptions(**wrong)  # type: ignore[arg-type]


def test_over_http(tmp_path: Path) -> None:
    async def visit(server: str) -> None:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{server}/healthz") as answer:
                assert (await answer.json())["status"] == "ok"
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            async with http.get(f"{server}/settings") as answer:
                assert await answer.json() == {"iceServers": []}
            async with http.get(f"{server}/") as answer:
                assert answer.status == 503  # the page was not built
            for path in ("/ws/short?name=" + ANNE, f"/ws/{ROOM}", f"/ws/{ROOM}?name=x", "/page/../server.py"):
                async with http.get(server + path) as answer:
                    assert answer.status == 404
            headers = {"Origin": "https://elsewhere.example"}
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await http.ws_connect(f"{server}/ws/{ROOM}?name={ANNE}", headers=headers)
            await meet(http, server)

    async def meet(http: aiohttp.ClientSession, server: str) -> None:
        anne = await http.ws_connect(f"{server}/ws/{ROOM}?name={ANNE}")
        ben = await http.ws_connect(f"{server}/ws/{ROOM}?name={BEN}")
        third = await http.ws_connect(f"{server}/ws/{ROOM}?name={CHRIS}")
        assert (await third.receive_json())["reason"] == "the room is full"
        assert (await ben.receive_json())["calls"] is True
        await ben.send_str("offer")
        assert (await anne.receive_json())["type"] == "peer"
        assert (await anne.receive_json())["text"] == "offer"
        await ben.send_bytes(b"binary is nothing that the page sends")
        assert (await anne.receive_json())["type"] == "left"
        await anne.close()

    with serving(page=tmp_path) as server:
        asyncio.run(visit(server))
