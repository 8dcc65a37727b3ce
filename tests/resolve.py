"""Which platforms, Pythons and extras fvc can be installed on: asks the package index, installs nothing.

    python tests/resolve.py [--uv uv] [--only default,web]

For each, uv resolves pyproject.toml from wheels alone, as an installer there would. A cell of the Markdown table lists
the Pythons: m, resolved, faces tracked by MediaPipe; o, resolved, by our own tracker; no, with reasons below. Wants uv
(`pip install uv`) and a package index, takes some minutes, and is no part of the test suite.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLATFORMS = {  # name -> uv's --python-platform
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_35",
    "macOS arm64": "aarch64-apple-darwin",
    "macOS x86-64": "x86_64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACOS = "14.0"  # the oldest that wheels are asked for


def resolve(uv: str, platform: str, python: str, extra: str | None) -> tuple[list[str], str]:
    """The packages that would be installed, and why there are none."""
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    command += ["--python-version", python, "--python-platform", platform, str(ROOT / "pyproject.toml")]
    command += [] if extra is None else ["--extra", extra]
    with tempfile.TemporaryDirectory() as folder:  # uv keeps an output file that it finds
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": MACOS},
        )
    if done.returncode:
        return [], _reason(done.stderr)
    return [line for line in done.stdout.splitlines() if "==" in line], ""


def _reason(text: str) -> str:
    """The first cause in uv's message."""
    words = " ".join(re.sub(r"[^ -~]", " ", text).split())
    found = re.search(r"Because (.+?)(?:, we can conclude| and you require| hint:|$)", words)
    return (found[1] if found else words)[:200]


def main() -> int:
    """Prints the table; 1 where the default cannot be resolved somewhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--only", help="names of extras, with commas; default: all that are in pyproject.toml")
    args = parser.parse_args()
    extras = [*tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]]
    wanted = args.only.split(",") if args.only else ["default", *extras]
    reasons: dict[str, list[str]] = {}
    failed = False
    print(f"| | {' | '.join(PLATFORMS)} |\n|---|{'---|' * len(PLATFORMS)}", flush=True)
    for name in wanted:
        cells = []
        for platform, tag in PLATFORMS.items():
            marks = []
            for python in PYTHONS:
                packages, reason = resolve(args.uv, tag, python, None if name == "default" else name)
                tracker = "m" if any(line.startswith("mediapipe==") for line in packages) else "o"
                marks.append(f"{python} {tracker if packages else 'no'}")
                if reason:
                    reasons.setdefault(reason, []).append(f"{name}, {platform}, {python}")
            failed |= name == "default" and any(mark.endswith("no") for mark in marks)
            cells.append(", ".join(marks))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print()
    for reason, where in reasons.items():
        print(f"- {reason}: {'; '.join(where)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
