"""One frame's integers <-> bytes: the motion model gives a context, the caller chooses a value, the coder codes it.

Both directions side by side. Whoever changes the entropy coder hands in another writer and reader; whoever changes
what is sent hands in another `choose` (`codec.motion.rdo`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from fvc.codec.motion.predictor import Context, Integers, MotionModel

Choose = Callable[[Context], int]


class ValueWriter(Protocol):
    """An entropy coder, as `entropy.RangeWriter`."""

    def put(self, value: int, context: Context) -> None:
        """Codes a value."""


class ValueReader(Protocol):
    """Its inverse, as `entropy.RangeReader`."""

    def get(self, context: Context) -> int:
        """The next value. Raises StreamError."""


def encode(model: MotionModel, choose: Choose, writer: ValueWriter, keyframe: bool) -> Integers:
    """Codes one frame and returns its integers; `model` adapts to it."""
    for context in model.frame(keyframe):
        value = choose(context)
        writer.put(value, context)
        model.push(value)
    return model.integers


def decode(model: MotionModel, reader: ValueReader, keyframe: bool) -> Integers:
    """Decodes one frame and returns its integers. Raises StreamError (E12, E13)."""
    for context in model.frame(keyframe):
        model.push(reader.get(context))
    return model.integers


def replay(model: MotionModel, integers: Mapping[str, list[int]], keyframe: bool) -> None:
    """Adapts the model to a frame that is known already; codes nothing."""
    choose = given(model, integers)
    for context in model.frame(keyframe):
        model.push(choose(context))


def given(model: MotionModel, integers: Mapping[str, list[int]]) -> Choose:
    """A `Choose` that returns these integers (coded part -> values in the order of its components)."""
    values = iter(model.in_coding_order(integers))
    return lambda _: next(values)
