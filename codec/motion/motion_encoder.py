"""Driving sample -> integers -> bytes of one frame, at a quality. Knows nothing of packets, keyframes or rates.

The encoder's half of the exact boundary: quantizes, chooses integers (`codec.motion.rdo`) and codes them
(`codec.motion.coding`). A frame can be coded on trial any number of times; `accept` commits one of the trials.
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

_TRIALS = (-6.0, 0.0, 6.0)  # quality offsets; messages are whole bytes, so a quality nearby may fill them better


@dataclass(frozen=True)
class CodedFrame:
    """One frame, coded.

    Attributes:
        data: the message; empty where the decoder reads the same integers from zero bytes.
        sliced: the same integers as a keyframe's message, if the keyframe is sent in slices; else empty.
        model: the motion model after this frame.
    """

    data: bytes
    sliced: bytes
    model: MotionModel


class MotionEncoder:
    """Codes the frames of one stream.

    Args:
        quantizers: by coded part, in coding order.
        priors, tables: None: those of the format.
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
            keyframe: code it without reference to earlier frames.
            with_slices: also code its integers as a keyframe, which is then sent in slices.
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
        assert best is not None  # there is at least one choice
        return replace(best, sliced=self._as_keyframe(best.model)) if with_slices else best

    def accept(self, coded: CodedFrame) -> None:
        """Commits a trial: the next frame is predicted from it."""
        self._model = coded.model

    def _choices(self, sample: DrivingSample, quality: float | None) -> list[coding.Choose]:
        """The ways to choose integers that are tried."""
        if quality is None:
            integers = {part: values.tolist() for part, values in to_integers(sample, self._quantizers).items()}
            return [coding.given(self._model, integers)]
        targets = Targets(self._model, sample, self._quantizers)
        return [RateDistortion(targets, quality + offset, self._tables) for offset in _TRIALS]

    def _as_keyframe(self, model: MotionModel) -> bytes:
        """The model's last integers as a keyframe's message; leaves it in the state after that keyframe."""
        writer = RangeWriter(self._tables)
        coding.encode(model, coding.given(model, model.integers), writer, keyframe=True)
        return writer.finish()
