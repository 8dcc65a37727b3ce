"""The metrics, one entry each: what a metric measures, how its values are shown, and where reports use it.

To add a metric, write

1. its entry in `_ENTRIES` below, and
2. its computation: a function of a pair of pictures in `frame_metrics`, one of two whole clips in `face_metrics`, or a
   filter of ffmpeg in `video_metrics`.

Everything else reads the catalog: results.json and results.csv, tables, plots, headings and explanations.
"""

from __future__ import annotations

from dataclasses import dataclass

_NBSP = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Metric:
    """One metric of drawn pictures against the input. A clip's value is a mean over its frames.

    Attributes:
        name: key in results.json, column of results.csv.
        label: what running text and column headings call it.
        text: what is measured, and in which unit; a phrase without a full stop.
        unit: unit in column headings; empty for plain ratios.
        decimals: digits after the point.
        scale: value as shown over value as stored, e.g. 100 for a share that is shown in percent.
        higher_is_better: whether a higher value means better pictures.
        network: the folder of the network that it needs (see `instruments`); empty: none.
        package: the Python module beyond fvc's own dependencies that it needs; empty: none.
        filter: ffmpeg's filter that computes it (see `video_metrics`); empty: none.
        is_optional: whether reports leave it out without a word where its network is absent.
        is_main: whether it is in the main tables; other metrics are in a table below them.
        is_plotted: whether `fvc evaluate` draws bars of it.
        is_compared: whether `fvc measure` compares codecs by it: rate at equal quality, BD-rate, plots of rate against
            quality. The first of these that was measured is in the headline.
    """

    name: str
    label: str
    text: str
    unit: str = ""
    decimals: int = 3
    scale: float = 1.0
    higher_is_better: bool = False
    network: str = ""
    package: str = ""
    filter: str = ""
    is_optional: bool = False
    is_main: bool = False
    is_plotted: bool = False
    is_compared: bool = False

    @property
    def heading(self) -> str:
        """Column heading with unit and the better direction, "PSNR, dB ↑"."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.label}{unit}{_NBSP}{'↑' if self.higher_is_better else '↓'}"

    def shown(self, value: float | None, stderr: float | None = None) -> str:
        """A value as reports show it, with its standard error where there is one; a dash for None."""
        if value is None:
            return "\N{EN DASH}"
        spread = "" if stderr is None else f" ±{_NBSP}{stderr * self.scale:.{self.decimals}f}"
        return f"{value * self.scale:.{self.decimals}f}{spread}"


MAX_PSNR = 100.0  # dB, of identical frames, as in libaom's statistics

# In the order of tables: what a viewer notices comes first, second opinions come last.
_ENTRIES = (
    Metric(
        "lpips",
        "LPIPS",
        "LPIPS v0.1, SqueezeNet",
        network="lpips_squeeze",
        is_main=True,
        is_plotted=True,
        is_compared=True,
    ),
    Metric(
        "nme",
        "NME",
        "mean distance of the 33 sup landmarks over the distance of the outer eye corners, sender's tracker",
        decimals=4,
        is_main=True,
        is_plotted=True,
        is_compared=True,
    ),
    Metric(
        "csim",
        "CSIM",
        "cosine of face-recognition embeddings, MobileFaceNet y1 (MS1M)",
        higher_is_better=True,
        network="mobilefacenet_y1",
        is_main=True,
        is_plotted=True,
    ),
    Metric(
        "expr",
        "Expr",
        "1 - mean absolute difference of 52 blendshapes, MediaPipe face landmarker",
        higher_is_better=True,
        network="face_landmarker",
        is_main=True,
        is_plotted=True,
    ),
    Metric(
        "pose_deg",
        "pose error",
        "head pose: mean absolute error of yaw, pitch and roll, degrees",
        unit="°",
        decimals=1,
        is_main=True,
    ),
    Metric("mouth", "mouth error", "mean absolute error of inner lip gap over outer eye distance", is_main=True),
    Metric(
        "mouth_lpips",
        "mouth LPIPS",
        "LPIPS v0.1, SqueezeNet, of the square around the lips, enlarged to 64x64",
        network="lpips_squeeze",
        is_main=True,
    ),
    Metric(
        "mouth_lpips_wide",
        "wide mouth LPIPS",
        "the same, of the tenth of the frames whose mouths are open most",
        network="lpips_squeeze",
    ),
    Metric(
        "mouth_opening",
        "mouth opening",
        "drawn lip gap over the input's, mean over the tenth of the frames whose mouths are open most; 1 is right",
        higher_is_better=True,
    ),
    Metric("eyes", "eye error", "mean absolute error of lid gap over outer eye distance, both eyes", is_main=True),
    Metric(
        "flicker",
        "flicker",
        "mean absolute difference of the frame differences, in levels 0..255",
        unit="levels",
        decimals=2,
        is_main=True,
        is_plotted=True,
    ),
    Metric(
        "jumps",
        "jumps",
        "share of frames in which a block of 32x32 pixels changes by 12 levels or more although it is static in the"
        " input (changes by less than 4)",
        unit="%",
        decimals=1,
        scale=100.0,
        is_main=True,
    ),
    Metric(
        "lost",
        "face lost",
        "share of frames whose drawing shows no face to the tracker",
        unit="%",
        decimals=1,
        scale=100.0,
        is_main=True,
    ),
    Metric(
        "psnr",
        "PSNR",
        f"PSNR of RGB, dB; {MAX_PSNR:g} for identical frames",
        unit="dB",
        decimals=1,
        higher_is_better=True,
        is_main=True,
    ),
    Metric(
        "ssim",
        "SSIM",
        "SSIM of luma (Gaussian window, sigma 1.5)",
        higher_is_better=True,
        package="skimage",
        is_main=True,
    ),
    Metric(
        "vmaf",
        "VMAF",
        "VMAF v0.6.1, 0 to 100; made for large television pictures",
        decimals=1,
        higher_is_better=True,
        filter="libvmaf",
        is_main=True,
        is_compared=True,
    ),
    Metric(
        "xpsnr",
        "XPSNR",
        f"XPSNR of luma, dB, at most {MAX_PSNR:g}",
        unit="dB",
        decimals=1,
        higher_is_better=True,
        filter="xpsnr",
        is_main=True,
        is_compared=True,
    ),
    Metric("lpips_alex", "LPIPS alex", "LPIPS v0.1, AlexNet", network="lpips_alex", is_optional=True),
    Metric("lpips_vgg", "LPIPS vgg", "LPIPS v0.1, VGG-16", network="lpips_vgg", is_optional=True),
    Metric(
        "nme_landmarker",
        "NME landmarker",
        "as NME, but by MediaPipe face landmarker on each frame by itself",
        decimals=4,
        network="face_landmarker",
    ),
    Metric("yaw_deg", "yaw error", "yaw alone, degrees", unit="°", decimals=1),
    Metric("pitch_deg", "pitch error", "pitch alone, degrees", unit="°", decimals=1),
    Metric("roll_deg", "roll error", "roll alone, degrees", unit="°", decimals=1),
    Metric(
        "csim_casia",
        "CSIM casia",
        "as CSIM, but by MobileFaceNet (CASIA-WebFace)",
        higher_is_better=True,
        network="mobilefacenet_casia",
    ),
    Metric(
        "expr_au",
        "Expr AU",
        "1 - mean absolute difference of 17 action-unit intensities / 5, OpenFace",
        higher_is_better=True,
        network="openface_au",
    ),
)

CATALOG: dict[str, Metric] = {metric.name: metric for metric in _ENTRIES}


def main_metrics() -> tuple[str, ...]:
    """Names of the metrics in the main tables, in order."""
    return tuple(name for name, metric in CATALOG.items() if metric.is_main)


def further_metrics() -> tuple[str, ...]:
    """Names of all other metrics, in order."""
    return tuple(name for name, metric in CATALOG.items() if not metric.is_main)


def plotted_metrics() -> tuple[str, ...]:
    """Names of the metrics that `fvc evaluate` plots, in order."""
    return tuple(name for name, metric in CATALOG.items() if metric.is_plotted)


def compared_metrics() -> tuple[str, ...]:
    """Names of the metrics that codecs are compared by, the leading one first."""
    return tuple(name for name, metric in CATALOG.items() if metric.is_compared)
