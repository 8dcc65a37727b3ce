"""Runs the MIL program of an .mlpackage without a Mac: each operation as Core ML documents it, in torch on the CPU.

The program is read back from the package with its weights. With `half`, values that are float16 in the program are
rounded to float16 after each operation; sums inside an operation are float32. So this shows what the package specifies,
not what a particular phone's compute units make of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from coremltools.converters.mil.frontend.milproto.load import load
from coremltools.converters.mil.mil import types
from coremltools.models import MLModel
from torch import Tensor

from fvc.codec.base.errors import FvcError


@dataclass
class Program:
    """The main function of a package."""

    operations: list[Any]
    inputs: dict[str, Any]
    outputs: list[Any]

    @classmethod
    def read(cls, package: Path) -> Program:
        """From an .mlpackage; nothing is compiled."""
        model = MLModel(str(package), skip_model_load=True)
        spec = model.get_spec()
        program = load(spec, specification_version=spec.specificationVersion, file_weights_dir=model.weights_dir)
        main = program.functions["main"]
        return cls(list(main.operations), dict(main.inputs), list(main.outputs))

    def counts(self) -> dict[str, int]:
        """How often each operation occurs, constants left out."""
        found = Counter(op.op_type for op in self.operations if op.op_type != "const")
        return dict(found.most_common())

    def macs(self) -> int:
        """Multiplications of convolutions and matrix products."""
        return sum(_macs(op) for op in self.operations)

    def traffic(self) -> int:
        """Bytes that all operations write."""
        outputs = [var for op in self.operations if op.op_type != "const" for var in op.outputs]
        return sum(_numel(var) * (2 if var.dtype == types.fp16 else 4) for var in outputs)


@dataclass
class Result:
    """Outputs by name, and the coordinates of every resample in order."""

    outputs: dict[str, Tensor] = field(default_factory=dict)
    coordinates: list[Tensor] = field(default_factory=list)


def run(program: Program, inputs: Mapping[str, Tensor], half: bool) -> Result:
    """Runs a program in torch. Raises FvcError for an operation that has no rule here."""
    values: dict[str, Any] = {}
    result = Result()

    def get(var: Any) -> Any:
        if isinstance(var, list | tuple):
            return [get(each) for each in var]
        if var is None:
            return None
        if var.name in values:
            return values[var.name]
        return _constant(var)

    for name in program.inputs:
        values[name] = inputs[name].float()
    for op in program.operations:
        if op.op_type == "const":
            continue
        if op.op_type not in _RULES:
            raise FvcError(f"operation {op.op_type} ({op.name}) has no rule in fvc.export.mil")
        if op.op_type == "resample":
            result.coordinates.append(get(op.coordinates))
        found = _RULES[op.op_type](op, get)
        for var, value in zip(op.outputs, found if isinstance(found, list) else [found], strict=True):
            assert tuple(value.shape) == tuple(var.shape), (op.op_type, value.shape, var.shape)
            values[var.name] = value.half().float() if half and var.dtype == types.fp16 else value
    result.outputs = {var.name: values[var.name] for var in program.outputs}
    return result


def resample(x: Tensor, coordinates: Tensor) -> Tensor:
    """MIL's resample, bilinear, border, normalized_minus_one_to_one, align_corners False: -1 and 1 are outer edges."""
    height, width = x.shape[2:]
    places = []
    for axis, size in ((0, width), (1, height)):
        at = (((coordinates[..., axis] + 1) * size - 1) / 2).clamp(0, size - 1)
        low = at.floor().clamp(max=max(size - 2, 0))
        places.append((low.long(), (low + (size > 1)).long(), (at - low)[:, None]))
    (left, right, dx), (top, bottom, dy) = places

    def pick(row: Tensor, column: Tensor) -> Tensor:
        flat = (row * width + column).flatten(1)[:, None].expand(-1, x.shape[1], -1)
        return x.flatten(2).gather(2, flat).unflatten(2, row.shape[1:])

    above = pick(top, left) * (1 - dx) + pick(top, right) * dx
    below = pick(bottom, left) * (1 - dx) + pick(bottom, right) * dx
    return above * (1 - dy) + below * dy


def _constant(var: Any) -> Any:
    value = var.val
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    tensor = torch.as_tensor(value)
    return tensor.float() if tensor.is_floating_point() else tensor


def _numel(var: Any) -> int:
    count = 1
    for size in var.shape:
        count *= int(size)
    return count


def _macs(op: Any) -> int:
    if op.op_type == "conv":
        return _numel(op.outputs[0]) * _numel(op.weight) // int(op.weight.shape[0])
    if op.op_type == "linear":
        return _numel(op.outputs[0]) * int(op.weight.shape[1])
    if op.op_type == "matmul":
        return _numel(op.outputs[0]) * int(op.x.shape[-2 if _flag(op.transpose_x) else -1])
    return 0


def _flag(var: Any) -> bool:
    return bool(var is not None and var.val)


def _ints(var: Any) -> list[int]:
    return [int(n) for n in var.val]


def _pads(op: Any) -> list[int]:
    """[left, right, top, bottom] for F.pad."""
    kind = op.pad_type.val if op.pad_type is not None else "valid"
    if kind == "valid":
        return [0, 0, 0, 0]
    if kind != "custom":
        raise FvcError(f"{op.op_type} with pad_type {kind} has no rule in fvc.export.mil")
    top, bottom, left, right = _ints(op.pad)
    return [left, right, top, bottom]


