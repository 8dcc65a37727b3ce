"""The paper's tables as data: rows, figures, and the system that stands for each row here.

Oquab et al., "Efficient conditioned face animation using frontally-viewed embedding", CVPRW 2022. Figures are copied as
printed: mean, and standard error where one is given. Table 6 prints standard deviations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fvc.evaluation.presets.result import LARGE_ROTATIONS

LPIPS, NME, CSIM, EXPR, BITS = "lpips", "nme", "csim", "expr", "bits_per_frame"
KBPS = "kbps"  # of BITS at the paper's frame rate
RATE = 15  # frames per second
Figure = tuple[float, float | None]  # mean, standard error
SAMPLES = 3_200_000  # of a training run: 100,000 steps of 32


@dataclass(frozen=True)
class PaperSet:
    """A test set of the paper, and the group of clips that takes its place here (`presets.result.GROUPS`)."""

    name: str
    group: str


ROTATIONS = PaperSet("DFDC-rotations", "rotations")
LARGE = PaperSet(ROTATIONS.name, LARGE_ROTATIONS)  # by the set's own rule
VOXCELEB = PaperSet("VoxCeleb", "frontal")  # "contains only little rotations"
DFDC_50 = PaperSet("DFDC-50", "all")
DFDC = PaperSet("DFDC val", "all")


@dataclass(frozen=True)
class PaperRow:
    """One row.

    Attributes:
        name: as printed.
        systems: `preset:profile` of the systems that may stand for it here, the best first.
        sources: source pictures at inference.
        figures: the paper's, by set and metric.
        note: what differs here.
    """

    name: str
    systems: tuple[str, ...]
    sources: int
    figures: Mapping[PaperSet, Mapping[str, Figure]]
    note: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table: its caption in a few words, sets, metrics and rows; order: the pairs of rows that its text compares.

    A claim (better, worse, metric, set) says that the row `better` is better than `worse`.
    """

    number: int
    title: str
    sets: tuple[PaperSet, ...]
    metrics: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    claims: tuple[tuple[int, int, str, PaperSet], ...] = ()


def _figures(metrics: tuple[str, ...], sets: tuple[PaperSet, ...], values: str) -> dict[PaperSet, dict[str, Figure]]:
    """Reads values such as "0.136±0.004 0.784", all metrics of the first set, then those of the next."""
    found = iter(values.split())

    def figure() -> Figure:
        mean, _, error = next(found).partition("±")
        return float(mean), float(error) if error else None

    return {each: {metric: figure() for metric in metrics} for each in sets}


_ALL, _BOTH = (LPIPS, NME, CSIM, EXPR), (ROTATIONS, VOXCELEB)


def _row(name: str, system: str, sources: int, values: str, note: str = "") -> PaperRow:
    return PaperRow(name, tuple(system.split()), sources, _figures(_ALL, _BOTH, values), note)


