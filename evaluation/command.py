"""Runs the command line of fvc in a process of its own, as a user does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from fvc.codec.base.errors import FvcError


class CommandError(FvcError):
    """A command failed. `exit_code`: the command's."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def start(*arguments: object) -> subprocess.Popen[str]:
    """Starts `fvc ARGUMENTS --json`; its stdout and stderr are pipes."""
    command = [sys.executable, "-W", "ignore", "-m", "fvc", *map(str, arguments), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report_of(process: subprocess.Popen[str]) -> tuple[dict[str, Any], list[str]]:
    """Waits for a process of `start`. Returns its report and its notes. Raises CommandError."""
    out, err = process.communicate()
    lines = err.splitlines()
    if process.returncode:
        fault = (lines or [f"exit code {process.returncode}"])[-1]
        raise CommandError(fault.removeprefix("fvc: "), process.returncode)
    return dict(json.loads(out)), [line.removeprefix("note: ") for line in lines if line.startswith("note: ")]


def run(*arguments: object) -> tuple[dict[str, Any], list[str]]:
    """Runs `fvc ARGUMENTS --json` to its end. Returns its report and its notes. Raises CommandError."""
    return report_of(start(*arguments))
