"""Packs -> one pack: caps frames per person, keeps a size limit, drops clips that became too short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fvc.codec.face.landmarks import N_LANDMARKS
from fvc.training.data.pack import MIN_CLIP_FRAMES, Clip, Pack
from fvc.training.data.pack_writer import PackWriter

FRAMES_PER_CLIP = 8  # that a clip should contribute before another clip of the same person is taken
BYTES_PER_FRAME = N_LANDMARKS * 2 * 2 + 8 + 4 * 4  # besides the picture: landmarks, offset, the four other columns


def _spread(pack: Pack, clip: Clip) -> float:
    return float(np.ptp(pack.yaw[clip.frames])) if len(clip.frames) else 0.0


def _choose(pack_of: dict[str, list[tuple[Pack, Clip]]], cap: int) -> dict[tuple[int, str], np.ndarray]:
    """(pack, clip) -> frames to keep, by time: at most `cap` per person, from the clips whose heads turn most."""
    kept: dict[tuple[int, str], np.ndarray] = {}
    for clips in pack_of.values():
        clips = sorted(clips, key=lambda pair: (-_spread(*pair), pair[1].name))[: max(1, cap // FRAMES_PER_CLIP)]
        owner = np.concatenate([np.full(len(clip.frames), n) for n, (_, clip) in enumerate(clips)])
        frame = np.concatenate([clip.frames for _, clip in clips])
        rank = np.concatenate([pack.rank[clip.frames] for pack, clip in clips])
        taken = np.lexsort((owner, rank))[:cap]
        for n, (pack, clip) in enumerate(clips):
            mine = np.sort(frame[taken[owner[taken] == n]])
            if len(mine) >= MIN_CLIP_FRAMES:
                kept[id(pack), clip.name] = mine
    return kept


def _bytes(packs: Sequence[Pack], kept: dict[tuple[int, str], np.ndarray]) -> int:
    size = {id(pack): np.diff(pack.offset) for pack in packs}
    return sum(int(size[owner][frames].sum()) + BYTES_PER_FRAME * len(frames) for (owner, _), frames in kept.items())


def merge(
    paths: Sequence[Path], out: Path, per_person: int, max_bytes: int | None = None, overwrite: bool = False
) -> dict[str, int]:
    """Writes `out` and returns the joint report: the sums of the packs' reports, and what was kept.

    Args:
        per_person: cap on frames; lowered until the pack has at most `max_bytes`.

    Raises:
        ValueError: one of the files is not a pack, or no cap is small enough.
    """
    packs = [Pack(path, ()) for path in paths]
    people: dict[str, list[tuple[Pack, Clip]]] = {}
    counts: Counter[str] = Counter()
    for pack in packs:
        counts.update(
            {str(k): v for k, v in pack.report.items() if isinstance(v, int) and not str(k).startswith("pack")}
        )
        for clip in pack.clips:
            people.setdefault(clip.identity, []).append((pack, clip))
    low, high = MIN_CLIP_FRAMES, per_person  # the largest cap that fits, by bisection
    kept = _choose(people, high)
    if max_bytes is not None and _bytes(packs, kept) > max_bytes:
        while high - low > 1:
            middle = (low + high) // 2
            fits = _bytes(packs, _choose(people, middle)) <= max_bytes
            low, high = (middle, high) if fits else (low, middle)
        kept, high = _choose(people, low), low
        if _bytes(packs, kept) > max_bytes:
            raise ValueError(f"{out}: does not fit {max_bytes} bytes even with {low} frames per person")
    report = dict(counts)
    report["pack: people"] = len(
        {clip.identity for pack in packs for clip in pack.clips if (id(pack), clip.name) in kept}
    )
    report["pack: clips"] = len(kept)
    report["pack: clips left out by the cap"] = sum(len(pack.clips) for pack in packs) - len(kept)
    report["pack: frames"] = sum(map(len, kept.values()))
    report["pack: frames left out by the cap"] = sum(len(pack.yaw) for pack in packs) - report["pack: frames"]
    report["pack: frames per person at most"] = high
    with PackWriter(out, dict(report), overwrite) as writer:
        for pack in packs:
            for clip in pack.clips:
                if (id(pack), clip.name) in kept:
                    writer.add(pack.data(clip, kept[id(pack), clip.name]))
    report["pack: bytes"] = out.stat().st_size
    return report
