"""A preset's installed weights -> the graph with which `models.inference.drawing` embeds 512x512 pixels (needs torch).

    python -m fvc.export.large_graphs [PRESET] [--out FOLDER]

Writes into `models/weights/PRESET-512/`, or FOLDER: the OpenVINO graph `embed`, and `digests.json`; the preset's other
graphs draw either size. Its generator must be `models.generator.ComposedGenerator`. Run it again whenever the preset's
weights change.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fvc.codec.base.constants import LARGE_SIDE
from fvc.codec.base.errors import FvcError
from fvc.export.openvino_graphs import save_graphs
from fvc.export.shipped import load_preset
from fvc.models.generator import ComposedGenerator
from fvc.models.large.network import LargeGenerator
from fvc.models.presets import DEFAULT
from fvc.models.weights import LARGE_GRAPHS, large_folder, write_large_digests


def convert(preset: str, folder: Path | None = None) -> Path:
    """Installs the graphs, or writes them to `folder`; returns the folder.

    Raises UsageError and FvcError as `load_preset`, ValueError for another generator.
    """
    network, _ = load_preset(preset)
    if not isinstance(network.generator, ComposedGenerator):
        raise ValueError(f"preset {preset}: only composed generators draw {LARGE_SIDE} pixels")
    network.generator = LargeGenerator(network.generator)
    network.eval()
    folder = folder or large_folder(preset)
    folder.mkdir(parents=True, exist_ok=True)
    save_graphs(network, folder, LARGE_GRAPHS, LARGE_SIDE)
    write_large_digests(folder, preset)
    return folder


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default=DEFAULT, help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="folder to write instead of the installed graphs")
    args = parser.parse_args()
    try:
        print(convert(args.preset, args.out))
    except (FvcError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
