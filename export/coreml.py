"""Shipped weights -> Core ML programs for phones: `fvc export coreml`. Needs no Mac; nothing here has run on a phone.

    landmarks.mlpackage, motion.mlpackage   sender, per frame     image -> landmarks; learned keypoints and expression
    embed.mlpackage                         receiver, once        source images and their keypoints -> embedding
    draw.mlpackage                          receiver, per frame   embedding and driving sample -> image

float16, except for operations that lead to sampling coordinates, which stay float32: float16 has steps of 1/16 pixel at
the crop's edge. Every package is read back from disk, its specification is checked, and its program is run by
`fvc.export.mil` and compared with torch; a package beyond the bounds below is not kept.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fvc.codec.base.errors import FvcError, OptionError
from fvc.codec.face.source_choice import INITIAL_PICTURES
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import DrivingSample
from fvc.export.shipped import DRIVING, POINTS, Graph, run_module, shipped_graphs
from fvc.models.flow import Points
from fvc.models.inference.nearest import NearestRows
from fvc.models.inference.tensors import driving_inputs, source_inputs

logging.getLogger("coremltools").setLevel(logging.CRITICAL)  # it warns of every part that only a Mac has
with contextlib.redirect_stderr(io.StringIO()):
    import coremltools as ct
    from coremltools.converters.mil import Builder, register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs

    from fvc.export import mil

TARGETS = {"iOS15": "CoreML5", "iOS16": "CoreML6", "iOS17": "CoreML7", "iOS18": "CoreML8"}
MIN_PSNR = 40.0  # dB of each output in float16 against torch, relative to its largest value
MAX_SHIFT = 1 / 16  # pixels of the sampled level, of any sampling coordinate


# --- operations that coremltools has no rule for, or one that iOS 15 lacks ---


@register_torch_op(override=True)
def repeat_interleave(context: Any, node: Any) -> None:
    """For one batch item only, which is all that a phone draws."""
    x, count, axis = _get_inputs(context, node)[:3]
    if int(axis.val) != 0 or x.shape[0] != 1:
        raise FvcError(f"repeat_interleave of {x.shape} cannot be exported")
    context.add(Builder.tile(x=x, reps=[int(count.val)] + [1] * (x.rank - 1), name=node.name))


@register_torch_op(override=True)
def pixel_unshuffle(context: Any, node: Any) -> None:
    """As a convolution that picks pixels: iOS 15 has no such operation."""
    x, factor = _get_inputs(context, node, expected=2)
    side, channels = int(factor.val), int(x.shape[1])
    weight = np.eye(channels * side * side, dtype=np.float32).reshape(-1, channels, side, side)
    context.add(Builder.conv(x=x, weight=weight, strides=[side, side], pad_type="valid", name=node.name))


_BILINEAR = ct.converters.mil.frontend.torch.ops.upsample_bilinear2d


@register_torch_op(override=True)
def upsample_bilinear2d(context: Any, node: Any) -> None:
    """Halving as average pooling: `upsample` is not documented for scales below one."""
    inputs = _get_inputs(context, node)
    x, size = inputs[0], inputs[1]
    height = size.val[0] if size is not None and size.val is not None else None
    if height is not None and 2 * int(height) == x.shape[2]:
        context.add(Builder.avg_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid", name=node.name))
    elif height is not None and int(height) < x.shape[2]:
        raise FvcError(f"shrinking {x.shape} to {int(height)} rows cannot be exported")
    else:
        _BILINEAR(context, node)


# --- modules with images as Core ML has them: float [1, 3, 256, 256], scaled by the model's image type ---


class _Sender(nn.Module):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.network = graph.module.network if graph.name == "landmarks" else graph.module.motion

    def forward(self, crop: Tensor) -> Any:
        return self.network(crop)


class _Embed(nn.Module):
    """Leaves out what the generator only passes on: in Core ML no output may be an input."""

    def __init__(self, graph: Graph, count: int) -> None:
        super().__init__()
        self.network, self.count = graph.module.network, count

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        pictures, points = torch.cat(tensors[: self.count])[None], Points(*tensors[self.count :])
        found = self.network.embed(pictures, points)
        return tuple(tensor for tensor in found if not any(tensor is point for point in points))


class _Draw(nn.Module):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.draws: Any = graph.module

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.draws.picture(*tensors).clamp(0, 1) * 255


def _planes(pictures: Tensor) -> Tensor:
    """uint8 [N, 256, 256, 3] -> float [N, 3, 256, 256] in [0, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class PhoneGraph:
    """A network as a phone runs it: module, named inputs, which of the ports are images, names of the outputs."""

    graph: Graph
    module: nn.Module
    inputs: dict[str, Tensor]
    images: set[str]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, graph: Graph) -> PhoneGraph:
        if graph.name in ("landmarks", "motion"):
            return cls(graph, _Sender(graph).eval(), {"crop": _planes(graph.example[0])}, {"crop"}, graph.outputs)
        if graph.name == "draw":
            inputs = dict(zip(graph.inputs, graph.example, strict=True))
            return cls(graph, _Draw(graph).eval(), inputs, {"picture"}, graph.outputs)
        pictures, points = _planes(graph.example[0]), dict(zip(graph.inputs[1:], graph.example[1:], strict=True))
        images = {f"source{n}": picture[None] for n, picture in enumerate(pictures)}
        full = run_module(graph.module, graph.example)
        made = [name for name, t in zip(graph.outputs, full, strict=True) if all(t is not x for x in graph.example)]
        return cls(graph, _Embed(graph, len(images)).eval(), {**images, **points}, set(images), tuple(made))


