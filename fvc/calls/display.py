"""Shows a call: in a window (Tk), or as a camera that other programs can choose (pyvirtualcam)."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import FvcError, OutputError
from fvc.codec.call.playing import Shot


class Window:
    """Shows frames; leaving it closes the window.

    Raises:
        OutputError: there is no screen, or Python was installed without Tk.
        KeyboardInterrupt: from `draw` and `show`, once the window is closed, or Escape or q is pressed.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter  # an optional part of the standard library
        except ImportError:
            raise OutputError("Python has no Tk to show a window (Debian: python3-tk); use --out FILE") from None
        try:
            self._root = tkinter.Tk(className=title)
        except tkinter.TclError:
            raise OutputError("no screen to show a window on; use --out FILE") from None
        self._root.title(title)
        self._root.resizable(False, False)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._picture_of = partial(tkinter.PhotoImage, master=self._root, format="PPM")
        self._is_closed = False
        for key in ("<Escape>", "q"):
            self._root.bind(key, self._close)
        self._root.protocol("WM_DELETE_WINDOW", self._close)

    def _close(self, *event: object) -> None:
        self._is_closed = True

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *exc: object) -> None:
        self._root.destroy()

    def draw(self, rgb: np.ndarray) -> None:
        """Shows uint8 [H, W, 3]."""
        height, width = rgb.shape[:2]
        picture = self._picture_of(data=b"P6 %d %d 255 " % (width, height) + rgb.tobytes())
        self._label.configure(image=picture)
        self._shown = picture  # Tk does not keep it alive
        self._root.update()
        if self._is_closed:
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
