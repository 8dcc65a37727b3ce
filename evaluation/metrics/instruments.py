"""The networks that some metrics need: a folder of folders, each with a loader (`NAME/load_NAME.py`) and weights.

None of them is part of the package. A network whose folder is absent is missing, with a reason; one that cannot be
loaded raises FvcError. They load on first use, in plain torch on the CPU.

An *instrument* is a network that turns each picture into a few numbers ("columns"), which `face_metrics` compares. The
input and the drawn pictures are looked at through the same window: the one around the input's landmarks.
"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import cv2
import numpy as np

from fvc.codec.base.errors import FvcError, InputError
from fvc.codec.face.landmarks import SUP, Mesh
from fvc.codec.face.patching import similarity
from fvc.evaluation.metrics.catalog import CATALOG

_EYES = (  # of the face mesh: the corners and lids whose mean is the centre of each eye, image left first
    [Mesh.LEFT_EYE_OUTER, Mesh.LEFT_EYE_INNER, Mesh.LEFT_LID_UPPER, Mesh.LEFT_LID_LOWER],
    [Mesh.RIGHT_EYE_OUTER, Mesh.RIGHT_EYE_INNER, Mesh.RIGHT_LID_UPPER, Mesh.RIGHT_LID_LOWER],
)
_NOSE_TIP = 4  # of the face mesh; recognition templates want a point above the `NOSE_TIP` of `landmarks`
_MOUTH = [Mesh.LEFT_OUTER_LIP_CORNER, Mesh.RIGHT_OUTER_LIP_CORNER]
_ROI_SCALE = 1.5  # side of MediaPipe's square over the larger side of the landmarks' bounding box
_MOUTH_SHARE = 0.3  # side of the square around the lips over that of MediaPipe's square
MOUTH_SIDE = 64  # pixels: to which that square is enlarged
_LPIPS = "lpips_"  # how the folders of LPIPS networks begin
N_ACTION_UNITS = 17


@dataclass(frozen=True)
class Window:
    """Where a face is, from its tracked landmarks (pixels): what every network is shown of both pictures.

    Attributes:
        five: float32 [5, 2], centres of the eyes, tip of the nose, corners of the mouth; image left first.
        roi: float32 [4], centre x and y, side and angle of the square that MediaPipe cuts around landmarks.
    """

    five: np.ndarray
    roi: np.ndarray

    @classmethod
    def around(cls, landmarks: np.ndarray) -> Window:
        """From landmarks of the face mesh [478, 3]."""
        flat = landmarks[:, :2]
        points = [*(flat[eye].mean(0) for eye in _EYES), flat[_NOSE_TIP], *flat[_MOUTH]]
        across = flat[Mesh.RIGHT_EYE_OUTER] - flat[Mesh.LEFT_EYE_OUTER]
        angle = float(np.arctan2(across[1], across[0]))
        level = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        low, high = (flat @ level.T).min(0), (flat @ level.T).max(0)
        centre = (low + high) / 2 @ level
        roi = (*centre, _ROI_SCALE * float((high - low).max()), angle)
        return cls(np.array(points, np.float32), np.array(roi, np.float32))

    def mouth(self, picture: np.ndarray) -> np.ndarray:
        """The upright square around the lips of a picture (uint8 [H, W, 3]), uint8 [64, 64, 3]; edges repeat."""
        side = _MOUTH_SHARE * float(self.roi[2])
        scale, corner = side / MOUTH_SIDE, self.five[3:].mean(0) - side / 2
        to_picture = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (MOUTH_SIDE, MOUTH_SIDE)
        return cv2.warpAffine(picture, to_picture, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class FaceView:
    """One picture as instruments get it.

    Attributes:
        picture: uint8 [256, 256, 3].
        window: around the face of the input's picture.
        landmarks: this picture's own [478, 3]; None where the tracker finds no face.
    """

    picture: np.ndarray
    window: Window
    landmarks: np.ndarray | None


class Networks:
    """The networks that a folder holds.

    Args:
        folder: holds `lpips_squeeze`, `mobilefacenet_y1` ...; None: no networks.
        instruments: whether others than LPIPS are wanted.

    Attributes:
        lpips: metric of whole pictures -> its network.
        instruments: all others that are there.

    Raises:
        InputError: `folder` is no folder.
    """

    def __init__(self, folder: Path | None, instruments: bool = True) -> None:
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: no such folder of networks")
        self._folder = folder
        self._wants_instruments = instruments
        wanted = {name: metric.network for name, metric in CATALOG.items() if name.startswith("lpips")}
        self.lpips = {name: Lpips(path) for name, network in wanted.items() if (path := self._path(network))}
        kinds = (Identity, CasiaIdentity, Landmarker, ActionUnits)
        self.instruments = [kind(path) for kind in kinds if (path := self._path(kind.network))]

    def load(self) -> None:
        """Loads all networks now. Raises FvcError where one is damaged."""
        for network in (*self.lpips.values(), *self.instruments):
            _ = network.net

    @property
    def digest(self) -> str:
        """SHA-256 of the instruments' code and weights, for results that depend on them."""
        digest = hashlib.sha256()
        for instrument in self.instruments:
            for path in sorted(p for p in instrument.folder.iterdir() if p.suffix in (".py", ".safetensors", ".json")):
                digest.update(path.read_bytes())
        return digest.hexdigest()

    def why_missing(self, network: str) -> str | None:
        """Why the network cannot be asked; None: it can."""
        if self._folder is None:
            return "no folder of networks was given (`metric_weights`)"
        if not _has_torch():
            return "torch is not installed; pip install 'fvc[measure]'"
        if not (self._folder / network / f"load_{network}.py").is_file():
            return f"no {network}/load_{network}.py in {self._folder}"
        if not self._wants_instruments and not network.startswith(_LPIPS):
            return "not asked for"
        return None

    def _path(self, network: str) -> Path | None:
        """The network's folder, if it can be asked."""
        return None if self._folder is None or self.why_missing(network) else self._folder / network


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