# --- conversion ---


def _leads_to_coordinates(op: Any, known: dict[int, bool]) -> bool:
    """Whether an output of `op` reaches sampling coordinates without passing a convolution or a sampled picture."""
    if id(op) not in known:
        known[id(op)] = False
        for var in op.outputs:
            for user in var.child_ops:
                if user.op_type == "resample":
                    found = user.coordinates is var
                elif user.op_type == "conv":
                    found = False
                else:
                    found = _leads_to_coordinates(user, known)
                known[id(op)] = known[id(op)] or found
    return known[id(op)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def convert(phone: PhoneGraph, path: Path, target: str = "iOS15") -> None:
    """Writes one package."""
    known: dict[int, bool] = {}
    picture = ct.ImageType(name="picture", color_layout=ct.colorlayout.RGB)
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(phone.module, tuple(phone.inputs.values()), check_trace=False)
        model = ct.convert(
            traced,
            inputs=[
                ct.ImageType(name=name, shape=tuple(x.shape), scale=1 / 255, color_layout=ct.colorlayout.RGB)
                if name in phone.images
                else ct.TensorType(name=name, shape=tuple(x.shape))
                for name, x in phone.inputs.items()
            ],
            outputs=[picture if name == "picture" else ct.TensorType(name=name) for name in phone.outputs],
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=ct.transform.FP16ComputePrecision(lambda op: not _leads_to_coordinates(op, known)),
            convert_to="mlprogram",
            skip_model_load=True,
        )
    data = phone.graph.metadata
    model.short_description, model.author = data["description"], data["author"]
    model.license, model.version = data["license"], data["version"]
    model.user_defined_metadata["weights_sha256"] = data["weights_sha256"]
    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))


# --- checks ---


