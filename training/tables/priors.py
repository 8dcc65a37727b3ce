"""Integer tracks of many people -> the priors of motion coding (`codec/motion/priors.bin`, bitstream_spec.md, Annex A).

Prediction weights are ridge regressions, one component after the other. The ridge on weights across components is
chosen on held-out people, so parts whose components hardly predict each other get no such weights. Squared errors are
weighted by the spread that the coder expects of them, since that ratio costs bits. Spreads and the error distribution
are then fitted by gradient descent on the number of bits. Everything here may use floats: the result is integers.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fvc.codec.motion.adaptation import (
    ACTIVITY_GAIN,
    ACTIVITY_PRIOR,
    ERROR_FLOOR,
    EXPONENT_BITS,
    HOLD_START,
    HOLD_UNIT,
    MEAN_GAIN,
    OCTAVE,
    STEP,
    error_window,
)
from fvc.codec.motion.priors import SHAPE_STEPS, PartPriors, pack
from fvc.codec.motion.quantizer import USUAL_BITS
from fvc.codec.motion.sample import PART_SHAPES
from fvc.models.inference.tracks import Track

GROUP = 75  # frames from one keyframe to the next
_RIDGES = ((30.0, 300.0), (300.0, 3000.0), (3000.0, 1e5), (1e5, 1e5))  # on this frame's changes, on earlier values
_HOLDS = (0, 32, 52)  # candidates for PartPriors.hold_threshold
_FLOOR = ERROR_FLOOR / STEP
_SQRT2 = math.sqrt(2)


class Groups:
    """One part's frames as groups that begin with a keyframe.

    Attributes:
        x: float64 [N, GROUP, n], integers, the last frame repeated at the end; real: bool [N, GROUP].
        held_out: bool [N], groups of the people who choose the ridges.
    """

    def __init__(self, tracks: Sequence[Track], part: str) -> None:
        groups, held_out = [], []
        for track in tracks:
            values = track.parts[part]
            for start in range(0, len(values), GROUP):
                groups.append(values[start : start + GROUP])
                held_out.append(zlib.crc32(track.person.encode()) % 6 == 0)
        self.x = np.stack([g[np.minimum(np.arange(GROUP), len(g) - 1)] for g in groups]).astype(np.float64)
        self.real = np.arange(GROUP) < np.array([[len(g)] for g in groups])
        self.held_out = np.array(held_out)

    def moving(self, held_out: bool | None = None) -> np.ndarray:
        """bool [N, GROUP]: real frames except keyframes; of held-out people, of the others, or (None) of all."""
        mask = self.real.copy()
        mask[:, 0] = False
        return mask if held_out is None else mask & (self.held_out == held_out)[:, None]


def _features(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Changes, previous changes, previous frame's deviations from the running mean: [N, GROUP, n] each."""
    change, last, deviation = (np.zeros_like(x) for _ in range(3))
    change[:, 1:] = x[:, 1:] - x[:, :-1]
    last[:, 1:] = change[:, :-1]
    mean = x[:, 0].copy()
    for t in range(1, GROUP):
        deviation[:, t] = x[:, t - 1] - mean
        mean += _share(MEAN_GAIN) * deviation[:, t]
    return change, last, deviation


def _running(errors: np.ndarray, start: np.ndarray, pace: Callable[[int], float]) -> np.ndarray:
    """[N, GROUP, n]: the exponential mean of errors before each frame; frame 0 is the keyframe."""
    out, mean = np.zeros_like(errors), np.broadcast_to(start, errors[:, 0].shape).copy()
    for t in range(1, GROUP):
        out[:, t] = mean
        mean += pace(t - 1) * (errors[:, t] - mean)
    return out


def _slow(frame: int) -> float:
    return 1 / error_window(frame)


def _share(gain: tuple[int, int]) -> float:
    """A gain of `fvc.codec.motion.adaptation`, numerator and shift, as a number."""
    return gain[0] / (1 << gain[1])


def _order(changes: np.ndarray) -> np.ndarray:
    """Pivoted Cholesky: each next component is the one whose variance the previous ones explain least."""
    left = changes.T @ changes
    order: list[int] = []
    for _ in range(len(left)):
        rest = np.diag(left).copy()
        rest[order] = -1
        order.append(int(rest.argmax()))
        if rest[order[-1]] <= 0:
            continue  # it never moves
        left = left - np.outer(left[:, order[-1]], left[order[-1]]) / left[order[-1], order[-1]]
    return np.array(order)


