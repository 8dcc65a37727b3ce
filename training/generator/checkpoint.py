"""Files of a run: the log, the checkpoint, the averaged weights, and a checkpoint in pieces for another machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

PIECE_BYTES = 15 << 20  # of one file of a portable checkpoint


def append_log(folder: Path, line: dict[str, Any]) -> None:
    """Adds a line to the run's `log.jsonl`."""
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def save_checkpoint(state: dict[str, Any], folder: Path) -> None:
    """Writes `last.pt` in one move."""
    torch.save(state, folder / "last.pt.part")
    (folder / "last.pt.part").replace(folder / "last.pt")


def save_weights(network: nn.Module, folder: Path) -> None:
    """Writes `weights.safetensors` in one move."""
    tensors = {name: t.contiguous() for name, t in network.state_dict().items() if "num_batches" not in name}
    save_file(tensors, folder / "weights.safetensors.part")
    (folder / "weights.safetensors.part").replace(folder / "weights.safetensors")


def load_checkpoint(folder: Path, device: str) -> dict[str, Any] | None:
    """The state in `last.pt`, else in a portable checkpoint's pieces, or None where there is neither.

    Raises:
        ValueError: pieces are missing.
    """
    if (folder / "last.pt").exists():
        return torch.load(folder / "last.pt", map_location=device, weights_only=True)
    pieces = sorted(folder.glob("portable-*of*.pt"))
    if not pieces:
        return None
    count = int(pieces[0].stem.split("of")[1])
    if [p.name for p in pieces] != [_name(n, count) for n in range(count)]:
        raise ValueError(f"{folder}: {len(pieces)} of {count} pieces of the portable checkpoint")
    joined = folder / "portable.part"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    state = torch.load(joined, map_location=device, weights_only=True)
    joined.unlink()
    return {name: _widened(value) for name, value in state.items()}


def _name(piece: int, count: int) -> str:
    return f"portable-{piece + 1}of{count}.pt"


def _narrowed(value: Any, kind: torch.dtype) -> Any:
    """A copy of nested dicts and lists whose large float32 tensors are of `kind`."""
    if isinstance(value, Tensor):
        return value.to(kind) if value.dtype == torch.float32 and value.numel() > 1 else value.clone()
    if isinstance(value, dict):
        return {name: _narrowed(item, kind) for name, item in value.items()}
    return [_narrowed(item, kind) for item in value] if isinstance(value, list) else value


def _widened(value: Any) -> Any:
    """The inverse, up to rounding."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, dict):
        return {name: _widened(item) for name, item in value.items()}
    return [_widened(item) for item in value] if isinstance(value, list) else value


def write_portable(folder: Path) -> list[Path]:
    """`last.pt` -> pieces of at most 15 MiB, from which a run resumes elsewhere with nearly the same result.

    The network stays float32; averages are float16, moments of the optimizers bfloat16 (squares of small
    gradients underflow in float16).
    """
    state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    kinds = {"average": torch.float16, "optimizer": torch.bfloat16, "discriminator_optimizer": torch.bfloat16}
    state = {name: _narrowed(value, kinds.get(name, torch.float32)) for name, value in state.items()}
    whole = folder / "portable.part"
    torch.save(state, whole)
    data = whole.read_bytes()
    whole.unlink()
    for old in folder.glob("portable-*of*.pt"):
        old.unlink()
    count = -(-len(data) // PIECE_BYTES)
    paths = [folder / _name(n, count) for n in range(count)]
    for n, path in enumerate(paths):
        path.write_bytes(data[n * PIECE_BYTES : (n + 1) * PIECE_BYTES])
    return paths