_DENSE = (
    _row(
        "FOM adv",
        "fom:unsup+jac",
        1,
        "0.136±0.004 1.108±0.176 0.784±0.008 0.854±0.008 0.118±0.003 0.247±0.007 0.826±0.008 0.915±0.003",
    ),
    _row(
        "Frontalizer sup",
        "frontalizer:sup",
        3,
        "0.132±0.002 0.496±0.034 0.793±0.005 0.879±0.005 0.171±0.004 0.269±0.004 0.789±0.005 0.897±0.004",
    ),
    _row(
        "Frontalizer sup+unsup",
        "frontalizer:sup+unsup",
        3,
        "0.113±0.002 0.469±0.029 0.799±0.005 0.881±0.005 0.151±0.003 0.255±0.004 0.791±0.005 0.896±0.004",
    ),
    _row(
        "Frontalizer sup+unsup + free expr",
        "frontalizer:sup+unsup+expr",
        3,
        "0.113±0.002 0.467±0.030 0.789±0.005 0.897±0.004 0.140±0.003 0.256±0.003 0.781±0.005 0.910±0.004",
    ),
    _row(
        "Frontalizer sup+unsup, new sampling",
        "frontalizer-new-sampling:sup+unsup",
        3,
        "0.088±0.002 0.425±0.027 0.850±0.004 0.902±0.004 0.116±0.002 0.237±0.002 0.837±0.002 0.915±0.002",
    ),
)
_MOBILE_S_U = (
    "0.148±0.003 0.585±0.044 0.723±0.006 0.865±0.005 0.165±0.002 0.275±0.003 0.747±0.003 0.893±0.002"  # in two tables
)
_MOBILE = (
    _row(
        "FOM-Mobile",
        "fom-mobile:unsup+jac",
        1,
        "0.187±0.004 1.122±0.105 0.722±0.005 0.790±0.006 0.197±0.002 0.519±0.007 0.717±0.004 0.837±0.003",
    ),
    _row(
        "Ours (sup)",
        "frontalizer-mobile:sup",
        3,
        "0.172±0.003 0.632±0.062 0.710±0.006 0.866±0.005 0.184±0.002 0.288±0.003 0.736±0.003 0.890±0.002",
    ),
    _row("Ours (sup+unsup)", "frontalizer-mobile:sup+unsup", 3, _MOBILE_S_U),
    _row(
        "Ours (sup+unsup)*: new sampling, SPADE",
        "frontalizer-mobile-spade:sup+unsup",
        3,
        "0.142±0.003 0.493±0.035 0.793±0.005 0.851±0.005 0.175±0.002 0.250±0.003 0.799±0.003 0.883±0.002",
    ),
)


def _short(name: str, system: str, sources: int, metrics: tuple[str, ...], values: str, note: str = "") -> PaperRow:
    return PaperRow(name, tuple(system.split()), sources, _figures(metrics, (DFDC_50,), values), note)


_TABLE_2, _TABLE_5 = (LPIPS, CSIM, EXPR), (LPIPS, NME, CSIM)
_UNITS = "action units measured on landmarks stand for f_E"
_EXPRESSION = (
    _short("FOM", "fom:unsup+jac", 1, _TABLE_2, "0.115 0.841 0.934"),
    _short("FOM + FAU loss", "fom-fau:unsup+jac", 1, _TABLE_2, "0.119 0.822 0.926"),
    _short("FOM + DM expr cond.", "fom-dm-expr:unsup+jac+expr", 1, _TABLE_2, "0.117 0.833 0.951", _UNITS),
    _short("FOM + Dec expr cond.", "fom-dec-expr:unsup+jac+expr", 1, _TABLE_2, "0.118 0.834 0.964", _UNITS),
    _short("FOM + light Dec expr cond.", "fom-light-expr:unsup+jac+expr", 1, _TABLE_2, "0.118 0.834 0.939", _UNITS),
    _short("FOM + light Dec free cond.", "fom-light-free:unsup+jac+expr", 1, _TABLE_2, "0.116 0.834 0.949"),
)
_DENSE_OURS, _MOBILE_OURS = "frontalizer-new-sampling:sup+unsup frontalizer:sup+unsup", "frontalizer-mobile:sup+unsup"
_OTHERS = (
    _short("FOM", "fom:unsup+jac", 1, _TABLE_5, "0.116 0.375 0.817"),
    _short("FOM mult", "fom:unsup+jac", 3, _TABLE_5, "0.092 0.318 0.851"),
    _short("NTH", "nth:sup", 8, _TABLE_5, "0.147 0.288 0.785", "not fine-tuned on each clip"),
    _short("Ours dense", _DENSE_OURS, 3, _TABLE_5, "0.102 0.259 0.864"),
    _short("Hybrid-SPADE", "hybrid-spade:sup+unsup", 1, _TABLE_5, "0.166 0.312 0.801", "256 instead of 128 pixels"),
    _short("Ours mobile", _MOBILE_OURS, 3, _TABLE_5, "0.149 0.285 0.821"),
)


def _bits(name: str, system: str, sources: int, kbps: float, bits: float | None = None, note: str = "") -> PaperRow:
    figures = {KBPS: (kbps, None)} | ({} if bits is None else {BITS: (bits, None)})
    return PaperRow(name, tuple(system.split()), sources, {DFDC: figures}, note)


