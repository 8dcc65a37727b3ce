"""A decoded video says that it is synthetic, and what it was made from."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import Encoded, Run

from fvc.codec.media.provenance import Provenance, read_provenance
from fvc.codec.media.video_writer import VideoWriter

ORIGIN = Provenance("1.2.3", "ab" * 32, "cd" * 16, False, "ef" * 8)


@pytest.mark.parametrize("foreign", [False, True])
def test_text_and_back(foreign: bool) -> None:
    origin = Provenance("0.1.0", "01" * 32, "23" * 16, foreign, "45" * 8)
    assert Provenance.parse(str(origin)) == origin
    assert "generator" in str(origin)
    assert ("foreign" in str(origin)) == foreign
    for other in ("", str(origin)[:-1], f"{origin}!", "Synthesised by somebody"):
        assert Provenance.parse(other) is None


def test_videos_carry_it(tmp_path: Path) -> None:
    for name, text in (("a.mp4", str(ORIGIN)), ("b.mp4", "a holiday")):
        with VideoWriter(tmp_path / name, 32, 32, Fraction(5), metadata={"comment": text}) as video:
            video.write(np.zeros((32, 32, 3), np.uint8))
    found = read_provenance(tmp_path / "a.mp4")
    assert found is not None
    assert (found["stream"], found["synthesised"], found["foreign"]) == ("ab" * 32, True, False)
    assert read_provenance(tmp_path / "b.mp4") is None
    (tmp_path / "text").write_text(str(ORIGIN))
    assert read_provenance(tmp_path / "text") is None


def test_decoded_video_names_stream_sources_and_weights(encoded: Encoded, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out.mp4"
    assert run("decode", encoded.stream, "--sources", encoded.sources, "-o", out).code == 0
    with av.open(str(out)) as container:
        origin = Provenance.parse(container.metadata["comment"])
    header, _ = encoded.parsed()
    assert origin is not None
    assert origin.stream == hashlib.sha256(encoded.stream.read_bytes()).hexdigest()
    assert origin.sources == header.sources_hash.hex()
    assert (origin.weights, origin.foreign) == (header.model_hash.hex(), False)
    shown = json.loads(run("info", out, "--json").out)
    assert (shown["synthesised"], shown["stream"]) == (True, origin.stream)
    assert run("info", encoded.video).code == 4
