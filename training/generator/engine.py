"""One process or many: the device, and the agreements between processes of `torchrun`, with torch only.

torchrun --nproc-per-node 8 -m fvc.training.generator.run composed ...       (several machines: torch.distributed)
"""

from __future__ import annotations

import os
import time
from types import TracebackType

import torch
import torch.distributed as dist
from torch import nn

from fvc.codec.base.errors import OptionError

AGREEMENT_STEPS = 10  # steps between agreements: each makes the processes wait for each other and for the device


def computes_in_half(kind: str) -> bool:
    """Whether bfloat16 is fast on "cpu" or "cuda": a CPU without AVX-512 BF16 or AMX emulates it, ten times slower."""
    if kind == "cpu":
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.cuda.is_bf16_supported(including_emulation=False)


class Engine:
    """This process among `size` processes.

    Attributes:
        device: "cpu", "cuda" or "cuda:1".
        rank: 0 is the one that writes files.
        agreed_seconds: the training time that all processes use.
    """

    def __init__(self, device: str, rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = device, rank, size
        self.kind = torch.device(device).type
        self.is_gpu = self.kind != "cpu"
        self.agreed_seconds = 0.0
        self._stop = False

    @classmethod
    def start(cls, device: str | None = None) -> Engine:
        """The engine that torchrun's environment variables describe; one process without them.

        Raises:
            OptionError: `device` is "cuda" and torch finds no GPU.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise OptionError("device", device, "torch finds no CUDA GPU on this machine; train on the cpu")
        kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
            return cls(kind)
        if kind == "cuda":
            kind = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(kind)
        dist.init_process_group("nccl" if kind.startswith("cuda") else "gloo")
        return cls(kind, dist.get_rank(), dist.get_world_size())

    def work_seconds(self) -> float:
        """A clock of training time: seconds of a GPU's machine, or of CPU time over the threads that compute.

        So a run on a CPU that others use too, or that is paused, gets as much work as one that is alone.
        """
        return time.monotonic() if self.is_gpu else time.process_time() / torch.get_num_threads()

    def __enter__(self) -> Engine:
        if self.is_gpu:
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self.size > 1:
            if kind is None:
                dist.barrier()  # the first process may still be validating
            dist.destroy_process_group()

    def synchronize_norms(self, network: nn.Module) -> nn.Module:
        """Batch norm over the whole batch, where torch can (on GPUs); elsewhere over each process's share."""
        if self.size > 1 and self.is_gpu:
            return nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return network

    def wrap(self, module: nn.Module) -> nn.Module:
        """Gradients become means over all processes. Steps without some part of the sample leave networks unused."""
        if self.size == 1:
            return module
        devices = [torch.device(self.device)] if self.is_gpu else None
        return nn.parallel.DistributedDataParallel(module, devices, find_unused_parameters=True)

    def _share(self, value: float) -> float:
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return float(tensor)

    def agreed(self, step: int, seconds: float) -> float:
        """The first process's training time, as of the last agreement."""
        if self.size == 1:
            self.agreed_seconds = seconds
        elif step % AGREEMENT_STEPS == 0 or self.agreed_seconds == 0:
            self.agreed_seconds = self._share(seconds)
        return self.agreed_seconds

    def agree_to_stop(self, step: int, wanted: bool) -> bool:
        """Whether the first process wants to stop; the others learn of it every few steps."""
        if self.size == 1:
            return wanted
        if step % AGREEMENT_STEPS == 0:
            self._stop = bool(self._share(float(wanted)))
        return self._stop
