"""Driving sample -> integers -> bytes of one frame, at a quality. Knows nothing of packets, keyframes or rates.

The encoder's half of the exact boundary: quantizes, chooses integers (`codec.motion.rdo`) and codes them
(`codec.motion.coding`). A frame is coded on trial as often as the caller likes; `accept` makes one of the trials the
past.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fvc.codec.motion import coding
from fvc.codec.motion.entropy import RangeWriter, SymbolTables, format_tables
from fvc.codec.motion.predictor import MotionModel
from fvc.codec.motion.priors import PartPriors, load
from fvc.codec.motion.quantizer import Quantizer, to_integers
from fvc.codec.motion.rdo import RateDistortion, Targets, lambda_of
from fvc.codec.motion.sample import DrivingSample

_TRIALS = (-6.0, 0.0, 6.0)  # quality offsets; messages are whole bytes, and one of the trials fills its bytes best


@dataclass(frozen=True)
class CodedFrame:
    """One frame, coded.

    Attributes:
        data: the message; empty where every integer was certain.
        sliced: the same integers as a keyframe's message, where that travels beside it in slices; else empty.
        model: the motion model afterwards.
    """

    data: bytes
    sliced: bytes
    model: MotionModel


class MotionEncoder:
    """Codes the frames of one stream.

    Args:
        quantizers: by coded part, in coding order.
        priors, tables: of the format, unless others are tried.
    """

    def __init__(
        self,
        quantizers: Mapping[str, Quantizer],
        priors: Mapping[str, PartPriors] | None = None,
        tables: SymbolTables | None = None,
    ) -> None:
        self._quantizers = quantizers
        self._tables = tables or format_tables()
        self._model = MotionModel({part: of.bits for part, of in quantizers.items()}, priors or load())

    def encode(
        self, sample: DrivingSample, quality: float | None, keyframe: bool, with_slices: bool = False
    ) -> CodedFrame:
        """Codes a frame on trial.

        Args:
            quality: 0 (smallest) to 100 (best), the best of some trials by rate and distortion; None: the integers
                nearest to the sample, whatever they cost.
            keyframe: without memory of the frames before.
            with_slices: the frame has the same integers as a keyframe that follows in slices.
        """
        best, least = None, math.inf
        for choose in self._choices(sample, quality):
            model, writer = self._model.copy(), RangeWriter(self._tables)
            coding.encode(model, choose, writer, keyframe)
            data = writer.finish()
            cost = 8.0 * len(data)
            if isinstance(choose, RateDistortion) and quality is not None:
                cost += lambda_of(quality) * choose.distortion
            if best is None or cost < least:
                best, least = CodedFrame(data, b"", model), cost
        assert best is not None  # there is a choice at least
        return replace(best, sliced=self._as_keyframe(best.model)) if with_slices else best

    def accept(self, coded: CodedFrame) -> None:
        """The next frame follows this one."""
        self._model = coded.model

    def _choices(self, sample: DrivingSample, quality: float | None) -> list[coding.Choose]:
        """The ways to choose integers that are tried."""
        if quality is None:
            integers = {part: values.tolist() for part, values in to_integers(sample, self._quantizers).items()}
            return [coding.given(self._model, integers)]
        targets = Targets(self._model, sample, self._quantizers)
        return [RateDistortion(targets, quality + offset, self._tables) for offset in _TRIALS]

    def _as_keyframe(self, model: MotionModel) -> bytes:
        """The model's last integers as a keyframe's message; it is afterwards as that keyframe leaves it."""
        writer = RangeWriter(self._tables)
        coding.encode(model, coding.given(model, model.integers), writer, keyframe=True)
        return writer.finish()