def check_specification(path: Path, phone: PhoneGraph, target: str) -> dict[str, Any]:
    """Reads a package back; returns opset, version and ports. Raises FvcError if they are not those asked for."""
    model = ct.models.MLModel(str(path), skip_model_load=True)
    spec = model.get_spec()
    (opset,) = spec.mlProgram.functions["main"].block_specializations
    kinds = {port.name: port.type.WhichOneof("Type") for port in (*spec.description.input, *spec.description.output)}
    wanted = {
        name: "imageType" if name in phone.images else "multiArrayType" for name in (*phone.inputs, *phone.outputs)
    }
    operations = mil.Program.read(path).operations
    samplings = [op for op in operations if op.op_type == "resample"]
    faults = [
        f"opset {opset}" * (opset != TARGETS[target]),
        f"ports {kinds}" * (kinds != wanted),
        "a custom operation" * any(op.op_type.startswith("custom") for op in operations),
        "a sampling that is not of rank 4" * any(op.x.rank != 4 or op.coordinates.rank != 4 for op in samplings),
        "no float16" * (not any(op.outputs[0].dtype == mil.types.fp16 for op in operations if op.op_type == "conv")),
        "coordinates in float16" * any(op.coordinates.dtype != mil.types.fp32 for op in samplings),
        "the weights' hash" * (spec.description.metadata.userDefined["weights_sha256"] != phone.graph.sha256),
    ]
    if any(faults):
        raise FvcError(f"{path.name}: wrong: {', '.join(filter(None, faults))}")
    return {"opset": opset, "specification_version": spec.specificationVersion, "ports": kinds}


def psnr(found: Tensor, wanted: Tensor) -> float:
    """dB, relative to the largest expected value; 99 for equal tensors."""
    error = float(((found - wanted) ** 2).mean())
    return 99.0 if error == 0 else min(10 * math.log10(float(wanted.abs().max()) ** 2 / error), 99.0)


def check_parity(path: Path, phone: PhoneGraph, inputs: dict[str, Tensor] | None = None) -> dict[str, Any]:
    """The package's program against torch: PSNR of each output in float16, largest shift of a coordinate in pixels.

    Raises:
        FvcError: below MIN_PSNR or above MAX_SHIFT.
    """
    inputs = inputs or phone.inputs
    program = mil.Program.read(path)
    given = {name: (x * 255).round() if name in phone.images else x for name, x in inputs.items()}
    scaled = {name: x / 255 if name in phone.images else x for name, x in given.items()}
    wanted = dict(zip(phone.outputs, run_module(phone.module, tuple(scaled.values())), strict=True))
    exact, half = (mil.run(program, given, half=h) for h in (False, True))
    report: dict[str, Any] = {"psnr": {}, "psnr_float32": {}, "shift": 0.0}
    for name, tensor in wanted.items():
        report["psnr"][name] = round(psnr(half.outputs[name], tensor), 1)
        report["psnr_float32"][name] = round(psnr(exact.outputs[name], tensor), 1)
    for a, b, op in zip(
        exact.coordinates, half.coordinates, [op for op in program.operations if op.op_type == "resample"], strict=True
    ):
        size = torch.tensor([float(op.x.shape[3]), float(op.x.shape[2])])
        report["shift"] = max(report["shift"], float(((a - b).abs() * size / 2).max()))
    if min(report["psnr"].values()) < MIN_PSNR or report["shift"] > MAX_SHIFT:
        raise FvcError(f"{path.name}: not what torch computes: {report}")
    return report


def expected(phone: PhoneGraph) -> dict[str, np.ndarray]:
    """Inputs and torch's outputs as PACKAGE/in/PORT and PACKAGE/out/PORT; images are uint8 [256, 256, 3]."""
    outputs = dict(zip(phone.outputs, run_module(phone.module, tuple(phone.inputs.values())), strict=True))

    def array(name: str, x: Tensor) -> np.ndarray:
        if name not in phone.images:
            return x.numpy().astype(np.float32)
        pixels = x * 255 if name in phone.inputs else x
        return pixels[0].permute(1, 2, 0).round().to(torch.uint8).numpy()

    made = {f"{phone.graph.name}/in/{name}": array(name, x) for name, x in phone.inputs.items()}
    return made | {f"{phone.graph.name}/out/{name}": array(name, x) for name, x in outputs.items()}