_JACOBIANS = (
    _row(
        "Frontalizer sup+unsup + free expr with Jacobians",
        "frontalizer-jac:sup+unsup+jac+expr",
        3,
        "0.113±0.03 0.467±0.38 0.789±0.06 0.897±0.05 0.140±0.04 0.256±0.04 0.781±0.06 0.910±0.05",
    ),
    _row(
        "Frontalizer sup+unsup + free expr, no Jacobians",
        "frontalizer:sup+unsup+expr",
        3,
        "0.115±0.03 0.463±0.42 0.787±0.06 0.894±0.05 0.147±0.04 0.247±0.04 0.779±0.06 0.909±0.04",
    ),
)
_MOBILE_EXPRESSION = (
    _row("Ours (sup+unsup)", _MOBILE_OURS, 3, _MOBILE_S_U),
    _row(
        "Ours (sup+unsup+expr)",
        "frontalizer-mobile:sup+unsup+expr",
        3,
        "0.151±0.003 0.565±0.044 0.718±0.006 0.865±0.005 0.167±0.002 0.273±0.003 0.748±0.003 0.886±0.002",
    ),
)
TABLES: dict[int, PaperTable] = {
    table.number: table
    for table in (
        PaperTable(
            1,
            "Quality of dense models",
            _BOTH,
            _ALL,
            _DENSE,
            (
                (1, 0, LPIPS, ROTATIONS),
                (1, 0, NME, ROTATIONS),
                (2, 1, LPIPS, ROTATIONS),
                (3, 2, EXPR, ROTATIONS),
                (4, 2, LPIPS, ROTATIONS),
                (4, 0, LPIPS, VOXCELEB),
                (0, 1, LPIPS, VOXCELEB),
            ),
        ),
        PaperTable(
            2,
            "Expression conditioning",
            (DFDC_50,),
            _TABLE_2,
            _EXPRESSION,
            ((3, 2, EXPR, DFDC_50), (3, 0, EXPR, DFDC_50), (5, 0, EXPR, DFDC_50), (0, 1, EXPR, DFDC_50)),
        ),
        PaperTable(
            3,
            "Quality of mobile models",
            _BOTH,
            _ALL,
            _MOBILE,
            (
                (1, 0, LPIPS, ROTATIONS),
                (1, 0, NME, VOXCELEB),
                (2, 1, LPIPS, ROTATIONS),
                (3, 2, CSIM, ROTATIONS),
                (3, 2, NME, ROTATIONS),
            ),
        ),
        PaperTable(
            4,
            "Frame size",
            (DFDC,),
            (BITS, KBPS),
            (
                _bits("FOM (Unsup+Jac.)", "fom:unsup+jac fom-mobile:unsup+jac", 1, 6.4, 426),
                _bits("Ours (Sup)", "frontalizer-mobile:sup", 3, 4.0, 264),
                _bits("Ours (Sup+Unsup)", "frontalizer-mobile:sup+unsup", 3, 6.3, 418),
                _bits("Ours (Sup+Unsup+Expr)", "frontalizer-mobile:sup+unsup+expr", 3, 6.5, 433),
                _bits("Ours (Sup+Unsup)*", "frontalizer-mobile-spade:sup+unsup", 3, 10.7, note="section 4.2"),
            ),
            ((1, 0, BITS, DFDC), (1, 2, BITS, DFDC), (2, 3, BITS, DFDC)),
        ),
        PaperTable(
            5,
            "Comparison with other methods",
            (DFDC_50,),
            _TABLE_5,
            _OTHERS,
            (
                (1, 0, LPIPS, DFDC_50),
                (3, 0, NME, DFDC_50),
                (3, 2, CSIM, DFDC_50),
                (3, 0, LPIPS, DFDC_50),
                (5, 4, LPIPS, DFDC_50),
            ),
        ),
        PaperTable(6, "Jacobians in the dense model", _BOTH, _ALL, _JACOBIANS, ()),
        PaperTable(7, "Expressions in the mobile model", _BOTH, _ALL, _MOBILE_EXPRESSION, ((0, 1, LPIPS, ROTATIONS),)),
    )
}
