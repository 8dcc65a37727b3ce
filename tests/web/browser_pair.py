"""Two tabs of Chromium in a room, the sample as camera and microphone of both: what each shows of the other.

python tests/web/browser_pair.py OUT_FOLDER [SECONDS]
"""

from __future__ import annotations

import base64
import json
import sys
import time
import wave
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import av
import cv2
import numpy as np
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from web_support import serving

from fvc.codec.face.landmarks import landmark_error
from fvc.codec.face.tracker import FaceTracker
from fvc.web.invitation import Invitation

CHROMIUM = "/usr/bin/chromium"
SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.mp4"
FLAGS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
SHOTS = 6  # pictures of each canvas


def camera_files(folder: Path, frames: int = 75) -> list[str]:
    """Writes the sample as y4m and wav; returns the flags that make Chromium play them, over and over."""
    with av.open(str(SAMPLE)) as sample, open(folder / "camera.y4m", "wb") as out:
        for n, frame in enumerate(sample.decode(video=0)):
            if n == frames:
                break
            if n == 0:
                out.write(f"YUV4MPEG2 W{frame.width} H{frame.height} F15:1 Ip A1:1 C420mpeg2\n".encode())
            planes = frame.reformat(format="yuv420p", dst_color_range="MPEG").to_ndarray()
            out.write(b"FRAME\n" + planes.tobytes())
    with av.open(str(SAMPLE)) as sample, wave.open(str(folder / "voice.wav"), "wb") as voice:
        voice.setparams((1, 2, 48000, 0, "NONE", ""))
        resampler = av.AudioResampler("s16", "mono", 48000)
        for frame in sample.decode(audio=0):
            for piece in resampler.resample(frame):
                voice.writeframes(piece.to_ndarray().tobytes())
    return [
        f"--use-file-for-fake-video-capture={folder / 'camera.y4m'}",
        f"--use-file-for-fake-audio-capture={folder / 'voice.wav'}",
    ]


def launch(playwright: Playwright, folder: Path) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *camera_files(folder)])


def watched(browser: Browser, faults: list[str], hosts: set[str]) -> Page:
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    return page


FIGURES = """() => {
  const { figures, session, speaking, speaker } = window.fvc, text = (id) => document.getElementById(id).textContent;
  const out = { ...figures, loudest: speaker?.loudest ?? 0, told: text("own"), said: text("status") };
  if (session) Object.assign(out, session.count, { ready: session.sending.isReady, way: session.sending.way });
  if (speaking) Object.assign(out, { own: speaking.count, pictures: speaking.setups?.pictures });
  if (speaking?.setups) out.setups = [speaking.setups.first.length, speaking.setups.full.length];
  return out;
}"""


def figures(page: Page) -> dict[str, Any]:
    """Counts of the page: what it drew, received and sent."""
    return dict(page.evaluate(FIGURES))


def picture(page: Page) -> np.ndarray:
    """The canvas, uint8 [256, 256, 3]."""
    url = page.evaluate("document.getElementById('face').toDataURL()")
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def aligned(sup: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Landmarks [33, 2] turned, scaled and moved onto others."""
    matrix, _ = cv2.estimateAffinePartial2D(sup, other, method=cv2.LMEDS)
    return sup @ matrix[:, :2].T + matrix[:, 2]


def compared(pictures: list[np.ndarray]) -> dict[str, Any]:
    """How near the faces are to the nearest frame of the sample, and how far they moved, in distances of the eyes."""
    with av.open(str(SAMPLE)) as sample, FaceTracker() as tracker:
        frames = [tracker.track(frame.to_ndarray(format="rgb24")) for frame in sample.decode(video=0)]
    known = [face.sup for face in frames if face is not None]
    with FaceTracker(still=True) as tracker:
        seen = [tracker.track(cv2.resize(one, (512, 512), interpolation=cv2.INTER_CUBIC)) for one in pictures]
    found = [face.sup for face in seen if face is not None]
    errors = [min(float(landmark_error(aligned(sup, one), one)) for one in known) for sup in found]
    moved = [float(landmark_error(one, found[0])) for one in found[1:]]
    return {
        "faces": len(found),
        "of": len(pictures),
        "error": max(errors, default=1.0),
        "moved": max(moved, default=0.0),
    }


def until_true(page: Page, what: str, seconds: float) -> None:
    """Waits until an expression is true in a page. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not page.evaluate(f"Boolean({what})"):
        if "-v" in sys.argv:
            print(figures(page), file=sys.stderr)
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: {figures(page)}")
        page.wait_for_timeout(300)


def main(out: Path, seconds: float) -> None:
    hosts, faults = set[str](), list[str]()
    with serving() as server, sync_playwright() as playwright:
        browser = launch(playwright, out)
        pages = [watched(browser, faults, hosts) for _ in range(2)]
        link = str(Invitation.new(server))
        for page in pages:
            page.goto(link)
            page.click("#join")
        for page in pages:
            until_true(page, "window.fvc.figures.drawn >= 3", 200)
        shots: list[list[np.ndarray]] = [[], []]
        for _ in range(SHOTS):
            for page, taken in zip(pages, shots, strict=True):
                taken.append(picture(page))
            pages[0].wait_for_timeout(1000 * seconds / SHOTS)
        pages[0].screenshot(path=out / "pair_desktop.png")
        pages[1].set_viewport_size({"width": 390, "height": 844})
        pages[1].screenshot(path=out / "pair_phone.png")
        pages[0].click("#camera")
        pages[0].click("#microphone")
        pressed = pages[0].eval_on_selector_all("#camera, #microphone", "all => all.map((b) => b.ariaPressed)")
        found = [figures(page) for page in pages]
        pages[0].click("#leave")
        until_true(pages[1], "document.getElementById('status').textContent.includes('left')", 30)
        browser.close()
    for n, taken in enumerate(shots):
        cv2.imwrite(str(out / f"shots{n}.png"), np.hstack(taken)[..., ::-1])
    result = {"figures": found, "faces": [compared(taken) for taken in shots], "hosts": sorted(hosts), "faults": faults}
    (out / "pair.json").write_text(json.dumps({**result, "pressed": pressed}))
    print(json.dumps({**result, "pressed": pressed}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 6)
