"""Packs: old ones can be read, and sources are chosen as at inference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fvc.codec.face.landmarks import SUP
from fvc.training.data.pack import Pack


def test_packs_of_the_first_version_can_be_read(pack: Pack, tmp_path: Path) -> None:
    jpegs = [pack.picture(n) for n in range(3)]
    old = {
        "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
        "offset": np.cumsum([0, *map(len, jpegs)]).astype(np.int64),
        "landmarks": np.full((3, 478, 2), 4096, np.int16),
        "yaw": np.zeros(3, np.float32),
        "clip": np.array([0, 0, 1], np.int32),
    }
    save_file(old, tmp_path / "old.pack", {"clips": '["x", "y"]', "identities": '["p", "p"]'})
    read = Pack(tmp_path / "old.pack", SUP)
    assert np.array_equal(read.image(2), pack.image(2))
    assert [len(c.frames) for c in read.people[0]] == [2, 1]
    assert (read.keypoints == 0.5).all()
    (tmp_path / "bad.pack").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="not a training pack"):
        Pack(tmp_path / "bad.pack", SUP)


def test_sources_as_at_inference(pack: Pack) -> None:
    clip = pack.clips[0]
    chosen = pack.choose_sources(clip, 3)
    assert set(chosen) < set(clip.frames)
    keypoints = pack.keypoints[clip.frames].reshape(len(clip.frames), -1)
    centres = pack.keypoints[chosen].reshape(3, -1)
    ends = keypoints[[0, len(keypoints) // 2, -1]]  # the face turns steadily: three thirds are nearer than these

    def far(sources: np.ndarray) -> float:
        return float(np.linalg.norm(keypoints[:, None] - sources, axis=-1).min(1).mean())

    assert far(centres) < far(ends)
