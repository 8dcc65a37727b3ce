"""The window, on a virtual screen whose pixels are read back, and the virtual camera."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from shutil import which
from types import ModuleType

import numpy as np
import pytest

from fvc.calls.display import VirtualCamera, Window
from fvc.codec.base.errors import FvcError, OutputError
from fvc.codec.call.playing import Shot

SCREEN = (320, 400)  # rows, columns


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A virtual screen; the file that holds its pixels."""
    pytest.importorskip("tkinter", reason="this Python has no Tk")
    if which("Xvfb") is None:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")
    reading, writing = os.pipe()
    size = f"{SCREEN[1]}x{SCREEN[0]}x24"
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", size, "-fbdir", str(tmp_path)]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as told:
            monkeypatch.setenv("DISPLAY", f":{told.readline().strip()}")
        yield tmp_path / "Xvfb_screen0"
        server.terminate()


def shown(screen: Path) -> np.ndarray:
    """The screen, uint8 [H, W, 3], from a file in X's dump format."""
    data = screen.read_bytes()
    header, colours = struct.unpack(">I", data[:4])[0], struct.unpack(">I", data[76:80])[0]
    pixels = np.frombuffer(data, np.uint8, SCREEN[0] * SCREEN[1] * 4, header + 12 * colours)
    return pixels.reshape(*SCREEN, 4)[..., 2::-1]


def test_a_window_shows_pictures_until_it_is_closed(screen: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    with Window("fvc") as window:
        for _ in range(20):  # the server paints when it comes to it
            window.draw(picture)
        seen = shown(screen)
        found = [
            (y, x) for y in range(121) for x in range(101) if np.array_equal(seen[y : y + 200, x : x + 300], picture)
        ]
        assert len(found) == 1
        window._root.event_generate("<Escape>")
        with pytest.raises(KeyboardInterrupt):
            window.show(Shot(0, picture, [], 0, 0.0))


def test_no_screen_and_no_tk(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tkinter", reason="this Python has no Tk")
    monkeypatch.setenv("DISPLAY", ":4095")
    if sys.platform == "linux":
        with pytest.raises(OutputError, match="no screen"):
            Window("fvc")
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(OutputError, match="no Tk"):
        Window("fvc")


class FakeCamera(ModuleType):
    """As pyvirtualcam; keeps what it is sent."""

    def __init__(self, fault: str = "") -> None:
        super().__init__("pyvirtualcam")
        self.fault, self.sent, self.is_open, self.device = fault, list[np.ndarray](), False, "/dev/video9"

    def Camera(self, width: int, height: int, fps: float) -> FakeCamera:  # noqa: N802 (its name there)
        if self.fault:
            raise RuntimeError(self.fault)
        self.size, self.fps, self.is_open = (width, height), fps, True
        return self

    def send(self, rgb: np.ndarray) -> None:
        self.sent.append(rgb)

    def close(self) -> None:
        self.is_open = False


def test_a_virtual_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, picture = FakeCamera(), np.zeros((256, 256, 3), np.uint8)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", fake)
    with VirtualCamera(Fraction(15)) as camera:
        assert fake.is_open
        camera.show(Shot(0, picture, [], 0, 0.0))
    assert (fake.size, fake.fps, fake.is_open, camera.device) == ((256, 256), 15.0, False, "/dev/video9")
    assert fake.sent[0] is picture
    fake.fault = "v4l2loopback: no device\nand more lines"
    with pytest.raises(OutputError, match=r"^no virtual camera: v4l2loopback: no device$"):
        VirtualCamera(Fraction(15))
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(FvcError, match=r"pip install 'fvc\[camera\]'"):
        VirtualCamera(Fraction(15))
