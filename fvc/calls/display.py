"""Shows a call: in a window (OpenCV), or as a camera that other programs can choose (pyvirtualcam)."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import FvcError, OutputError
from fvc.codec.call.playing import Shot


class Window:
    """Shows frames; leaving it closes the window.

    Raises:
        OutputError: there is no screen, or OpenCV was built without windows.
        KeyboardInterrupt: from `draw` and `show`, when Escape or q is pressed.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        needs_display = sys.platform.startswith("linux")  # Qt would end the process
        if needs_display and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise OutputError("no screen to show a window on (DISPLAY is not set); use --out FILE")
        try:
            cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE)
        except cv2.error:
            raise OutputError("this OpenCV is built without windows (headless); use --out FILE") from None

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *exc: object) -> None:
        cv2.destroyWindow(self._title)

    def draw(self, rgb: np.ndarray) -> None:
        """Shows uint8 [H, W, 3]."""
        cv2.imshow(self._title, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) & 0xFF in (27, ord("q")):
            raise KeyboardInterrupt

    def show(self, shot: Shot) -> None:
        """Shows a frame of a call."""
        self.draw(shot.rgb)


class VirtualCamera:
    """A camera of `side` x `side` pixels for other programs: v4l2loopback on Linux, OBS or Unity Capture elsewhere.

    Raises:
        FvcError: pyvirtualcam is not installed. OutputError: there is no such camera on this machine.
    """

    def __init__(self, fps: Fraction, side: int = SIDE) -> None:
        try:
            import pyvirtualcam
        except ModuleNotFoundError:
            raise FvcError("pyvirtualcam is not installed; pip install 'fvc[camera]'") from None
        try:
            self._camera: Any = pyvirtualcam.Camera(width=side, height=side, fps=float(fps))
        except RuntimeError as error:
            reason = str(error).strip().splitlines() or ["none found"]
            raise OutputError(f"no virtual camera: {reason[0]}") from None

    @property
    def device(self) -> str:
        """The name under which other programs see it."""
        return str(self._camera.device)

    def __enter__(self) -> VirtualCamera:
        return self

    def __exit__(self, *exc: object) -> None:
        self._camera.close()

    def show(self, shot: Shot) -> None:
        """Shows a frame of a call, at once: the receiver keeps time."""
        self._camera.send(shot.rgb)
