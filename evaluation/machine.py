"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform

_CPUINFO = "/proc/cpuinfo"  # Linux


def cpu_name() -> str:
    """Model of the processor, e.g. "AMD EPYC 7763"; elsewhere than on Linux what Python knows of it."""
    try:
        with open(_CPUINFO, encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return next(iter(names), platform.processor() or platform.machine())


def machine() -> str:
    """Processor and cores in a line, e.g. "2 cores, AMD EPYC 7763, Linux, Python 3.11.9"."""
    return f"{os.cpu_count()} cores, {cpu_name()}, {platform.system()}, Python {platform.python_version()}"
