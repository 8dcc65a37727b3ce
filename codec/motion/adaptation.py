"""How the motion model adapts to a stream: the constants that the codec and the fit of its priors share.

Normative (bitstream_spec.md, sections 5.2 to 5.5). The codec uses them in integers (`codec.motion.predictor`), the fit
in floats (`fvc.training.tables.priors`); both read them here, so that they cannot drift apart.
"""

from __future__ import annotations

FRACTION_BITS = 12  # predictions and errors are in 1/4096 of a quantizer step
STEP = 1 << FRACTION_BITS
OCTAVE = 32  # logarithms and spreads are in 1/32 octave
SPREAD_ORIGIN = 8 * OCTAVE  # log2 of an error of spread 0: 2^8 / 4096 = 1/16 of a step

MEAN_FRACTION_BITS = 8  # running means of integers are in 1/256 of a step
MEAN_GAIN = (5, 5)  # weight of the newest value in a running mean: 5 / 2^5
ACTIVITY_GAIN = (3, 3)  # weight of the newest error in the recent activity: 3 / 2^3
ERROR_FLOOR = 80  # added to expected errors, 1/4096 of a step: no component is ever certain
HOLD_START = 2  # after a keyframe, holding a value is expected to be this many times worse than predicting it
HOLD_UNIT = 64  # hold thresholds are in 1/64
EXPONENT_BITS = 6  # exponents are in 1/64
ACTIVITY_PRIOR = 4  # a frame's activity starts as if this many components had behaved as expected


def error_window(frames: int) -> int:
    """Over how many frames a component's expected error is averaged, `frames` frames after the keyframe."""
    return min(frames + 3, 8)
