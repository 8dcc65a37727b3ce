"""The range coder of the document is that of constriction."""

from __future__ import annotations

from typing import Any

import pytest
import spec_decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_decoder import SpecError
from spec_support import (
    CODED_SHAPES,
    TABLES,
)

from fvc.codec.base.errors import StreamError
from fvc.codec.motion import entropy, predictor
from fvc.codec.motion.entropy import RangeWriter

MODELS = st.tuples(st.sampled_from(list(CODED_SHAPES)), st.integers(0, 47), st.integers(0, 7))


@given(st.binary(max_size=60), st.lists(st.integers(1, 16) | MODELS, max_size=80))
@settings(max_examples=60, deadline=None)
def test_the_range_decoder_is_that_of_constriction(data: bytes, models: list[Any]) -> None:
    """Any bytes, sensible or not, give the same symbols and the same error; a model that is a number is raw bits."""
    theirs, ours = entropy.RangeReader(data, TABLES), spec_decoder.RangeDecoder(data)

    def symbol_of(model: Any) -> int:
        return ours.bits(model) if isinstance(model, int) else ours.symbol(spec_decoder.cdf_of(*model))

    for model in models:
        try:
            symbol = theirs.bits(model) if isinstance(model, int) else theirs.symbol(TABLES.model(*model))
        except StreamError:
            with pytest.raises(SpecError, match="E12"):
                symbol_of(model)
            return
        assert symbol == symbol_of(model)


CONTEXTS = st.builds(
    predictor.Context,
    st.sampled_from(list(CODED_SHAPES)),
    st.integers(-(1 << 30), 1 << 30),
    st.integers(-300, 900),
)


@given(st.lists(st.tuples(st.integers(0, 1 << 16), CONTEXTS), max_size=30))
@settings(max_examples=40, deadline=None)
def test_values_come_back(pairs: list[tuple[int, predictor.Context]]) -> None:
    writer = RangeWriter(TABLES)
    for value, context in pairs:
        writer.put(value, context)
    decoder = spec_decoder.RangeDecoder(writer.finish())
    assert [decoder.value(*context) for _, context in pairs] == [value for value, _ in pairs]


def test_all_ones_can_be_coded() -> None:
    """Leaving out the last byte of such a message gives data that no symbol has; the writer must cope with that."""
    writer = RangeWriter(TABLES)
    for _ in range(40):
        writer.bits(0xFFFF, 16)
    decoder = spec_decoder.RangeDecoder(writer.finish())
    assert [decoder.bits(16) for _ in range(40)] == [0xFFFF] * 40
