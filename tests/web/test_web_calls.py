"""Calls of two `fvc call`s through a server, over WebRTC on this machine; and what strangers in the way can do."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLE, Run, frames_of, sound_of
from web_support import serving

from fvc.codec.base.errors import FvcError, LinkError, UsageError
from fvc.codec.channel.messages import CONTROL, MEDIA, Leave
from fvc.web.call import call
from fvc.web.invitation import Invitation
from fvc.web.rtc import Arrived, Closed, Event, Failed, Opened, RtcPeer


def until(peer: RtcPeer, kind: type, seconds: float = 20) -> Any:
    """The first event of a kind."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        event: Event | None = peer.event(0.2)
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__}")


def test_two_callers_see_and_hear_each_other(clip: Path, tmp_path: Path) -> None:
    with serving() as server, ThreadPoolExecutor(2) as pool:
        link = str(Invitation.new(server))
        outs = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
        calls = [pool.submit(call, link, SAMPLE, out=out, wait=60, enrol_seconds=2) for out in outs]
        reports = [one.result(120) for one in calls]
    for report, out in zip(reports, outs, strict=True):
        assert report["connections"] == 1
        assert report["frames_decoded"] > 30  # of 150: a busy machine begins late, and draws fewer
        assert report["messages_refused"] == 0
        assert len(frames_of(out)) > 60
        assert sound_of(out).std() > 0.01
        assert report["sent_bytes"] * 8 / 1000 / report["duration_s"] < 40


def test_messages_pass_both_ways_and_a_lost_end_is_noticed() -> None:
    with serving() as server:
        invitation = Invitation.new(server)
        with RtcPeer(invitation) as anne:
            with RtcPeer(invitation) as ben:
                until(anne, Opened)
                until(ben, Opened)
                anne.send(CONTROL, b"\x05")
                ben.send(MEDIA, b"\x00")
                assert until(ben, Arrived) == Arrived(CONTROL, b"\x05")
                assert until(anne, Arrived) == Arrived(MEDIA, b"\x00")
                anne.send(CONTROL, bytes(5000))  # larger than any message of a call
                anne.send(CONTROL, bytes(Leave("bye")))
                assert until(ben, Arrived).data == bytes(Leave("bye"))
            until(anne, Closed)
            with RtcPeer(invitation) as ben:  # and comes back
                until(anne, Opened)
                until(ben, Opened)


def test_a_stranger_without_the_key_gets_nothing() -> None:
    """The server, or whoever guesses the room, can neither join nor take the place of an end."""
    with serving() as server:
        invitation = Invitation.new(server)
        stranger = replace(invitation, key=bytes(16))
        with RtcPeer(invitation) as anne, RtcPeer(stranger) as mallory:
            assert mallory.event(4) is None
            assert anne.event(1) is None
            with RtcPeer(invitation) as ben:
                assert "full" in until(ben, Failed).reason  # a stranger who knows the room can keep others out of it


def test_a_description_of_nonsense_harms_nobody() -> None:
    with serving() as server:
        invitation = Invitation.new(server)

        class Hostile(RtcPeer):
            async def _say(self, socket: Any, kind: str, connection: Any) -> None:
                for sdp in ("", "nonsense", "v=0\r\nm=x", connection.localDescription.sdp.replace("fingerprint", "f")):
                    sealed = invitation.seal({"type": kind, "sdp": sdp, "from": self._name, "to": self._other})
                    await socket.send_str(sealed)

        with RtcPeer(invitation) as anne:
            with Hostile(invitation):
                assert anne.event(3) is None
            with RtcPeer(invitation) as ben:
                until(anne, Opened)
                until(ben, Opened)


def test_nobody_comes_and_no_server(tmp_path: Path) -> None:
    with serving() as server, pytest.raises(LinkError, match="nobody came"):
        call(str(Invitation.new(server)), out=tmp_path / "x.mp4", wait=1.5)
    assert not (tmp_path / "x.mp4").exists()
    with pytest.raises(LinkError, match="does not answer"):
        call(str(Invitation.new("http://127.0.0.1:9")), out=tmp_path / "x.mp4", wait=30)


def test_wrong_arguments(run: Run) -> None:
    link = str(Invitation.new("http://127.0.0.1:9"))
    for arguments in ({}, {"video": "a", "camera": 0}, {"video": "a", "microphone": "x"}, {"out": "a.mp4", "wait": 0}):
        with pytest.raises(UsageError):
            call(link, **arguments)  # type: ignore[arg-type]
    for line in (
        ("call", "nonsense", "--out", "x.mp4"),
        ("serve", "--stun", "http://x"),
        ("serve", "--turn", "turn:x"),
    ):
        result = run(*line)
        assert result.code == 2
        assert result.err.count("\n") == 1


def test_a_port_that_is_taken(run: Run) -> None:
    with serving() as server:
        result = run("serve", "--host", "127.0.0.1", "--port", server.rpartition(":")[2])
        assert (result.code, result.err.count("\n")) == (7, 1 + ("page was not built" in result.err))
    assert threading.active_count() < 20
    assert issubclass(LinkError, FvcError)
