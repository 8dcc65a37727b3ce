"""The networks that metrics ask: a folder of folders, each with its own loader (`NAME/load_NAME.py`) and weights.

None of them is part of the package (DESIGN section 7). A network whose folder is absent is missing, with a reason;
one that cannot be loaded raises FvcError. They load on first use, in plain torch on the CPU.

Each *instrument* turns pictures into small numbers ("columns"), which `metrics` compares. Input and reference are
looked at through the same window: the one that the reference's landmarks give.
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
from typing import Any

import cv2
import numpy as np

from fvc.codec.errors import FvcError, InputError
from fvc.codec.face.tracker import SUP

LPIPS_NETS = ("squeeze", "alex", "vgg")  # the first is expected to be there, the others are taken where they are
_EYES = (33, 133, 159, 145), (263, 362, 386, 374)  # corners and lids
_NOSE, _MOUTH = 4, (61, 291)
N_AU = 17


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
        """From landmarks [478, 3]."""
        flat = landmarks[:, :2]
        points = [*(flat[list(eye)].mean(0) for eye in _EYES), flat[_NOSE], *flat[list(_MOUTH)]]
        across = flat[263] - flat[33]
        angle = float(np.arctan2(across[1], across[0]))
        level = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        low, high = (flat @ level.T).min(0), (flat @ level.T).max(0)
        centre = (low + high) / 2 @ level
        roi = (*centre, 1.5 * float((high - low).max()), angle)
        return cls(np.array(points, np.float32), np.array(roi, np.float32))


@dataclass(frozen=True)
class Look:
    """One picture as an instrument gets it.

    Attributes:
        picture: uint8 [256, 256, 3]; window: the reference's; landmarks: the picture's own [478, 3], None: no face.
    """

    picture: np.ndarray
    window: Window
    landmarks: np.ndarray | None


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 [2, 3]: the similarity that takes `points` [N, 2] nearest to `targets` [N, 2] (least squares)."""
    a, b = points - points.mean(0), targets - targets.mean(0)
    norm = float((a * a).sum())
    cos, sin = float((a * b).sum()) / norm, float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / norm
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, targets.mean(0) - turn @ points.mean(0)])


class Networks:
    """What a folder of networks offers.

    Args:
        folder: holds `lpips_squeeze`, `mobilefacenet_y1` ...; None: no networks.
        instruments: whether others than LPIPS are wanted.

    Attributes:
        missing: metric -> why it cannot be had.

    Raises:
        InputError: `folder` is no folder.
    """

    def __init__(self, folder: Path | None, instruments: bool = True) -> None:
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: no such folder of networks")
        self._folder = folder
        self.missing: dict[str, str] = {}
        self.lpips = {net: self._lpips(net) for net in LPIPS_NETS if self._has(f"lpips_{net}")}
        if "squeeze" not in self.lpips:
            self.missing["lpips"] = self._why("lpips_squeeze")
        self.instruments: list[Any] = []
        for kind in (Identity, CasiaIdentity, Landmarker, ActionUnits):
            if instruments and self._has(kind.network):
                self.instruments.append(kind(self._folder / kind.network))  # type: ignore[operator]
            else:
                why = self._why(kind.network) if instruments else "not asked for"
                self.missing.update(dict.fromkeys(kind.metrics, why))

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

    def _has(self, name: str) -> bool:
        return self._folder is not None and _has_torch() and (self._folder / name / f"load_{name}.py").is_file()

    def _why(self, name: str) -> str:
        if self._folder is None:
            return "no folder of networks was given (--metric-weights)"
        if not _has_torch():
            return "torch is not installed; pip install 'fvc[measure]'"
        return f"no {name}/load_{name}.py in {self._folder}"

    def _lpips(self, net: str) -> Lpips:
        assert self._folder is not None
        return Lpips(self._folder / f"lpips_{net}")


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


class _Loaded:
    """A network's folder, imported when it is first asked."""

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
        """Distances [N] of uint8 pictures."""
        import torch

        with torch.no_grad():
            distance = self.net(_tensor(references) / 255, _tensor(outputs) / 255, normalize=True)
        return distance.reshape(-1).numpy()


