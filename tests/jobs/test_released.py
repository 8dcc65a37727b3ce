"""Files of released versions stay decodable, and are drawn as they were.

`tests/vectors/released/VERSION` holds one stream and source set of each release, and what was drawn of it, made by
`python tests/jobs/test_released.py VERSION` with that release. They are never made again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import fvc
from fvc.codec.decoder import Decoder
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import SourceSet
from fvc.models.inference.installed import InstalledModel

ROOT = Path(__file__).parent.parent.parent
RELEASED = ROOT / "tests" / "vectors" / "released"
VERSIONS = sorted(path.name for path in RELEASED.iterdir())
SHOWN = (0, 30, 60, 90, 120, 149)
SIDE = 64  # of the kept pictures: means of 4x4 pixels


def drawn(folder: Path) -> np.ndarray:
    """uint8 [6, 64, 64, 3]: some frames of the stream, drawn in float32."""
    with (folder / "talk.fvc").open("rb") as file:
        reader = StreamReader(file)
        sources = SourceSet.parse((folder / "talk.fvs").read_bytes())
        model = InstalledModel.of(reader.header)
        decoder = Decoder(reader.header, model.renderer(sources, reader.header.profile, reader.header.fps, exact=True))
        packets = [item for item in reader.packets() if isinstance(item, Packet) and item.kind != Kind.AUDIO]
    pictures = []
    for packet in packets:
        decoder.put(packet)
        inputs = decoder.next(packet.number)
        if packet.number in SHOWN:
            assert inputs is not None
            picture = decoder.renderer.draw(inputs)
            pictures.append(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.stack(pictures)


@pytest.mark.parametrize("version", VERSIONS)
def test_files_of_every_release_are_decoded(version: str, tmp_path: Path) -> None:
    folder = RELEASED / version
    report = fvc.decode(folder / "talk.fvc", folder / "talk.fvs", tmp_path / "back.mp4")
    assert (report["frames"], report["frames_held"], report["complete"], report["audio"]) == (150, 0, True, True)


def test_the_newest_release_is_drawn_as_it_was() -> None:
    """CPUs round differently, and 0.3.0 did not sum in bytes: less than a level in the mean. Other weights change more.

    Whoever changes what is drawn on purpose releases a new version with files of its own.
    """
    folder = RELEASED / VERSIONS[-1]
    with np.load(folder / "drawn.npz") as kept:
        error = np.abs(drawn(folder).astype(float) - kept["pictures"])
    assert error.mean() < 0.25
    assert error.max() < 4


def make(folder: Path) -> None:
    """Makes the files of a release from the project's sample."""
    folder.mkdir(parents=True)
    fvc.encode(ROOT / "samples" / "astronaut.mp4", folder / "talk.fvc", source_frames=3, canvas=False)
    np.savez_compressed(folder / "drawn.npz", pictures=drawn(folder))


if __name__ == "__main__":
    make(RELEASED / sys.argv[1])
