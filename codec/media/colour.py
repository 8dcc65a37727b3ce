"""Decoded frames -> full-range 8-bit RGB as a BT.709 display shows it, whatever matrix, range, transfer and primaries.

The signal of high dynamic range (PQ and HLG of BT.2100) is turned into the light of a display, as a share of the
reference white of 203 cd/m2 (BT.2408); the primaries become those of BT.709; highlights are compressed; and the inverse
of the display's curve (BT.1886, exponent 2.4) gives the signal again. So a picture that stays below reference white
looks as it would have in BT.709. Frames of standard range with wide primaries go the same way, without compression of
highlights.

    frame -> swscale: matrix, range, size -> R'G'B' 16 bits -> light -> BT.709 primaries -> highlights -> R'G'B' 8 bits

Other frames, which is nearly all, go straight from swscale to 8 bits. BT.601's primaries differ so little from BT.709's
that they are taken as the same, as players do.
"""

from __future__ import annotations

from functools import cache

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from fvc.codec.base.errors import InputError

# One thread and no platform-specific shortcuts: the same file gives the same pixels everywhere.
SWS = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
# AVColorSpace, as the file tags it (ITU-T H.273, table 4), to the matrix that swscale should use.
_MATRIX = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_DEEP = "gbrp16le"  # with the flags above, swscale gives wrong colours in rgb48le
_UNSPECIFIED = 2  # of all three tags
_PQ, _HLG = 16, 18  # AVColorTransferCharacteristic (H.273, table 3)
_BT709, _BT2020, _DCI_P3, _DISPLAY_P3 = 1, 9, 11, 12  # AVColorPrimaries (H.273, table 2)
_D65 = (0.3127, 0.3290)
# x and y of red, green, blue and white
_CHROMATICITIES = {
    _BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    _BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    _DCI_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    _DISPLAY_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_REFERENCE_WHITE = 203.0  # cd/m2 (BT.2408, 2.1)
_PQ_PEAK, _HLG_PEAK = 10_000.0, 1_000.0  # cd/m2: of the PQ signal 1, of the display for which HLG is rendered
_HLG_GAMMA = 1.2  # of the system, for a display of 1000 cd/m2 (BT.2100, table 5)
_HLG_LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]], np.float32)  # of red, green, blue (BT.2100, table 5)
_DISPLAY_EXPONENT = 2.4  # BT.1886
_KNEE = 0.8  # share of reference white from which on highlights are compressed


def to_rgb(reformatter: VideoReformatter, frame: av.VideoFrame, width: int, height: int, name: str) -> np.ndarray:
    """The pixels of a frame, scaled to `width` x `height`, as full-range BT.709 uint8 [height, width, 3].

    Raises:
        InputError: swscale cannot convert the frame's pixel format; `name` is the file's, for the message.
    """
    matrix = None
    if not frame.format.is_rgb:  # untagged: HD is taken for BT.709 and the rest for BT.601, as players do
        is_hd = frame.width >= 1280 or frame.height > 576
        matrix = _MATRIX.get(frame.colorspace, Colorspace.ITU709 if is_hd else Colorspace.ITU601)
    transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
    is_hdr = transfer in (_PQ, _HLG)
    if is_hdr and primaries == _UNSPECIFIED:
        primaries = _BT2020
    is_converted = is_hdr or primaries in (_BT2020, _DCI_P3, _DISPLAY_P3)
    try:
        pixels = reformatter.reformat(
            frame,
            width,
            height,
            _DEEP if is_converted else "rgb24",
            src_colorspace=matrix,
            dst_color_range=ColorRange.JPEG,
            interpolation=SWS,
            threads=1,
        ).to_ndarray()
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{name}: its pixel format {frame.format.name} cannot be converted") from error
    return to_bt709(pixels, transfer, primaries) if is_converted else pixels


def to_bt709(pixels: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """A picture of any transfer and primaries as a BT.709 display shows it.

    Args:
        pixels: uint16 [H, W, 3], full-range R'G'B'.
        transfer, primaries: code points of ITU-T H.273; transfers other than PQ and HLG count as BT.1886, unknown
            primaries as those of BT.709.

    Returns:
        uint8 [H, W, 3], full-range R'G'B'.
    """
    light = _light_of(transfer)[pixels]
    if transfer == _HLG:  # the opto-optical transfer function: the scene's light becomes that of the display
        luminance = np.maximum(cv2.transform(light, _HLG_LUMINANCE), np.float32(1e-9))
        light *= (_HLG_PEAK / _REFERENCE_WHITE * cv2.pow(luminance, _HLG_GAMMA - 1))[..., None]
    light = cv2.transform(light, _matrix_to_bt709(primaries))
    if transfer in (_PQ, _HLG):
        brightest = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])
        at = np.nonzero(brightest > _KNEE)
        above = (brightest[at] - _KNEE) / (1 - _KNEE)
        light[at] *= ((_KNEE + (1 - _KNEE) * (1 - np.exp(-above))) / brightest[at])[:, None]
    light *= 65535  # truncated below: a step of light is a fraction of a level
    return _signal()[np.clip(light, 0, 65535, out=light).astype(np.uint16)]


@cache
def _light_of(transfer: int) -> np.ndarray:
    """float32 [65536]: light for each 16-bit signal; HLG: of the scene, others: of the display, whose white is 1."""
    signal = np.arange(65536) / 65535
    if transfer == _PQ:  # BT.2100, table 4
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = signal ** (1 / m2)
        light = _PQ_PEAK / _REFERENCE_WHITE * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    elif transfer == _HLG:  # BT.2100, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = signal**_DISPLAY_EXPONENT
    return light.astype(np.float32)


@cache
def _signal() -> np.ndarray:
    """uint8 [65536]: the 8-bit BT.709 signal for light of n / 65535."""
    return np.rint((np.arange(65536) / 65535) ** (1 / _DISPLAY_EXPONENT) * 255).astype(np.uint8)


@cache
def _matrix_to_bt709(primaries: int) -> np.ndarray:
    """float32 [3, 3]: linear RGB of these primaries -> linear RGB of BT.709, white to white (Bradford)."""
    source = _CHROMATICITIES.get(primaries, _CHROMATICITIES[_BT709])
    target = _CHROMATICITIES[_BT709]
    responses = [_BRADFORD @ _xyz(white) for white in (source[3], target[3])]
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(responses[1] / responses[0]) @ _BRADFORD
    return (np.linalg.inv(_rgb_to_xyz(target)) @ adaptation @ _rgb_to_xyz(source)).astype(np.float32)


def _xyz(chromaticity: tuple[float, float]) -> np.ndarray:
    x, y = chromaticity
    return np.array([x / y, 1, (1 - x - y) / y])


def _rgb_to_xyz(chromaticities: tuple[tuple[float, float], ...]) -> np.ndarray:
    """[3, 3]: linear RGB -> XYZ, so that RGB (1, 1, 1) is white (SMPTE RP 177)."""
    *primaries, white = map(_xyz, chromaticities)
    columns = np.stack(primaries, axis=1)
    return columns * np.linalg.solve(columns, white)