class Identity(_Loaded):
    """MobileFaceNet y1 (ArcFace, MS1M): columns `identity` [128] of length 1, from a crop aligned to its template."""

    network, metrics, columns = "mobilefacenet_y1", ("csim",), {"identity": (128,)}
    _template, _size, _embed = "ARC5", (112, 112), "__call__"  # width, height

    def __call__(self, looks: Sequence[Look]) -> dict[str, np.ndarray]:
        import torch

        template = np.array(getattr(self.module, self._template))
        crops = [self._crop(look, template) for look in looks]
        with torch.no_grad():
            embedding = getattr(self.net, self._embed)(_tensor(crops)).numpy()
        return {next(iter(self.columns)): embedding / np.linalg.norm(embedding, axis=1, keepdims=True)}

    def _crop(self, look: Look, template: np.ndarray) -> np.ndarray:
        """The template is fitted to the face, not the other way round: so does the loader's own `align`."""
        to_picture = similarity(template, look.window.five)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(look.picture, to_picture, self._size, flags=how, borderMode=cv2.BORDER_REPLICATE)


class CasiaIdentity(Identity):
    """MobileFaceNet (ArcFace head, CASIA-WebFace), embeddings of the crop and its mirror image side by side."""

    network, metrics, columns = "mobilefacenet_casia", ("csim_casia",), {"identity_casia": (256,)}
    _template, _size, _embed = "SPHERE5", (96, 112), "embed_flip"


class Landmarker(_Loaded):
    """MediaPipe's face landmarker in torch, no smoothing over time: the sup landmarks and 52 blendshapes."""

    network, metrics = "face_landmarker", ("nme_landmarker", "expr")
    columns = {"landmarker": (33, 2), "blendshapes": (52,)}  # noqa: RUF012

    def __call__(self, looks: Sequence[Look]) -> dict[str, np.ndarray]:
        import torch

        windows = torch.from_numpy(np.stack([look.window.roi for look in looks]))
        with torch.no_grad():
            landmarks, _ = self.net.landmarks(_tensor([look.picture for look in looks]) / 255, windows)
            blendshapes = self.net.blendshapes(landmarks)
        return {"landmarker": landmarks[:, list(SUP), :2].numpy(), "blendshapes": blendshapes.numpy()}


class ActionUnits(_Loaded):
    """OpenFace's intensities of 17 action units, before clamping to 0..5.

    Like OpenFace it aligns each picture by that picture's own landmarks, so a picture without a face has none. Its
    person-calibrated regressors subtract what they say of the clip's median features: the column `action_units` does
    not subtract yet, `calibration` gives how much.
    """

    network, metrics, columns = "openface_au", ("expr_au",), {"action_units": (N_AU,)}

    def __call__(self, looks: Sequence[Look]) -> dict[str, np.ndarray]:
        features = self._features(looks)
        return {"action_units": self._raw(features, 0.0), "features": features}

    def _features(self, looks: Sequence[Look]) -> np.ndarray:
        import torch

        out = np.full((len(looks), self._zero.shape[-1]), np.nan, np.float32)
        seen = [n for n, look in enumerate(looks) if look.landmarks is not None]
        if seen:
            points = torch.from_numpy(np.stack([looks[n].landmarks for n in seen]))  # type: ignore[misc]
            pictures = _tensor([looks[n].picture for n in seen])
            with torch.no_grad():
                out[seen] = self.net.features(pictures, self.module.mediapipe_to_68(points))[0].numpy()
        return out

    def calibration(self, median: np.ndarray) -> np.ndarray:
        """[17], from the median [4702] of the reference's features."""
        return (self._raw(median[None], 0.0) - self._raw(median[None], median))[0]

    @cached_property
    def _zero(self) -> np.ndarray:
        return np.zeros_like(self.net.means_0.numpy().reshape(-1))

    def _raw(self, features: np.ndarray, median: np.ndarray | float) -> np.ndarray:
        import torch

        middle = torch.from_numpy(self._zero + np.float32(median))
        units = self.net(torch.from_numpy(features), median=middle, clip=False)
        return np.stack([units[name].numpy() for name in sorted(units)], 1)
