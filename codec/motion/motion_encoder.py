"""Driving sample -> integers -> bytes of one frame, at a quality. Knows nothing of packets, keyframes or rates.

The encoder's half of the exact boundary: quantizes, chooses integers (`codec.motion.rdo`) and codes them
(`codec.motion.coding`). A frame is coded on trial as often as the caller likes; `accept` makes one of the trials the
past.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fvc.codec.motion import coding
from fvc.codec.motion.entropy import RangeWriter, SymbolTables, format_tables
from fvc.codec.motion.predictor import Integers, MotionModel
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
        integers: what a decoder reads from it.
        model: the motion model afterwards.
    """

    data: bytes
    integers: Integers
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

    def nearest(self, sample: DrivingSample, keyframe: bool) -> CodedFrame:
        """The integers nearest to the sample, whatever they cost."""
        integers = {part: values.tolist() for part, values in to_integers(sample, self._quantizers).items()}
        return self._coded(coding.given(self._model, integers), keyframe)

    def cheapest(self, sample: DrivingSample, quality: float, keyframe: bool) -> CodedFrame:
        """The best of some trials by rate and distortion; quality is 0 (smallest) to 100 (best)."""
        targets = Targets(self._model, sample, self._quantizers)
        trials: list[tuple[float, CodedFrame]] = []
        for offset in _TRIALS:
            choose = RateDistortion(targets, quality + offset, self._tables)
            coded = self._coded(choose, keyframe)
            trials.append((8 * len(coded.data) + lambda_of(quality) * choose.distortion, coded))
        return min(trials, key=lambda trial: trial[0])[1]

    def as_keyframe(self, coded: CodedFrame) -> bytes:
        """The same integers as a keyframe's message. `coded.model` then is what that keyframe leaves behind."""
        writer = RangeWriter(self._tables)
        coding.encode(coded.model, coding.given(coded.model, coded.integers), writer, keyframe=True)
        return writer.finish()

    def accept(self, coded: CodedFrame) -> None:
        """The next frame follows this one."""
        self._model = coded.model

    def _coded(self, choose: coding.Choose, keyframe: bool) -> CodedFrame:
        model, writer = self._model.copy(), RangeWriter(self._tables)
        integers = coding.encode(model, choose, writer, keyframe)
        return CodedFrame(writer.finish(), integers, model)
