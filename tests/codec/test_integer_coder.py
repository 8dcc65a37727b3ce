"""The two range coders, constriction's and that in Python integers, are one: same bytes, states, symbols and errors."""

from __future__ import annotations

import json
import time

import make_vectors
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_vectors import STREAMS, VECTORS

from fvc.codec.base import range_coder
from fvc.codec.base.range_coder import ConstrictionCoder, IntegerCoder, InvalidDataError, RangeCoder
from fvc.codec.motion import entropy
from fvc.codec.motion.entropy import RangeWriter, SymbolTables
from fvc.codec.motion.predictor import Context
from fvc.codec.motion.priors import load
from fvc.codec.motion.quantizer import COMPONENTS

OURS = SymbolTables(load(), IntegerCoder())
needs_constriction = pytest.mark.skipif(range_coder.constriction is None, reason="constriction has no wheel here")
PLAIN = st.integers(1, 16)
MODELS = PLAIN | st.tuples(st.sampled_from(list(COMPONENTS)), st.integers(0, 47), st.integers(0, 7))


def _model(tables: SymbolTables, which: int | tuple[str, int, int]) -> object:
    return tables.bits(which) if isinstance(which, int) else tables.model(*which)


def _written(coder: RangeCoder, drawn: list[tuple[int, int | tuple[str, int, int]]]) -> tuple[bytes, tuple[int, int]]:
    tables, encoder = SymbolTables(load(), coder), coder.encoder()
    for symbol, which in drawn:
        encoder.put(symbol % (1 << which if isinstance(which, int) else 34), _model(tables, which))
    return encoder.finish(), encoder.state


@needs_constriction
@given(st.lists(st.tuples(st.integers(0, 65535), MODELS), max_size=80))
@settings(deadline=None)
def test_both_write_the_same(drawn: list[tuple[int, int | tuple[str, int, int]]]) -> None:
    assert _written(IntegerCoder(), drawn) == _written(ConstrictionCoder(), drawn)


@needs_constriction
@pytest.mark.parametrize("symbol", [0, 0xFFFF, 0x8000])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 40])
def test_ends_of_the_interval(symbol: int, count: int) -> None:
    """Nothing but zeros and nothing but ones: where carries and trailing zeros would be."""
    drawn: list[tuple[int, int | tuple[str, int, int]]] = [(symbol, 16)] * count
    assert _written(IntegerCoder(), drawn) == _written(ConstrictionCoder(), drawn)


@needs_constriction
@given(st.binary(max_size=60), st.lists(MODELS, max_size=80))
@settings(deadline=None)
def test_both_read_the_same(data: bytes, models: list[int | tuple[str, int, int]]) -> None:
    """Any bytes, sensible or not."""
    theirs = SymbolTables(load(), ConstrictionCoder())
    a, b = OURS.coder.decoder(data), theirs.coder.decoder(data)
    for which in models:
        try:
            symbol = b.get(_model(theirs, which))
        except InvalidDataError:
            with pytest.raises(InvalidDataError):
                a.get(_model(OURS, which))
            return
        assert a.get(_model(OURS, which)) == symbol


@pytest.mark.parametrize("name", STREAMS)
def test_golden_streams_in_integers(name: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without constriction the encoder writes the golden streams, and the decoder reads them."""
    import fvc.codec.motion.motion_encoder
    import fvc.codec.reassembly

    for module in (entropy, fvc.codec.motion.motion_encoder, fvc.codec.reassembly):
        monkeypatch.setattr(module, "format_tables", lambda: OURS)
    monkeypatch.setattr(range_coder, "constriction", None)
    for path in make_vectors.write_golden(tmp_path, (name,)):  # type: ignore[arg-type]
        assert path.read_bytes() == (VECTORS / path.name).read_bytes()
    from spec_support import agree

    agree((VECTORS / f"{name}.fvc").read_bytes(), json.loads((VECTORS / f"{name}.json").read_text()))


def test_a_frame_takes_less_than_five_milliseconds() -> None:
    """66 values written, ended and read; the best of some tries, because the machine may be busy."""
    draw = np.random.default_rng(0)
    contexts = [Context("shape", int(draw.integers(-9000, 9000)), int(draw.integers(0, 200))) for _ in range(66)]
    values = [int(v) for v in draw.integers(-4, 5, 66)]

    def once() -> float:
        start = time.perf_counter()
        writer = RangeWriter(OURS)
        for value, context in zip(values, contexts, strict=True):
            writer.put(value, context)
        reader = entropy.RangeReader(writer.finish(), OURS)
        assert [reader.get(context) for context in contexts] == values
        return time.perf_counter() - start

    assert min(once() for _ in range(20)) < 0.005
