"""Calls of 512x512 pixels."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import FPS
from test_display import FakeCamera
from test_real_calls import start_receiver

import fvc
from fvc.calls.display import VirtualCamera
from fvc.calls.send import send
from fvc.codec.base.errors import OptionError, StreamError
from fvc.codec.call.playing import Shot
from fvc.codec.call.setup import Setup
from fvc.codec.media.video import VideoReader


def test_a_call_is_recorded_at_its_size(large_clip: Path, tmp_path: Path) -> None:
    thread, port, result = start_receiver(out=tmp_path / "call.mp4", wait=60, timeout=20)
    send(f"127.0.0.1:{port}", large_clip, fps=str(FPS), enrol_seconds=0.5, timeout=60, size=512)
    thread.join(60)
    assert result["report"]["frames"] >= 1
    with av.open(str(tmp_path / "call.mp4")) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (512, 512)
        assert "comment" in file.metadata


def test_encoder_and_decoder_for_programs(large_clip: Path) -> None:
    with VideoReader(large_clip) as video:
        pictures = [frame.rgb for frame in video.frames(Fraction(FPS))]
    encoder, setup = fvc.open_encoder(pictures[:4], fps=FPS, size=512)
    decoder = fvc.open_decoder(bytes(setup))
    for number, picture in enumerate(pictures[:3]):
        decoder.put(encoder.encode(fvc.Frame(picture, number)))
        assert decoder.show(number).rgb.shape == (512, 512, 3)
    with pytest.raises(StreamError, match=r"have 512 pixels, not 256 \[E25\]"):
        Setup.parse(bytes(Setup(replace(setup.header, side=256), setup.source_set)))
    notes: list[str] = []
    small = [picture[::3, ::3] for picture in pictures[:2]]
    assert fvc.open_encoder(small, fps=FPS, size=512, note=notes.append)[1].header.side == 256
    assert any("fewer than `size` 512" in note for note in notes)
    with pytest.raises(OptionError, match="preset tiny draws 256"):
        fvc.open_encoder(pictures[:1], size=512, preset="tiny")


def test_a_virtual_camera_of_512_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCamera()
    monkeypatch.setitem(__import__("sys").modules, "pyvirtualcam", fake)
    with VirtualCamera(Fraction(15), 512) as camera:
        camera.show(Shot(0, np.zeros((512, 512, 3), np.uint8), [], 0, 0.0))
    assert fake.size == (512, 512)
