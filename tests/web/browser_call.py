"""Chromium in a room with `fvc call`: what the page shows, as figures and pictures. A program of its own.

python tests/web/browser_call.py OUT_FOLDER [SECONDS]
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parent))

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright
from web_support import serving

from fvc.codec.call.setup import Setup
from fvc.codec.channel.peer import PeerSession
from fvc.codec.decoder import Decoder
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.models.installed import InstalledModel
from fvc.web import call as web_call
from fvc.web.call import call
from fvc.web.invitation import Invitation

CHROMIUM = "/usr/bin/chromium"
SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.mp4"
FLAGS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-features=WebRtcHideLocalIpsWithMdns"]


class Logged(PeerSession):
    """What `fvc call` sent: its packets, and its newest set-up."""

    packets: ClassVar[list[Packet]] = []
    setup: ClassVar[Setup]

    def send(self, packet: Packet, now: float) -> None:
        Logged.packets.append(packet)
        super().send(packet, now)

    def offer_setup(self, setup: Setup, motion: float = 1100.0, sound: float = 0.0) -> None:
        Logged.setup = setup
        super().offer_setup(setup, motion, sound)


def drawn_by_fvc(frame: int) -> np.ndarray:
    """The picture of a frame that fvc draws from what was sent."""
    header = Logged.setup.header
    model = InstalledModel.of(header)
    decoder = Decoder(header, model.renderer(Logged.setup.source_set, header.profile, header.fps, exact=True))
    inputs = None
    for packet in Logged.packets:
        if packet.kind != Kind.AUDIO and packet.number <= frame:
            decoder.put(packet)
            inputs = decoder.next(packet.number) or inputs
    assert inputs is not None
    return decoder.renderer.draw(inputs)


def psnr(url: str, frame: int) -> float:
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    shown = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(float)
    return float(-10 * np.log10(np.mean((shown - drawn_by_fvc(frame)) ** 2) / 255**2))


def figures(page: Page) -> dict[str, Any]:
    return page.evaluate("({ ...window.fvc.figures, ...(window.fvc.session ? window.fvc.session.count : {}) })")


def main(out: Path, seconds: float) -> None:
    web_call.PeerSession = Logged  # type: ignore[misc]
    hosts, faults, reports = set[str](), list[str](), list[dict[str, Any]]()
    with serving() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        link = str(Invitation.new(server))
        page.goto(link)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # joins, by keyboard alone
        thread = threading.Thread(target=lambda: reports.append(call(link, SAMPLE, wait=60, enrol_seconds=2)))
        thread.start()
        end = time.monotonic() + seconds + 40
        while time.monotonic() < end and not figures(page).get("drawn"):
            page.wait_for_timeout(300)
            if "-v" in sys.argv:
                print(figures(page), file=sys.stderr)
        page.wait_for_timeout(4000)
        page.screenshot(path=out / "desktop.png")
        page.set_viewport_size({"width": 390, "height": 844})
        page.screenshot(path=out / "phone.png")
        pictures = page.evaluate(
            "() => ({ frame: window.fvc.figures.frame, url: document.getElementById('face').toDataURL() })"
        )
        found = figures(page)
        thread.join(seconds + 60)
        page.wait_for_timeout(500)
        status = page.text_content("#status")
        browser.close()
    found["psnr"] = round(psnr(pictures["url"], pictures["frame"]), 2)
    result = {"figures": found, "hosts": sorted(hosts), "faults": faults, "status": status, "report": reports}
    (out / "result.json").write_text(json.dumps(result))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 10)
