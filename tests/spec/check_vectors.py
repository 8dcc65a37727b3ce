"""Decodes all vectors with fvc and with spec_decoder.py and compares the integers with the expected ones.

Needs numpy only, so that it runs where the rest of fvc does not (`try_aarch64.sh`). Says which machine it ran on, and
with which range coder; exit code 1 if anything differs.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import spec_decoder

from fvc.codec.base import range_coder
from fvc.codec.base.errors import StreamError
from fvc.codec.motion import coding, priors
from fvc.codec.motion.entropy import RangeReader, format_tables
from fvc.codec.motion.predictor import MotionModel
from fvc.codec.wire import bitstream, container

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def by_fvc(data: bytes) -> list[Any]:
    """[frame number, integers or None] of each frame, by `fvc.codec.motion.coding`."""
    reader = container.StreamReader(io.BytesIO(data))
    header = reader.header
    model = MotionModel(header.bits, priors.load())
    follows, found = -1, []
    for item in reader.packets():
        if isinstance(item, container.Damage):
            raise AssertionError(item.reason)
        if item.kind == bitstream.Kind.AUDIO:
            continue
        is_key, integers = item.kind == bitstream.Kind.KEY, None
        if is_key or (follows == item.number and item.payload):
            coded, restarts = item.payload, False
            if is_key:
                coded = bitstream.KeyPayload.parse(coded).coded
            elif item.kind == bitstream.Kind.REFRESH:
                refresh = bitstream.RefreshPayload.parse(coded)
                coded, restarts = refresh.motion, refresh.slice == 0
            integers = coding.decode(model, RangeReader(coded, format_tables()), is_key) if coded else None
            if restarts and integers is not None:
                coding.replay(model, integers, keyframe=True)
        follows = item.number + 1 if is_key or follows == item.number else -1
        found.append([item.number, integers])
    return found


def rules(data: bytes) -> tuple[str, str]:
    """The rule that a file of tests/vectors/invalid breaks first, for each of the two decoders; "" for none."""
    ours = theirs = ""
    try:
        by_fvc(data)
    except (StreamError, spec_decoder.SpecError) as error:
        ours = error.rule
    except AssertionError as error:
        ours = str(error)[-4:-1]
    try:
        spec_decoder.decode_stream(data)
    except spec_decoder.SpecError as error:
        theirs = error.rule
    return ours, theirs


def main() -> int:
    """Returns the exit code."""
    coder = "constriction" if range_coder.constriction else "no constriction: our range coder in Python integers"
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, {coder}")
    digest, failed, integers, invalid = hashlib.sha256(), 0, 0, 0
    for path in sorted(VECTORS.glob("*.fvc")):
        data, expected = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())["frames"]
        theirs = [[number, found] for number, found in spec_decoder.decode_stream(data)["frames"]]
        # refresh.fvc lacks packets; filling them from slices (`codec.reassembly`) is left to spec_decoder here
        same = path.name == "refresh.fvc" or by_fvc(data) == expected, theirs == expected
        failed += same != (True, True)
        integers += sum(len(values) for _, parts in expected if parts for values in parts.values())
        digest.update(json.dumps(by_fvc(data)).encode())
        print(f"{path.name:>28}  {len(expected):3} frames  fvc {same[0]}  spec_decoder {same[1]}")
    for path in sorted(VECTORS.glob("invalid/*.fvc")):
        rule = path.name[:3] if not path.name.startswith("E14") else ""  # E14 is for players
        invalid += 1
        if rules(path.read_bytes()) != (rule, rule):
            failed += 1
            print(f"{path.name}: {rules(path.read_bytes())}")
    print(f"{integers} integers, {invalid} invalid streams, {failed} files differ, digest {digest.hexdigest()[:16]}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
