"""Trained weights of the fusion network -> what `models.inference.fusing.FuseRuntime` loads (needs torch).

    python -m fvc.export.fusion_graph OUT/fusion.safetensors [--out FOLDER]

Writes into `models/weights/fusion`, or FOLDER: `weights.safetensors` (float16), the OpenVINO graph and `digests.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fvc.codec.base.constants import SIDE
from fvc.export.openvino_graphs import to_openvino, unit
from fvc.models.fusion.network import Fusion
from fvc.models.inference.fusing import FUSION, write_digests
from fvc.models.model import load_weights
from fvc.models.weights import folder_of


class FuseGraph(nn.Module):
    """Two pictures uint8 [1, 256, 256, 3], the layer's and the drawn one -> the fused one, uint8 [1, 256, 256, 3]."""

    def __init__(self, network: Fusion) -> None:
        super().__init__()
        self.network = network

    def forward(self, layer: Tensor, drawn: Tensor) -> Tensor:
        fused = self.network(unit(layer), unit(drawn))
        return (fused * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def load_fusion(weights: Path) -> Fusion:
    """The trained network in evaluation mode, float32. Raises ValueError if the file does not fit it."""
    network = Fusion()
    load_weights(network, weights)
    return network.eval()


def convert(weights: Path, folder: Path | None = None) -> Path:
    """Installs trained weights, or writes them to `folder`; returns the folder. Raises ValueError as `load_fusion`."""
    import openvino

    load_fusion(weights)  # before anything is written
    folder = folder or folder_of(FUSION)
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.half().contiguous() for name, tensor in load_file(weights).items()}
    save_file(half, folder / "weights.safetensors")
    example = tuple(torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8) for _ in range(2))
    model = to_openvino(FuseGraph(load_fusion(folder / "weights.safetensors")), example, [False, False])
    openvino.save_model(model, folder / "fuse.xml", compress_to_fp16=True)
    write_digests(folder)
    return folder


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="fusion.safetensors of a run")
    parser.add_argument("--out", type=Path, help="folder to write instead of the installed weights")
    args = parser.parse_args()
    if not args.weights.is_file():
        parser.error(f"{args.weights}: no such file")
    try:
        print(convert(args.weights, args.out))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
