"""Chromium in a room with `fvc call`, both sending: what each shows, as figures and pictures. A program of its own.

python tests/web/browser_call.py OUT_FOLDER [SECONDS]
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parent))

import av
import cv2
import numpy as np
from browser_pair import SAMPLE, compared, figures, launch, until_true, watched
from playwright.sync_api import sync_playwright
from web_support import serving

from fvc.codec.call.setup import Setup
from fvc.codec.channel.peer import PeerSession
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.quantizer import to_sample
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.wire.bitstream import Header, Kind, Packet
from fvc.models.inference.installed import InstalledModel
from fvc.web import call as web_call
from fvc.web.call import call
from fvc.web.invitation import Invitation

SHOWN = """(({ shown }) => [document.getElementById("face").toDataURL(), shown.frame, shown.setup,
  [...shown.values.sup], [...shown.recent]])(window.fvc.drawing)"""
TIMES = 6  # that the sample is played, at most: until each side has seen enough of the other


class Logged(PeerSession):
    """What `fvc call` sent: its packets, and its set-ups, from number 1 on."""

    packets: ClassVar[list[Packet]] = []
    setups: ClassVar[list[Setup]] = []

    def send(self, packet: Packet, now: float) -> None:
        Logged.packets.append(packet)
        super().send(packet, now)

    def offer_setup(self, setup: Setup, motion: float = 1100.0, sound: float = 0.0) -> None:
        Logged.setups.append(setup)
        super().offer_setup(setup, motion, sound)


def decoded(header: Header, frame: int) -> list[np.ndarray]:
    """The landmarks, [33, 2], of all frames that were sent up to this one and show a face."""
    decoder, values = MotionDecoder(header), dict[int, Any]()
    for packet in Logged.packets:
        if packet.kind != Kind.AUDIO and packet.number <= frame:
            decoder.put(packet)
            values |= dict(decoder.advance(packet.number))
    return [to_sample(one, header.quantizers).parts["sup"] for one in values.values() if one is not None]


def psnr(url: str, frame: int, number: int, sup: list[float], recent: list[float]) -> float:
    """Of the canvas against what fvc draws of the same landmarks, pictures and earlier poses."""
    setup = Logged.setups[number - 1]
    points, header = np.float32(sup).reshape(33, 2), setup.header
    assert min(np.abs(points - one).max() for one in decoded(header, frame)) < 1e-5
    renderer = InstalledModel.of(header).renderer(setup.source_set, header.profile, header.fps, exact=True)
    drawn = renderer.draw(DrawInputs({"sup": points}, np.float32(recent).reshape(4, 43, 2)[:, :33], frame))
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    shown = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(float)
    return float(-10 * np.log10(np.mean((shown - drawn) ** 2) / 255**2))


def long_sample(path: Path) -> Path:
    """The sample's packets several times, one after the other."""
    with av.open(str(path), "w") as target:
        for n in range(TIMES):
            with av.open(str(SAMPLE)) as source:
                kept = (source.streams.video[0], source.streams.audio[0])
                if n == 0:
                    streams = {stream.index: target.add_stream_from_template(stream) for stream in kept}
                for packet in source.demux(*kept):
                    if packet.dts is not None:
                        move = round(10.2 * n / packet.time_base)  # its sound is a little longer than its pictures
                        packet.dts, packet.pts = packet.dts + move, packet.pts + move
                        packet.stream = streams[packet.stream.index]
                        target.mux(packet)
    return path


def shown_by_fvc(path: Path) -> list[np.ndarray]:
    """Some pictures of what `fvc call` recorded of the page."""
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    return frames[len(frames) // 3 :: max(len(frames) // 6, 1)]


def tell(text: str) -> None:
    print(f"fvc call: {text}", file=sys.stderr)


def main(out: Path, seconds: float) -> None:
    web_call.PeerSession = Logged  # type: ignore[misc]
    hosts, faults, reports = set[str](), list[str](), list[dict[str, Any]]()
    clip, back = long_sample(out / "long.mp4"), out / "back.mp4"
    with serving() as server, sync_playwright() as playwright:
        browser = launch(playwright, out)
        page = watched(browser, faults, hosts)
        link = str(Invitation.new(server))
        page.goto(link)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # joins, by keyboard alone
        until_true(page, "window.fvc.speaking?.setups", 200)
        caller = {"out": back, "overwrite": True, "wait": 120, "enrol_seconds": 2, "timeout": 60, "note": tell}
        thread = threading.Thread(target=lambda: reports.append(call(link, clip, **caller)))
        thread.start()
        until_true(page, "window.fvc.figures.drawn >= 12", 100)
        page.screenshot(path=out / "desktop.png")
        until_true(page, f"window.fvc.session.sending.count.frames > {15 * seconds}", 100)
        until_true(page, "window.fvc.drawing.shown?.setup >= 2", 100)
        shown = page.evaluate(SHOWN)
        found = figures(page)
        page.click("#leave")
        thread.join(100)
        browser.close()
    found["psnr"] = round(psnr(*shown), 2)
    result = {"figures": found, "hosts": sorted(hosts), "faults": faults, "report": reports}
    result["face"] = compared(shown_by_fvc(back))
    (out / "result.json").write_text(json.dumps(result))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 5)