def _conv(op: Any, get: Callable[[Any], Any]) -> Tensor:
    strides = _ints(op.strides) if op.strides is not None else [1, 1]
    groups = int(op.groups.val) if op.groups is not None else 1
    assert op.dilations is None or _ints(op.dilations) == [1, 1]
    return F.conv2d(F.pad(get(op.x), _pads(op)), get(op.weight), get(op.bias), strides, 0, 1, groups)


def _avg_pool(op: Any, get: Callable[[Any], Any]) -> Tensor:
    assert _pads(op) == [0, 0, 0, 0]
    return F.avg_pool2d(get(op.x), _ints(op.kernel_sizes), _ints(op.strides))


def _slice(op: Any, get: Callable[[Any], Any]) -> Tensor:
    x = get(op.x)
    begin, end = _ints(op.begin), _ints(op.end)
    none = [False] * x.dim()
    masks = [list(var.val) if var is not None else none for var in (op.begin_mask, op.end_mask, op.squeeze_mask)]
    stride = _ints(op.stride) if op.stride is not None else [1] * x.dim()
    key: list[Any] = []
    for n in range(x.dim()):
        if masks[2][n]:
            key.append(begin[n])
        else:
            key.append(slice(None if masks[0][n] else begin[n], None if masks[1][n] else end[n], stride[n]))
    return x[tuple(key)]


def _upsample(op: Any, get: Callable[[Any], Any]) -> Tensor:
    assert op.align_corners.val is False or not op.align_corners.val
    return F.interpolate(get(op.x), size=tuple(op.outputs[0].shape[2:]), mode="bilinear", align_corners=False)


def _resample(op: Any, get: Callable[[Any], Any]) -> Tensor:
    modes = op.sampling_mode.val, op.padding_mode.val, op.coordinates_mode.val, bool(op.align_corners.val)
    if modes != ("bilinear", "border", "normalized_minus_one_to_one", False):
        raise FvcError(f"resample with {modes} has no rule in fvc.export.mil")
    return resample(get(op.x), get(op.coordinates))


def _batch_norm(op: Any, get: Callable[[Any], Any]) -> Tensor:
    epsilon = float(op.epsilon.val)
    return F.batch_norm(get(op.x), get(op.mean), get(op.variance), get(op.gamma), get(op.beta), False, 0.0, epsilon)


def _reduce(how: Callable[..., Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda op, get: how(get(op.x), _ints(op.axes), _flag(op.keep_dims))


def _binary(how: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda op, get: how(torch.as_tensor(get(op.x)), torch.as_tensor(get(op.y)))


def _unary(how: Callable[[Tensor], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda op, get: how(get(op.x))


def _matmul(op: Any, get: Callable[[Any], Any]) -> Tensor:
    x, y = get(op.x), get(op.y)
    return (x.mT if _flag(op.transpose_x) else x) @ (y.mT if _flag(op.transpose_y) else y)


def _cast(op: Any, get: Callable[[Any], Any]) -> Tensor:
    kind = op.dtype.val
    x = get(op.x)
    return x.bool() if kind == "bool" else x.long() if kind.startswith(("int", "uint")) else x.float()


def _squeeze(op: Any, get: Callable[[Any], Any]) -> Tensor:
    return torch.as_tensor(get(op.x)).reshape(tuple(op.outputs[0].shape))


_RULES: dict[str, Callable[[Any, Any], Any]] = {
    "conv": _conv,
    "avg_pool": _avg_pool,
    "slice_by_index": _slice,
    "upsample_bilinear": _upsample,
    "upsample_nearest_neighbor": lambda op, get: F.interpolate(
        get(op.x), size=tuple(op.outputs[0].shape[2:]), mode="nearest"
    ),
    "resample": _resample,
    "batch_norm": _batch_norm,
    "linear": lambda op, get: F.linear(get(op.x), get(op.weight), get(op.bias)),
    "matmul": _matmul,
    "clip": lambda op, get: get(op.x).clamp(float(op.alpha.val), float(op.beta.val)),
    "softmax": lambda op, get: get(op.x).softmax(int(op.axis.val)),
    "concat": lambda op, get: torch.cat(get(op.values), int(op.axis.val)),
    "stack": lambda op, get: torch.stack(get(op.values), int(op.axis.val)),
    "tile": lambda op, get: get(op.x).repeat(_ints(op.reps)),
    "transpose": lambda op, get: get(op.x).permute(_ints(op.perm)),
    "reshape": _squeeze,
    "expand_dims": _squeeze,
    "squeeze": _squeeze,
    "identity": _unary(lambda x: x),
    "cast": _cast,
    "pixel_shuffle": lambda op, get: F.pixel_shuffle(get(op.x), int(op.upscale_factor.val)),
    "pixel_unshuffle": lambda op, get: F.pixel_unshuffle(get(op.x), int(op.downscale_factor.val)),
    "add": _binary(torch.add),
    "sub": _binary(torch.sub),
    "mul": _binary(torch.mul),
    "real_div": _binary(torch.div),
    "pow": _binary(torch.pow),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "equal": _binary(torch.eq),
    "sigmoid": _unary(torch.sigmoid),
    "relu": _unary(torch.relu),
    "exp": _unary(torch.exp),
    "log": lambda op, get: torch.log(get(op.x) + float(op.epsilon.val)),
    "sign": _unary(torch.sign),
    "abs": _unary(torch.abs),
    "square": _unary(torch.square),
    "sqrt": _unary(torch.sqrt),
    "inverse": lambda op, get: 1 / (get(op.x) + float(op.epsilon.val)),
    "reduce_sum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "reduce_mean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "reduce_max": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
}
