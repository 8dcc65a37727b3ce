"""Compiled networks in the user's cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fvc.codec.base import inference
from fvc.codec.base.inference import EXACT, compile_kept
from fvc.models.inference.fusing import FUSION
from fvc.models.weights import folder_of

NETWORK = folder_of(FUSION) / "fuse.xml"
PICTURES = [np.full((1, 256, 256, 3), level, np.uint8) for level in (40, 90)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder that compiled networks will lie in."""
    monkeypatch.setattr(inference.platformdirs, "user_cache_path", lambda _: tmp_path)
    return tmp_path / "openvino"


def fused() -> np.ndarray:
    return np.array(next(iter(compile_kept(NETWORK, EXACT)(PICTURES).values())))


def never(*_: Any) -> None:
    raise AssertionError("compiled again")


def test_a_network_is_compiled_once_and_computes_the_same(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fused()
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(inference, "read_model", never)
    assert np.array_equal(fused(), first)
    with pytest.raises(AssertionError, match="again"):
        compile_kept(NETWORK, EXACT | {"INFERENCE_NUM_THREADS": 1})  # in another way


def test_a_changed_network_is_another(cache: Path, tmp_path: Path) -> None:
    fused()
    copy = tmp_path / NETWORK.name
    copy.write_bytes(NETWORK.read_bytes())
    weights = bytearray(NETWORK.with_suffix(".bin").read_bytes())
    weights[len(weights) // 2] ^= 1
    copy.with_suffix(".bin").write_bytes(weights)
    compile_kept(copy, EXACT)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: data[:-1] + b"?", lambda _: b""])
def test_a_damaged_one_is_compiled_again(cache: Path, damage: Any) -> None:
    first = fused()
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert np.array_equal(fused(), first)
    assert len(kept.read_bytes()) == len(whole)


def test_one_of_another_version_is_compiled_again(cache: Path) -> None:
    first = fused()
    (kept,) = cache.iterdir()
    kept.unlink()
    inference._write(kept, b"what no OpenVINO takes")
    assert np.array_equal(fused(), first)


def test_old_ones_are_removed_and_a_cache_that_cannot_be_written_is_no_fault(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_KEPT", 2)
    for threads in (1, 2, 3):
        compile_kept(NETWORK, EXACT | {"INFERENCE_NUM_THREADS": threads})
    assert len(list(cache.iterdir())) == 2
    monkeypatch.setattr(inference.platformdirs, "user_cache_path", lambda _: NETWORK)  # a file, not a folder
    fused()
