"""Replays the saved corpus and fuzzes with atheris (needs fvc[fuzz]).

    python tests/fuzz/run.py --replay                 the corpus only, without atheris
    python tests/fuzz/run.py --seconds 60             replay, then all targets for 60 s together
    python tests/fuzz/run.py stream --seconds 600     one target
    python tests/fuzz/run.py --seconds 600 --keep     also saves what was found, minimised

The corpus is one zip of a few hundred small inputs for each target. Inputs that break something are left in
`build/fuzz/TARGET/`, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "spec")]
CORPUS, WORK = HERE / "corpus", HERE.parent.parent / "build" / "fuzz"
NAMES = (
    "header",
    "packet",
    "container",
    "stream",
    "motion",
    "player",
    "repair",
    "datagram",
    "sources",
    "still",
    "audio",
    "image",
    "rtp",
    "setup",
    "receiver",
    "sender",
    "loop",
    "layer",
)
LONGEST = {
    "motion": 512,
    "stream": 768,
    "datagram": 768,
    "container": 1536,
    "player": 1536,
    "repair": 1536,
    "loop": 1536,
}
"""Bytes of an input, 4096 for other targets: decoding takes its time, and no golden stream is longer."""
KEPT = 40 * 1024  # bytes of a target's corpus, compressed


def saved(name: str) -> dict[str, bytes]:
    """The inputs of a target that the repository has, by their names."""
    path = CORPUS / f"{name}.zip"
    if not path.exists():
        return {}
    with zipfile.ZipFile(path) as archive:
        return {item: archive.read(item) for item in sorted(archive.namelist())}


def save(name: str, inputs: list[bytes]) -> None:
    """Writes a target's corpus, smallest inputs first, as far as there is room. The same inputs give the same file."""
    CORPUS.mkdir(exist_ok=True)
    room = KEPT
    with zipfile.ZipFile(CORPUS / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for data in sorted(set(inputs), key=lambda d: (len(d), d)):
            item = zipfile.ZipInfo(hashlib.sha256(data).hexdigest()[:12])
            item.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(item, data)
            room -= archive.getinfo(item.filename).compress_size + 120  # and its two directory entries
            if room < 0:
                break


def replay(names: list[str]) -> int:
    """Tries seeds and corpus of each target; returns how many inputs failed."""
    from fuzz.guard import Guard
    from fuzz.targets import TARGETS, seeds

    failed = 0
    for name in names:
        guard = Guard()
        for data in [*seeds(name), *saved(name).values()]:
            try:
                guard(TARGETS[name], data)
            except BaseException as error:
                failed += 1
                print(f"{name}: {type(error).__name__}: {error}: {data.hex()}", file=sys.stderr)
        print(f"{name:>10}  {guard.executions:5} inputs replayed, slowest {guard.slowest * 1000:.0f} ms of CPU")
    return failed


def fuzz(name: str, seconds: float, work: Path) -> dict[str, Any]:
    """Runs one target in processes of their own until the time is used up, once at least. Returns what happened."""
    from fuzz.targets import seeds

    folder = work / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for data in [*seeds(name), *saved(name).values()]:
        (folder / "corpus" / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    total: dict[str, Any] = {
        "target": name,
        "executions": 0,
        "crashes": 0,
        "slowest_ms": 0.0,
        "grown_mb": 0.0,
        "peak_mb": 0,
    }
    end, left = time.monotonic() + seconds, max(seconds, 2.0)  # to begin alone may take longer than there is time
    while left > 1:
        total["crashes"] += _child(name, folder, left) != 0
        part = json.loads((folder / "stats.json").read_text())
        total["executions"] += part["executions"]
        for key in ("slowest_ms", "grown_mb", "peak_mb"):
            total[key] = max(total[key], part[key])
        left = end - time.monotonic()
    return total


def _child(name: str, folder: Path, seconds: float) -> int:
    (folder / "stats.json").write_text(json.dumps({"executions": 0, "slowest_ms": 0, "grown_mb": 0, "peak_mb": 0}))
    options = [
        f"-max_total_time={max(int(seconds), 1)}",
        f"-max_len={LONGEST.get(name, 4096)}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={folder}/",
        "-verbosity=0",
    ]
    command = [sys.executable, "-W", "ignore", __file__, "--child", str(folder), name, *options, str(folder / "corpus")]
    with open(folder / "log.txt", "ab") as log:
        return subprocess.run(command, stdout=log, stderr=log, check=False).returncode


def child(folder: Path, name: str, options: list[str]) -> None:
    """The process that atheris never returns from."""
    import atheris

    with atheris.instrument_imports(include=["fvc"]):
        from fuzz.targets import TARGETS
    from fuzz.guard import Guard

    guard, started = Guard(), time.monotonic()
    told = 0.0

    def tell() -> None:
        status = Path("/proc/self/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) >> 10
        stats = {"executions": guard.executions, "slowest_ms": round(guard.slowest * 1000, 1)}
        stats |= {"grown_mb": round(guard.grown / 2**20, 1), "peak_mb": peak}
        stats |= {"seconds": round(time.monotonic() - started, 1), "slowest_input": guard.slowest_input.hex()}
        temporary = folder / "stats.tmp"
        temporary.write_text(json.dumps(stats))
        os.replace(temporary, folder / "stats.json")

    def one(data: bytes) -> None:
        nonlocal told
        try:
            guard(TARGETS[name], data)
        except BaseException:
            tell()
            raise
        if time.monotonic() > told + 0.5:
            tell()
            told = time.monotonic()

    atheris.Setup(["fuzz", *options], one)
    atheris.Fuzz()


def keep(name: str, work: Path) -> None:
    """Minimises what was found to inputs that each reach code that no smaller one does, and saves them."""
    folder = work / name
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-W", "ignore", __file__, "--child", str(folder), name, "-merge=1"]
        command += [f"-max_len={LONGEST.get(name, 4096)}", "-rss_limit_mb=2048", out, str(folder / "corpus")]
        with open(folder / "log.txt", "ab") as log:
            subprocess.run(command, stdout=log, stderr=log, check=True)
        save(name, [path.read_bytes() for path in Path(out).iterdir()])


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if arguments[:1] == ["--child"]:
        child(Path(arguments[1]), arguments[2], arguments[3:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--replay", action="store_true", help="only the saved corpus, without atheris")
    parser.add_argument("--keep", action="store_true", help="save what was found into tests/fuzz/corpus")
    parser.add_argument("--work", type=Path, default=WORK)
    options = parser.parse_args(arguments)
    names = options.targets or list(NAMES)
    if unknown := set(names) - set(NAMES):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    failed = replay(names)
    if options.replay or failed:
        return int(failed > 0)
    for name in names:
        total = fuzz(name, options.seconds / len(names), options.work)
        failed += total["crashes"]
        print(json.dumps(total), flush=True)
        if options.keep:
            keep(name, options.work)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