def _solve(gram: np.ndarray, i: int, known: list[int], ridges: np.ndarray) -> np.ndarray:
    """Row i of the weights: regression of column i on the columns `known` of a Gram matrix."""
    weights = np.zeros(len(gram))
    if known:
        weights[known] = np.linalg.solve(gram[np.ix_(known, known)] + np.diag(ridges[known]), gram[known, i])
    return np.clip(np.rint(weights * STEP), -32768, 32767) / STEP


def _proxy(errors: np.ndarray) -> float:
    """Approximate bits per error, up to a constant."""
    return float(np.log2(np.abs(errors) + 0.3).mean())


class _ErrorDistribution(torch.nn.Module):
    """Distribution of error over spread: a mixture of normal distributions, truncated at 16 spreads."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = torch.nn.Parameter(torch.tensor([-0.5, 0.1, 0.7, 1.6]))
        self.shares = torch.nn.Parameter(torch.tensor([0.0, 0.0, -2.0, -5.0]))

    def below(self, z: torch.Tensor) -> torch.Tensor:
        normal = 0.5 * (1 + torch.erf(z[..., None] / (self.sizes.exp() * _SQRT2)))
        return (normal * torch.softmax(self.shares, 0)).sum(-1)

    def bits(self, error: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        size = error.abs()
        p = self.below((0.5 - size) / spread) - self.below((-0.5 - size) / spread)
        return -torch.log2(p * (1 - 34 / 65536) + 1 / 65536)

    def table(self) -> np.ndarray:
        with torch.no_grad():
            half = self.below(torch.arange(SHAPE_STEPS, dtype=torch.float64) / 64) - 0.5
        return np.clip(np.rint(65536 * half.numpy()), 0, 32768).astype(np.int64)


@dataclass(frozen=True)
class _Memory:
    """State of the coder before each frame of `mask`, in quantizer steps."""

    start: np.ndarray  # [n], expected errors at a keyframe
    error: np.ndarray  # [T, n], the errors that follow
    expected: np.ndarray  # [T, n], their expected sizes
    recent: np.ndarray  # [T, n], exponential means of their sizes, with the gain of the recent activity


class _Spreads:
    """The features that the coder knows before each error, and the fit of the spread to them."""

    def __init__(self, memory: _Memory) -> None:
        expected, size = memory.expected, np.abs(memory.error)
        prior = ACTIVITY_PRIOR * expected.mean(1, keepdims=True)
        so_far, expected_so_far = (np.cumsum(a, 1) - a + prior for a in (size, expected))  # of this frame's components
        frame_activity = np.log(so_far / expected_so_far)
        recent_activity = np.log((memory.recent.sum(1) + _FLOOR * size.shape[1]) / expected.sum(1))[:, None]
        arrays = (memory.error, np.log(expected), recent_activity, frame_activity)
        self._error, self._expected, self._recent, self._frame = (torch.tensor(a, dtype=torch.float32) for a in arrays)

    def fit(self, distribution: _ErrorDistribution, fixed: bool, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Constants [n], and exponents [3] of expected error, recent activity and frame activity.

        `fixed`, for keyframes: one constant for all components, the first two exponents 1 and 0, and the distribution
        stays as it is.
        """
        n = self._error.shape[1]
        constants, exponents = torch.zeros(1 if fixed else n), torch.tensor([1.0, 0.0 if fixed else 0.8, 0.6])
        free = [constants, exponents, *([] if fixed else distribution.parameters())]
        for tensor in free[:2]:
            tensor.requires_grad_()
        optimizer = torch.optim.Adam(free, lr=0.04)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 0.002)
        rng = torch.Generator().manual_seed(0)
        for _ in range(steps):
            rows = torch.randint(len(self._error), (min(45000 // n, len(self._error)),), generator=rng)
            loss = distribution.bits(self._error[rows], self._spread(constants, exponents, rows)).mean()
            optimizer.zero_grad()
            loss.backward()
            if fixed:
                exponents.grad[:2] = 0  # type: ignore[index]
            optimizer.step()
            schedule.step()
        return constants.detach(), exponents.detach()

    def _spread(self, constants: torch.Tensor, exponents: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        logarithm = exponents[0] * self._expected[rows] + exponents[1] * self._recent[rows]
        return torch.exp(constants + logarithm + exponents[2] * self._frame[rows]).clamp(1 / 16)

    def spread(self, constants: torch.Tensor, exponents: torch.Tensor) -> np.ndarray:
        """Spreads [T, n], in quantizer steps."""
        with torch.no_grad():
            rows = torch.arange(len(self._error)).split(4000)
            return torch.cat([self._spread(constants, exponents, r) for r in rows]).numpy().astype(np.float64)

    def bits(self, distribution: _ErrorDistribution, constants: torch.Tensor, exponents: torch.Tensor) -> float:
        """Bits per component, mean over every other frame."""
        with torch.no_grad():
            rows = torch.arange(0, len(self._error), 2).split(2000)
            every = [distribution.bits(self._error[r], self._spread(constants, exponents, r)) for r in rows]
            return float(torch.cat(every).mean())


def _octaves(log: np.ndarray | float) -> np.ndarray:
    """Natural logarithm -> 1/32 octave."""
    return np.rint(np.asarray(log) * OCTAVE / math.log(2)).astype(np.int64)


def _exponent(value: torch.Tensor) -> int:
    """In the units of `PartPriors`."""
    return int(np.clip(np.rint((1 << EXPONENT_BITS) * value.item()), 0, 255))


def _remember(groups: Groups, errors: np.ndarray, mask: np.ndarray, hold: int) -> _Memory:
    """The coder's memory, from prediction errors [T, n] of the frames of `mask`; holds values as the coder does."""
    start = np.maximum(np.abs(errors).mean(0), 1 / STEP)  # a component may never have moved
    learned, held = np.zeros_like(groups.x), np.diff(groups.x, axis=1, prepend=groups.x[:, :1])
    learned[mask] = errors
    learned_run = _running(np.abs(learned), start, _slow)
    held_run = _running(np.abs(held), HOLD_START * start, _slow)
    is_held = HOLD_UNIT * held_run < hold * learned_run
    taken = np.where(is_held, held, learned)
    recent = _running(np.abs(taken), start, lambda _: _share(ACTIVITY_GAIN))
    expected = np.where(is_held, held_run, learned_run) + _FLOOR
    return _Memory(start, taken[mask], expected[mask], recent[mask])


class _Regression:
    """Regression of one part's changes on the coder's state, over all frames or those of some people."""

    def __init__(self, groups: Groups) -> None:
        change, last, deviation = _features(groups.x)
        self.size = float(np.abs(change).mean())
        activity = _running(np.abs(change).mean(2, keepdims=True), np.array([self.size]), lambda _: 0.3)
        self._activity = activity + 0.2 * self.size
        self.order = _order((change / self._activity)[groups.moving()])
        self.n = len(self.order)
        self._table = np.concatenate([array[..., self.order] for array in (change, last, deviation)], -1)

    def weights(self, mask: np.ndarray, ridges: tuple[float, float], spread: np.ndarray | None = None) -> np.ndarray:
        """[n, 3n] over changes, previous changes, deviations; errors relative to `spread` [T, n], or to activity."""
        n, rows = self.n, self._table[mask].astype(np.float32)
        result, gram = np.zeros((n, 3 * n)), np.zeros(0)
        for i in range(n):
            if spread is not None or not i:
                scale = 1 / (self._activity[mask] if spread is None else spread[:, i : i + 1])
                weighted = rows * scale.astype(np.float32)
                gram = (weighted.T @ weighted).astype(np.float64)
            ridge = np.full(3 * n, ridges[1])
            ridge[:n] = ridges[0]
            ridge[[n + i, 2 * n + i]] = 30
            result[i] = _solve(gram, i, [*range(i), *range(n, 3 * n)], ridge)
        return result

    def errors(self, mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Prediction errors [T, n]."""
        rows = self._table[mask]
        return rows[:, : self.n] - rows @ weights.T


def fit_part(
    tracks: Sequence[Track], part: str, note: Callable[[str], None] = print, effort: float = 1.0
) -> PartPriors:
    """Priors of one part; `effort` scales the number of optimizer steps."""
    groups = Groups(tracks, part)
    regression = _Regression(groups)
    groups.x = groups.x[..., regression.order]
    ridges, hold = _choose(groups, regression, note, round(60 * effort))
    mask = groups.moving()
    note(f"{part}: {mask.sum()} frames in {len(groups.x)} groups; ridges {ridges}, hold {hold}/64")
    errors = regression.errors(mask, regression.weights(mask, ridges))
    distribution = _ErrorDistribution()
    memory = _remember(groups, errors, mask, 0)
    spreads = _Spreads(memory)
    weights = regression.weights(mask, ridges, spreads.spread(*spreads.fit(distribution, False, round(120 * effort))))
    memory = _remember(groups, regression.errors(mask, weights), mask, hold)
    constants, exponents = _Spreads(memory).fit(distribution, False, round(300 * effort))
    mean, key_weights, key_errors = _fit_key(groups)
    key_size = np.maximum(np.abs(key_errors).mean(0), 1 / STEP)
    key = _Spreads(_Memory(key_size, key_errors, np.broadcast_to(key_size, key_errors.shape), np.abs(key_errors)))
    key_constant, key_exponents = key.fit(distribution, True, round(150 * effort))
    whole, n = np.rint(weights * STEP).astype(np.int64), regression.n
    return PartPriors(
        order=regression.order,
        mean=np.clip(mean * (1 << 16 - USUAL_BITS[part]), 0, 65535).astype(np.int64),
        key_weights=np.rint(key_weights * STEP).astype(np.int64),
        key_error=np.rint(key_size * STEP).astype(np.int64),
        now_weights=whole[:, :n],
        last_weights=whole[:, n : 2 * n],
        mean_weights=whole[:, 2 * n :],
        error=np.rint(memory.start * STEP).astype(np.int64),
        spread=_octaves(constants.numpy() + (1 - exponents[0].item()) * math.log(STEP)),
        key_spread_offset=int(np.clip(_octaves(key_constant.numpy())[0], -128, 127)),
        error_exponent=_exponent(exponents[0]),
        recent_activity_exponent=_exponent(exponents[1]),
        frame_activity_exponent=_exponent(exponents[2]),
        key_activity_exponent=_exponent(key_exponents[2]),
        hold_threshold=hold,
        shape=distribution.table(),
    )


def _choose(
    groups: Groups, regression: _Regression, note: Callable[[str], None], steps: int
) -> tuple[tuple[float, float], int]:
    """Ridges and hold by the number of bits of people who were held out of the regression."""
    train, test = groups.moving(False), groups.moving(True)
    best = (math.inf, _RIDGES[0], 0)
    for ridges in _RIDGES:
        errors = regression.errors(test, regression.weights(train, ridges))
        for hold in _HOLDS:
            spreads, distribution = _Spreads(_remember(groups, errors, test, hold)), _ErrorDistribution()
            bits = spreads.bits(distribution, *spreads.fit(distribution, False, steps))
            note(f"  ridges {ridges}, hold {hold}/64: {bits * regression.n:.1f} bits for a frame of people held out")
            best = min(best, (bits, ridges, hold))
    return best[1], best[2]


def _fit_key(groups: Groups) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [n], weights [n, n] and errors [T, n] of keyframes: any frame may be one, so every tenth is taken."""
    mask = groups.real & (np.arange(GROUP) % 10 == 0)
    rows, n = groups.x[mask], groups.x.shape[2]
    held_out = np.broadcast_to(groups.held_out[:, None], mask.shape)[mask]
    mean = np.rint(rows.mean(0))
    table = rows - mean
    variance = table.var(0).mean()

    def fit(of: np.ndarray, ridge: float) -> np.ndarray:
        gram = of.T @ of
        ridges = np.full(n, ridge * variance)
        return np.stack([_solve(gram, i, [*range(i)], ridges) for i in range(n)])

    def cost(ridge: float) -> float:
        weights = fit(table[~held_out], ridge)
        return _proxy(table[held_out] - table[held_out] @ weights.T)

    weights = fit(table, min((0.3, 3.0, 30.0, 300.0), key=cost))
    return mean, weights, table - table @ weights.T


def fit_priors(tracks: Sequence[Track], coefficients: Sequence[Track], note: Callable[[str], None] = print) -> bytes:
    """The bytes of `codec/motion/priors.bin`; `coefficients`: tracks of the part `shape` (`training.tables.shape`)."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return pack(
        {part: fit_part(tracks, part, note) for part in PART_SHAPES} | {"shape": fit_part(coefficients, "shape", note)}
    )