class _Loaded:
    """A network in a folder, imported when it is first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def module(self) -> ModuleType:
        """`load_NAME.py`."""
        path = self.folder / f"load_{self.folder.name}.py"
        return self._unless_damaged(lambda: _import(path))

    @cached_property
    def net(self) -> Any:
        """The frozen network."""
        return self._unless_damaged(lambda: self.module.load())

    def _unless_damaged(self, work: Callable[[], Any]) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # loaders leave it to Python to close their files
                return work()
        except Exception as error:  # foreign code and foreign weights: whatever it is, they cannot be used
            fault = str(error).strip().split("\n")[0][:120]
            raise FvcError(f"{self.folder}: cannot be loaded ({type(error).__name__}: {fault})") from error


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tensor(pictures: Sequence[np.ndarray]) -> Any:
    """uint8 pictures [H, W, 3] -> float32 [N, 3, H, W] in 0..255."""
    import torch

    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()


class Lpips(_Loaded):
    """LPIPS v0.1; the folder's name tells the net."""

    def __call__(self, references: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> np.ndarray:
        """Distances [N] of uint8 pictures [256, 256, 3]."""
        import torch

        with torch.no_grad():
            distance = self.net(_tensor(references) / 255, _tensor(outputs) / 255, normalize=True)
        return distance.reshape(-1).numpy()


class Identity(_Loaded):
    """MobileFaceNet y1 (ArcFace, MS1M): columns `identity` [128] of length 1, from a crop aligned to its template."""

    network = "mobilefacenet_y1"
    columns: ClassVar[dict[str, tuple[int, ...]]] = {"identity": (128,)}
    _template = "ARC5"  # the loader's positions of the five points
    _size = 112, 112  # of its crop: width and height in pixels
    _embed = "__call__"  # the network's method that gives embeddings

    def __call__(self, views: Sequence[FaceView]) -> dict[str, np.ndarray]:
        import torch

        template = np.array(getattr(self.module, self._template))
        crops = [self._crop(view, template) for view in views]
        with torch.no_grad():
            embedding = getattr(self.net, self._embed)(_tensor(crops)).numpy()
        return {next(iter(self.columns)): embedding / np.linalg.norm(embedding, axis=1, keepdims=True)}

    def _crop(self, view: FaceView, template: np.ndarray) -> np.ndarray:
        """The template is fitted to the face, not the other way round, as in the loader's own `align`."""
        to_picture = similarity(template, view.window.five)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(view.picture, to_picture, self._size, flags=how, borderMode=cv2.BORDER_REPLICATE)


class CasiaIdentity(Identity):
    """MobileFaceNet (ArcFace head, CASIA-WebFace), embeddings of the crop and its mirror image side by side."""

    network = "mobilefacenet_casia"
    columns: ClassVar[dict[str, tuple[int, ...]]] = {"identity_casia": (256,)}
    _template = "SPHERE5"
    _size = 96, 112
    _embed = "embed_flip"


class Landmarker(_Loaded):
    """MediaPipe's face landmarker in torch, no smoothing over time: the sup landmarks and 52 blendshapes."""

    network = "face_landmarker"
    columns: ClassVar[dict[str, tuple[int, ...]]] = {"landmarker": (33, 2), "blendshapes": (52,)}

    def __call__(self, views: Sequence[FaceView]) -> dict[str, np.ndarray]:
        import torch

        windows = torch.from_numpy(np.stack([view.window.roi for view in views]))
        with torch.no_grad():
            landmarks, _ = self.net.landmarks(_tensor([view.picture for view in views]) / 255, windows)
            blendshapes = self.net.blendshapes(landmarks)
        return {"landmarker": landmarks[:, list(SUP), :2].numpy(), "blendshapes": blendshapes.numpy()}


class ActionUnits(_Loaded):
    """OpenFace's intensities of 17 action units, before clamping to 0..5.

    Like OpenFace it aligns each picture by that picture's own landmarks, so a picture without a face has none. OpenFace
    calibrates to the person: it subtracts the intensities of the clip's median features. The column `action_units` is
    not calibrated yet; `calibration` gives what to subtract.
    """

    network = "openface_au"
    columns: ClassVar[dict[str, tuple[int, ...]]] = {"action_units": (N_ACTION_UNITS,)}

    def __call__(self, views: Sequence[FaceView]) -> dict[str, np.ndarray]:
        """`action_units` [N, 17], and `features` [N, 4702], which `calibration` is computed from."""
        features = self._features(views)
        return {"action_units": self._intensities(features, 0.0), "features": features}

    def _features(self, views: Sequence[FaceView]) -> np.ndarray:
        import torch

        out = np.full((len(views), self._zero.shape[-1]), np.nan, np.float32)
        rows = [n for n, view in enumerate(views) if view.landmarks is not None]
        if rows:
            points = torch.from_numpy(np.stack([views[n].landmarks for n in rows]))  # type: ignore[misc]
            pictures = _tensor([views[n].picture for n in rows])
            with torch.no_grad():
                out[rows] = self.net.features(pictures, self.module.mediapipe_to_68(points))[0].numpy()
        return out

    def calibration(self, median: np.ndarray) -> np.ndarray:
        """[17], from the median [4702] of the reference's features."""
        return (self._intensities(median[None], 0.0) - self._intensities(median[None], median))[0]

    @cached_property
    def _zero(self) -> np.ndarray:
        return np.zeros_like(self.net.means_0.numpy().reshape(-1))

    def _intensities(self, features: np.ndarray, median: np.ndarray | float) -> np.ndarray:
        import torch

        middle = torch.from_numpy(self._zero + np.float32(median))
        units = self.net(torch.from_numpy(features), median=middle, clip=False)
        return np.stack([units[name].numpy() for name in sorted(units)], 1)
