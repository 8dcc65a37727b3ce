"""The golden source sets, of both sizes: `make_vectors` writes them."""

from __future__ import annotations

import random

import numpy as np
from annexes import compact

from fvc.codec.motion.quantizer import COMPONENTS, to_sample
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.source_set import QUANTIZERS, SourceSet

SETS = {"sources": 256, "sources_512": 512}  # source sets, and the side of their pictures


def source_set(coded: tuple[bytes, ...], pictures: tuple[np.ndarray, ...], canvas: bytes) -> tuple[SourceSet, str]:
    """Two sources of profile sup+unsup+expr, and their JSON; the first of `coded` is the preview of large ones."""
    profile, rng = Profile.SUP_UNSUP_EXPR, random.Random("sources")
    values = [
        {part: [rng.randrange(1 << 16) for _ in range(COMPONENTS[part])] for part in profile.parts} for _ in pictures
    ]
    samples = tuple(to_sample({part: np.array(v) for part, v in each.items()}, QUANTIZERS) for each in values)
    result = SourceSet(profile, bytes(range(8)), coded, pictures, samples, canvas, (96, 64))
    previews = [{"integers": values[0], "coded": c.hex()} for c in coded[: len(coded) - len(pictures)]]
    sources = [{"integers": i, "coded": c.hex()} for i, c in zip(values, coded[len(previews) :], strict=True)]
    fields = {"model_hash": bytes(range(8)).hex(), "profile": int(profile), "canvas_size": [96, 64]}
    fields |= {"side": len(pictures[0]), "preview": previews[0]} if previews else {}
    return result, compact(fields | {"sources": sources, "canvas": canvas.hex()})


def gradient(width: int, height: int, slope: int) -> np.ndarray:
    x, y = np.arange(width)[None], np.arange(height)[:, None]
    return np.stack([x * slope // 2 + 0 * y, 255 - y // slope + 0 * x, 90 + 0 * (x + y)], -1).astype(np.uint8)