class MilDraw:
    """As `models.inference.drawing.DrawRuntime`, with the programs of embed and draw of a folder, run in float16.

    Args:
        pictures: N source pictures, uint8 [256, 256, 3] each.
        samples: of each source.
    """

    def __init__(self, folder: Path, pictures: Sequence[np.ndarray], samples: Sequence[DrivingSample]) -> None:
        self._draw = mil.Program.read(folder / "draw.mlpackage")
        stacked, *joined = map(torch.from_numpy, source_inputs(pictures, samples))
        given = dict(zip(POINTS, joined, strict=True))
        images = {f"source{n}": _planes(p[None]) * 255 for n, p in enumerate(stacked)}
        kept = mil.run(mil.Program.read(folder / "embed.mlpackage"), {**images, **given}, half=True).outputs
        self._names = [name for name in self._draw.inputs if name.startswith("embedding")]
        missing = [name for name in self._names if name not in kept]
        embedding = kept | dict(zip(missing, (given["position"], given["jacobian"]), strict=False))
        most = self._draw.inputs[self._names[0]].shape[0]
        self._rows = NearestRows(samples, [embedding[name].numpy() for name in self._names], most)

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """Returns the picture, uint8 [256, 256, 3]."""
        embedding = dict(zip(self._names, map(torch.from_numpy, self._rows(inputs)), strict=True))
        given = embedding | dict(zip(DRIVING, map(torch.from_numpy, driving_inputs(inputs)), strict=True))
        picture = mil.run(self._draw, given, half=True).outputs["picture"]
        return np.asarray(picture[0].permute(1, 2, 0).round().to(torch.uint8).numpy())


# --- the command ---


def phone_milliseconds(macs: int, traffic: int, operations: int) -> float:
    """An estimate, not a measurement, for the phone that `ASSUMPTIONS` names."""
    return 1000 * (max(macs / 50e9, 2 * traffic / 15e9) + operations * 10e-6)


ASSUMPTIONS = (
    "time is a guess for a phone of 2017 (A11, GPU): the larger of 50 GMAC/s (a quarter of its peak) and 15 GB/s of "
    "what operations read and write, and 10 us per operation; nothing was run on a phone"
)


def export_coreml(
    preset: str,
    folder: Path,
    target: str = "iOS15",
    sources: int = INITIAL_PICTURES,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Writes the packages, check.npz for `verify_on_mac.py`, and report.json, whose content it returns.

    Raises:
        FvcError: a check fails.
    """
    if target not in TARGETS:
        raise OptionError("target", target, f"choose from {', '.join(TARGETS)}")
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    report: dict[str, Any] = {"preset": preset, "target": target, "assumptions": ASSUMPTIONS, "packages": {}}
    for graph in shipped_graphs(preset, sources):
        path = folder / f"{graph.name}.mlpackage"
        phone = PhoneGraph.of(graph)
        convert(phone, path, target)
        try:
            checks = {**check_specification(path, phone, target), **check_parity(path, phone)}
        except FvcError:
            shutil.rmtree(path)
            raise
        arrays |= expected(phone)
        program = mil.Program.read(path)
        counts, macs = program.counts(), program.macs()
        size = sum(file.stat().st_size for file in path.rglob("weight.bin"))
        guess = phone_milliseconds(macs, program.traffic(), sum(counts.values()))
        report["packages"][graph.name] = {
            **checks,
            "operations": counts,
            "weights_bytes": size,
            "macs": macs,
            "guessed_ms": round(guess, 1),
        }
        note(
            f"{path.name}: {size / 1e6:.2f} MB of weights, {macs / 1e6:.0f} MMAC, {sum(counts.values())} operations, "
            f"guess {guess:.1f} ms; float16 {min(checks['psnr'].values())} dB, coordinates {checks['shift']:.4f} px"
        )
        note("  " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    np.savez_compressed(folder / "check.npz", **arrays)  # type: ignore[arg-type]
    note(ASSUMPTIONS)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report
