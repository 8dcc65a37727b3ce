"""Weights of our own tracker (`training.others.tracker_networks`) -> the OpenVINO graphs for `codec.face.own_faces`.

    python -m fvc.export.tracker_graphs LANDMARKS DETECTOR [--out FOLDER]

LANDMARKS and DETECTOR are folders of finished runs. The weights are rounded to fp16; `about.json` has the mean face and
how large the square around it is.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import fvc.codec.face
from fvc.export.openvino_graphs import fold_batch_norms, to_openvino, unit
from fvc.models.landmark_net import FACE_SIDE, PICTURE_SIDE, FaceDetector, TrackerHead

INSTALLED = Path(fvc.codec.face.__file__).parent / "networks"


class DetectorGraph(nn.Module):
    """uint8 [1, 128, 128, 3] -> float32 [1, 5, 16, 16]; of the first channel probabilities instead of logits."""

    def __init__(self, network: FaceDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> Tensor:
        cells = self.network(unit(picture))
        return torch.cat([cells[:, :1].sigmoid(), cells[:, 1:]], 1)


class HeadGraph(nn.Module):
    """uint8 [1, 96, 96, 3] -> landmarks float32 [1, 33, 3], the probability of a face [1]."""

    def __init__(self, network: TrackerHead) -> None:
        super().__init__()
        self.network = network

    def forward(self, square: Tensor) -> tuple[Tensor, Tensor]:
        points, presence = self.network(unit(square))
        return points, presence.sigmoid()


def convert(landmarks: Path, detector: Path, out: Path) -> Path:
    """Writes `landmarks` and `detector`, .xml and .bin, and `about.json`, into a folder."""
    import openvino

    out.mkdir(parents=True, exist_ok=True)
    for name, run, network, graph, side in (
        ("landmarks", landmarks, TrackerHead(), HeadGraph, FACE_SIDE),
        ("detector", detector, FaceDetector(), DetectorGraph, PICTURE_SIDE),
    ):
        weights = {n: t.half().float() for n, t in load_file(run / "weights.safetensors").items()}
        network.load_state_dict(weights, strict=False)  # without the counters of batch norms
        fold_batch_norms(network.eval())
        example = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8)
        model = to_openvino(graph(network).eval(), (example,), [False])  # type: ignore[arg-type]
        openvino.save_model(model, out / f"{name}.xml", compress_to_fp16=True)
    shutil.copyfile(landmarks / "about.json", out / "about.json")
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("landmarks", type=Path)
    parser.add_argument("detector", type=Path)
    parser.add_argument("--out", type=Path, default=INSTALLED, help="default: the installed ones")
    args = parser.parse_args()
    print(convert(args.landmarks, args.detector, args.out))


if __name__ == "__main__":
    main()
