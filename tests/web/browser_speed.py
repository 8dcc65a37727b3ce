"""How many frames a second one page sends and draws, beside an end that neither tracks nor draws.

python tests/web/browser_speed.py {send,receive,both} FOLDER [SECONDS]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from browser_pair import SAMPLE, figures, launch, until_true, watched
from playwright.sync_api import sync_playwright
from web_support import serving

import fvc
from fvc.codec.call.setup import Setup
from fvc.codec.channel.messages import CONTROL, Accepted
from fvc.codec.channel.peer import PeerReady, PeerSession
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import SourceSet
from fvc.web.invitation import Invitation
from fvc.web.rtc import Arrived, Opened, RtcPeer


class IdleEnd:
    """The other end: accepts every set-up unseen, and sends the sample, coded beforehand, again and again."""

    def __init__(self, invitation: Invitation, folder: Path, sends: bool) -> None:
        self.peer, self.session, self.sends = RtcPeer(invitation), PeerSession(0.4, 10, time.monotonic()), sends
        fvc.encode(SAMPLE, folder / "s.fvc", canvas=False, overwrite=True)
        with open(folder / "s.fvc", "rb") as file:
            reader = StreamReader(file)
            packets = [item for item in reader.packets() if isinstance(item, Packet)]
        self.setup = Setup(reader.header, SourceSet.parse((folder / "s.fvs").read_bytes()))
        self.frames = [one for one in packets if one.kind in (Kind.MOTION, Kind.KEY)]
        self.began: float | None = None
        self.sent = 0

    def serve(self) -> None:
        """Does what is due."""
        while (event := self.peer.event(0.005)) is not None:
            now = time.monotonic()
            if isinstance(event, Opened):
                self.session = PeerSession(0.4, 10, now)
                if self.sends:
                    self.session.offer_setup(self.setup)
            elif isinstance(event, Arrived):
                self.session.receive(event.channel, event.data, now)
        now = time.monotonic()
        if self.session._offer is not None:
            self.session._post(CONTROL, bytes(Accepted(self.session._offer[0])), now)
            self.session._offer = None
        while (event := self.session.next_event()) is not None:
            self.began = now if isinstance(event, PeerReady) and self.began is None else self.began
        while self.began is not None and self.sent < (now - self.began) * 15 and self.sent < len(self.frames):
            self.session.send(self.frames[self.sent], now)
            self.sent += 1
        self.session.handle_timer(now)
        for channel, data in self.session.messages_to_send(now):
            self.peer.send(channel, data)


def is_ready(found: dict[str, Any], what: str) -> bool:
    """Whether the page does what is measured."""
    is_sending = found.get("own", {}).get("frames", 0) > 15
    return (is_sending or what == "receive") and (found["drawn"] > 0 or what == "send")


def main(what: str, folder: Path, seconds: float) -> None:
    with serving() as server, sync_playwright() as playwright:
        browser = launch(playwright, folder)
        page = watched(browser, [], set())
        invitation = Invitation.new(server)
        end = IdleEnd(invitation, folder, sends=what != "send")
        page.goto(str(invitation))
        page.click("#watch" if what == "receive" else "#join")
        if what != "receive":
            until_true(page, "window.fvc.speaking?.setups", 100)
        with end.peer:
            while not is_ready(figures(page), what):
                end.serve()
            before, start = figures(page), time.monotonic()
            while time.monotonic() < start + seconds:
                for _ in range(100):
                    end.serve()
            after, spent = figures(page), time.monotonic() - start
        browser.close()
    found = {"drawn_fps": (after["drawn"] - before["drawn"]) / spent, "draw_ms": after["ms"]}
    if what != "receive":
        sent, own = after["own"]["frames"] - before["own"]["frames"], after["own"]
        found |= {"sent_fps": sent / spent, "track_ms": own["trackMs"], "encode_ms": own["encodeMs"]}
    print(json.dumps({name: round(value, 2) for name, value in found.items()} | {"setups": after.get("setups")}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 8)
