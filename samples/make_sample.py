"""Make samples/astronaut.mp4: ten seconds of a "talking" person for the demo, the README and the tests.

The picture is scikit-image's `skimage.data.astronaut()` (NASA's portrait of Eileen Collins, public domain), turned
into a video here: the head becomes a 3D tube mesh whose front has the depth of MediaPipe's landmarks; lids, gaze,
brows, lips and jaw are warped in the picture, which is then drawn on the turning mesh over a background with the head
painted out. The voice is nonsense syllables (glottal pulses through formant filters), and the mouth follows the same
table. Nobody was recorded. Image: public domain; this clip: CC0.

    pip install "fvc[samples]"
    python samples/make_sample.py [--out samples/astronaut.mp4]
"""

import argparse
from pathlib import Path

import av
import cv2
import mediapipe as mp
import numpy as np
from scipy.interpolate import PchipInterpolator, RBFInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter
from skimage.data import astronaut

Array = np.ndarray
FPS, SECONDS, SIZE, RATE, CONTROL = 30, 10, 480, 48000, 500  # CONTROL: speech control points per second
CROP = (57.0, -28.0, 340.0)  # left, top and side of the square of the picture that the clip shows
TEX, SUPER = 3, 2  # texture samples per picture pixel; supersampling of the drawing
FACE = (168, 66, 284, 208)  # left, top, right, bottom of the part that expressions move
PIVOT, FOCAL = (227.0, 150.0, 58.0), 1100.0

# Curves traced by hand, in picture pixels. The head's outline: row, left end, right end.
OUTLINE = np.array(
    [
        (15.7, 228, 234),
        (18, 218, 244),
        (20, 211, 250),
        (23, 203, 256),
        (27, 197, 266),
        (30, 192, 271.5),
        (34, 188, 278),
        (38, 180, 284),
        (42, 173, 288),
        (50, 163, 293),
        (60, 155.3, 297.5),
        (66, 153.5, 298.8),
        (72, 153, 299.8),
        (86, 154.3, 301.5),
        (96, 155, 300.3),
        (102, 157, 298.5),
        (108, 161, 296.3),
        (113, 165, 294),
        (119, 170, 289.6),
        (122, 171, 287),
        (126, 173.5, 283),
        (130, 178, 279.3),
        (133, 182, 276.5),
        (137, 182.3, 270),
        (140, 182.5, 267),
        (150, 185, 264),
        (160, 185.8, 258),
        (172, 186.3, 255),
        (226, 187, 252),
    ]
)
# Edges of the upper and of the lower lip; upper lid, lower lid and iris of each eye: columns, rows.
LIPS = (
    (
        (202.7, 205.7, 208.2, 211, 214.3, 218, 222.5, 226, 230.7, 235, 238, 241, 244.8),
        (139.4, 140.5, 141.4, 142, 142.7, 143.4, 143.8, 143.6, 143, 142.4, 141.7, 141, 140.8),
    ),
    (
        (202.7, 205.7, 208.2, 211.4, 214.3, 217.9, 222.9, 227.1, 231.4, 235, 238.6, 241.4, 244.8),
        (139.4, 142.9, 145.1, 147.1, 148.4, 149.3, 149.6, 149.4, 148.7, 147.4, 145.7, 143.9, 140.8),
    ),
)
EYES = (
    (
        ((196.1, 197.8, 199.8, 203.3, 207.1, 209.4, 211.1, 213.4), (101.2, 99.4, 98.6, 98, 98.9, 100.6, 102.3, 103.8)),
        ((196.1, 197.2, 199.5, 202.4, 208.2, 211.1, 213.4), (101.2, 102.3, 103.5, 104.5, 104.3, 104.1, 103.8)),
        203.6,
    ),
    (
        ((236.5, 238.2, 240.5, 243, 246.3, 249.8, 252.6, 256.4), (105.2, 103.2, 101.7, 100.7, 100, 100.5, 102, 104.6)),
        ((236.5, 239.9, 242.8, 246.9, 250.3, 253.2, 256.4), (105.2, 106.1, 106.5, 106.8, 106.7, 105.9, 104.6)),
        246.7,
    ),
)
# The performance, in seconds. The true yaw has keys; of the others: when they peak, and the peak.
YAW = PchipInterpolator(
    *np.transpose(
        (
            (0, 0),
            (0.6, 0),
            (1.5, -0.40),
            (2.1, -0.38),
            (3.1, 0.1),
            (3.5, 0.12),
            (4.5, 0.71),
            (5.1, 0.70),
            (6.5, -0.79),
            (7.1, -0.77),
            (8.2, 0.2),
            (8.7, 0.16),
            (9.6, 0),
            (11, 0),
        )
    )
)
NODS = {2.2: 0.13, 3.25: 0.14, 4.6: -0.08, 5.7: 0.08, 7.5: 0.12, 8.35: 0.14}
BROWS = {1.2: 2.6, 3.9: 3.0, 7.5: 3.0, 9.1: 1.6}
GLANCES = {0.95: -1.4, 3.85: 1.6, 5.55: -1.5, 9.0: 1.1}
BLINKS = {0.55: 1, 2.35: 1, 3.55: 1, 5.35: 1, 7.25: 1, 9.15: 1}
# Speech: when a phrase begins, and its syllables, each a consonant and a vowel.
PHRASES = {
    0.45: "he lo",
    1.15: "ma ne mi so la",
    2.75: "wi ta",
    3.5: "ko pa bi na fu mo",
    5.25: "sa le",
    6.0: "do ba ki ma",
    7.35: "te wo",
    8.1: "ha mi lu pa so na",
}
VOWELS = {  # formants in Hz, mouth opening, rounding
    "a": (850, 1350, 2800, 1, 0),
    "e": (600, 2100, 2900, 0.6, -0.15),
    "i": (330, 2650, 3250, 0.3, -0.3),
    "o": (560, 950, 2700, 0.65, 0.75),
    "u": (370, 900, 2600, 0.35, 1),
}
CONSONANTS = {  # voicing, noise, noise centre in Hz, lips closed, seconds
    "m": (0.4, 0, 3e3, 1, 0.09),
    "b": (0.1, 0.05, 800, 1, 0.08),
    "p": (0, 0.15, 900, 1, 0.09),
    "n": (0.4, 0, 3e3, 0, 0.07),
    "l": (0.6, 0, 3e3, 0, 0.06),
    "d": (0.1, 0.2, 3500, 0, 0.06),
    "t": (0, 0.3, 4200, 0, 0.08),
    "k": (0, 0.3, 1900, 0, 0.08),
    "s": (0, 0.4, 6500, 0.1, 0.12),
    "f": (0, 0.2, 4500, 0.6, 0.11),
    "h": (0, 0.2, 1500, 0, 0.07),
    "w": (0.5, 0, 3e3, 0.5, 0.07),
}
TRACKS = {  # value at rest, seconds of smoothing
    "voice": (0, 0.012),
    "noise": (0, 0.008),
    "centre": (3000, 0.01),
    "f1": (520, 0.02),
    "f2": (1500, 0.025),
    "f3": (2700, 0.025),
    "pitch": (195, 0.05),
    "open": (0, 0.032),
    "close": (0.75, 0.024),
    "round": (0, 0.05),
}


def smooth(x: Array, low: float | Array, high: float | Array) -> Array:
    """Go from 0 at `low` to 1 at `high`, without corners."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def peaks(table: dict[float, float], t: float, rise: float, stay: float, fall: float) -> float:
    """Return the value at second t of a table of peaks, each reached after `rise`, held for `stay`, left in `fall`."""
    return sum(
        h * smooth(t, at - stay / 2 - rise, at - stay / 2) * smooth(t, at + stay / 2 + fall, at + stay / 2)
        for at, h in table.items()
    )


def sample(image: Array, x: Array, y: Array, how: int = cv2.INTER_LINEAR, border: int = cv2.BORDER_REPLICATE) -> Array:
    """Read an image at (x, y), where the first sample's centre is at a half."""
    return cv2.remap(image, np.float32(x - 0.5), np.float32(y - 0.5), how, borderMode=border)


def blurred(x: Array, across: float, along: float = 0.0) -> Array:
    """Blur with a Gaussian; `along` is the vertical sigma where it differs."""
    return cv2.GaussianBlur(x, (0, 0), across, sigmaY=along)


def speech() -> dict[str, Array]:
    """Lay the syllables out in time: voicing, noise, formants and mouth shape, CONTROL values a second."""
    c = {name: np.full(SECONDS * CONTROL, float(rest)) for name, (rest, _) in TRACKS.items()}
    rng = np.random.default_rng(7)
    for t, text in PHRASES.items():
        for k, word in enumerate(text.split()):
            voicing, noise, centre, closed, lead = CONSONANTS[word[0]]
            *formants, opening, rounding = VOWELS[word[1]]
            stress = rng.uniform(0.75, 1.0)
            length = lead + rng.uniform(0.13, 0.17) + 0.09 * text.endswith(word)
            lead, whole = (slice(int(t * CONTROL), int((t + s) * CONTROL)) for s in (lead, length))
            c["f1"][whole], c["f2"][whole], c["f3"][whole] = formants
            c["voice"][whole], c["open"][whole], c["close"][whole] = stress, opening * stress, 0
            c["voice"][lead], c["open"][lead], c["close"][lead] = voicing, 0.12 * (1 - closed), max(closed, 0.15)
            c["noise"][lead], c["centre"][lead] = noise, centre
            c["round"][whole] = max(rounding, 0.7) if word[0] == "w" else rounding
            c["pitch"][whole] = (225 - 7 * k) * (0.93 + 0.14 * stress)
            t += length
    return {k: gaussian_filter1d(v, TRACKS[k][1] * CONTROL, mode="nearest") for k, v in c.items()}


def voice(c: dict[str, Array]) -> Array:
    """Synthesise the voice of the controls as float samples at RATE."""
    rng, n, hop = np.random.default_rng(11), SECONDS * RATE, RATE // CONTROL
    wobble = gaussian_filter1d(rng.standard_normal(n), RATE * 0.02) * 25 + np.sin(np.arange(n) / RATE * 33)
    phase = np.cumsum(np.repeat(c["pitch"], hop) * (1 + 0.012 * wobble) / RATE) % 1
    flow = np.where(phase < 0.4, 0.5 - 0.5 * np.cos(np.pi * phase / 0.4), np.cos(np.pi / 2 * (phase - 0.4) / 0.2))
    pulses = np.diff(np.where(phase < 0.6, flow, 0), prepend=0) * 12 + rng.standard_normal(n) * 0.03
    noise, mixed, fourth = rng.standard_normal(n), np.zeros((n // hop, hop)), np.full(n, 3900)
    formants = ((c["f1"], 70), (c["f2"], 100), (c["f3"], 160), (fourth, 300))
    for source, level, gain, bank in ((pulses, "voice", 0, formants), (noise, "noise", 0.13, ((c["centre"], 1600),))):
        states = [np.zeros(2) for _ in bank]
        for i, part in enumerate((source * np.repeat(c[level], hop)).reshape(-1, hop)):
            for j, (centre, width) in enumerate(bank):
                r = np.exp(-np.pi * width / RATE)
                poles = [1, -2 * r * np.cos(2 * np.pi * centre[i] / RATE), r * r]
                part, states[j] = lfilter([gain or sum(poles)], poles, part, zi=states[j])
            mixed[i] += part
    return 0.6 * mixed.ravel() / np.abs(mixed).max()


class Head:
    """The portrait as a head that can turn and make faces over a plate without it."""

    def __init__(self) -> None:
        self.rows = np.r_[np.arange(15.9, 24, 1.2), np.arange(24, 227, 2.8)]
        left, right = PchipInterpolator(OUTLINE[:, 0], OUTLINE[:, 1:])(self.rows).T
        self.middle, self.radius = (left + right)[:, None] / 2, (right - left)[:, None] / 2 - 0.9
        self.axis = 46 + 20 * smooth(self.rows, 135, 185)[:, None]  # depth of the tube's axis: ears, then neck
        self.angle = np.radians(np.r_[np.linspace(-155, -93, 14), np.linspace(-90, 90, 66), np.linspace(93, 155, 14)])
        self.front = np.abs(self.angle) < 1.571
        self.u = self.middle + self.radius * np.sin(self.angle)  # the picture's column and row at each vertex
        self.v = np.repeat(self.rows[:, None], len(self.angle), 1)
        self.follow = smooth(self.v, 222, 176)  # how much a row turns with the head
        i = np.arange(self.u.size).reshape(self.u.shape)
        a, b, c, d = (s.ravel() for s in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
        self.triangles = np.r_[np.c_[a, b, c], np.c_[b, d, c]]
        self._paint(astronaut(), np.int32(np.round(np.r_[np.c_[left, self.rows], np.c_[right, self.rows][::-1]])))
        self.hair = self._hair()
        self.depth = self._depth()
        points = self._surface(self.v)
        normals = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
        self.normals = blurred(normals / (np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9), 1.5)

    def _paint(self, photo: Array, outline: Array) -> None:
        """Make the head's texture, the plate (the picture without the head) and how its pixels sway with the body."""
        mask, y = cv2.fillPoly(np.zeros((512, 512), np.uint8), [outline], 1), np.arange(512.0)[:, None]
        # The texture: the head's colours continued outwards, and plain skin at the neck's sides.
        beyond = (1 - cv2.erode(mask, np.ones((7, 7), np.uint8))) * np.uint8(y < 190)
        skin = cv2.inpaint(photo, beyond, 3, cv2.INPAINT_TELEA)
        soft = smooth(cv2.distanceTransform(mask, cv2.DIST_L2, 5), 10, 2) * smooth(y, 122, 132) * smooth(y, 184, 176)
        skin = np.float32(skin + (blurred(skin, 0.8, 4).astype(float) - skin) * soft[..., None])[:232]
        self.texture = cv2.resize(skin, None, fx=TEX, fy=TEX, interpolation=cv2.INTER_LANCZOS4)
        hole = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))) * np.uint8(y < 189)
        grain = np.random.default_rng(3).standard_normal((512, 512, 1)) * 1.6 * hole[..., None]
        self.plate = np.float32(cv2.inpaint(photo, hole, 4, cv2.INPAINT_TELEA) + grain)
        with mp.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0) as segment:
            person = cv2.resize(segment.process(photo).segmentation_mask, (512, 512))
        self.body = np.float32(blurred(person * smooth(cv2.distanceTransform(hole, cv2.DIST_L2, 5), 6, 0), 7))

    def _hair(self) -> Array:
        """Paint what the picture does not show: strands for the sides and the back, by angle (4 per degree) and row."""
        rng, (high, wide) = np.random.default_rng(9), (230 * TEX, 1280)
        y, x = np.mgrid[0:high, 0:wide].astype(np.float32) + 0.5
        rows, angle, strands = y / TEX, np.radians((x - wide / 2) / 4), np.zeros((high, wide))
        for across, along, strength in ((1.3, 8, 0.10), (3, 18, 0.10), (9, 26, 0.10), (30, 40, 0.07)):
            noise = blurred(rng.standard_normal((high, wide)), across, along)
            strands += strength * noise / noise.std()
        lean = (0.0016 * (rows - 40) ** 2 + 7 * np.sin(rows / 13 + x / 90)) * np.sign(angle)
        strands = sample(strands, x + lean, y, border=cv2.BORDER_REFLECT)
        # Each side's colour by row, from near the outline.
        u = self.middle + self.radius * np.r_[np.linspace(-0.93, -0.72, 9), np.linspace(0.72, 0.93, 9)]
        tone = sample(self.texture, u * TEX, self.v[:, :18] * TEX).reshape(-1, 2, 9, 3).mean(2)
        tone = gaussian_filter1d(0.8 * tone + 0.2 * tone.mean(-1, keepdims=True), 3, axis=0)
        at = np.interp(np.minimum(rows, 104), self.rows, np.arange(len(self.rows))) + 0.5
        colour = sample(tone, 0.5 + (angle > 0), at) * (1 + strands[..., None])
        turned, ragged = np.abs(angle) + 0.4 * strands, rows + 12 * strands
        side = smooth(turned, 1.0, 1.32) * smooth(ragged, 119, 112)
        nape = smooth(turned, 1.5, 1.62) * smooth(ragged, 140, 136)
        return np.float32(np.dstack([colour, np.maximum(side, nape)]))

    def _depth(self) -> Array:
        """Return the front's depth at every second pixel from x = 140, from landmarks in the outline; set `shadow`."""
        crop = np.uint8(np.clip(self.texture[:, 97 * TEX : 329 * TEX], 0, 255))
        with mp.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True) as mesh:
            marks = mesh.process(crop).multi_face_landmarks[0].landmark[:468]
        face = np.array([(m.x, m.y, m.z) for m in marks]) * 232 + [97, 0, 0]
        hull, vertices = cv2.convexHull(np.float32(face[:, :2])), np.c_[self.u.ravel(), self.v.ravel()].tolist()
        away = np.reshape([-cv2.pointPolygonTest(hull, p, True) for p in vertices], self.u.shape)
        beside = np.maximum(away, 12 * smooth(np.abs(self.angle), 1.0, 1.5))
        self.shadow = 1 - 0.28 * smooth(beside, 0, 12) * smooth(self.v, 130, 142)  # of jaw and hair on the neck
        keep = self.front & (away > np.where(self.v < 140, 9, 4)) & (np.arange(away.size).reshape(away.shape) % 3 == 0)
        z = self.axis - np.where(self.v < 140, 0.55, 1.0) * self.radius * np.cos(self.angle)  # hair is flatter in front
        known = np.r_[face, np.stack([self.u, self.v, z], -1)[keep]]
        fit = RBFInterpolator(known[:, :2], known[:, 2], smoothing=3.0, neighbors=60)
        x, y = np.meshgrid(np.arange(140.0, 314, 2), np.arange(0.0, 232, 2))
        return blurred(np.float32(fit(np.c_[x.ravel(), y.ravel()])).reshape(x.shape), 0.8)

    def _surface(self, v: Array) -> Array:
        """Return the mesh's points, seen from the pivot, where v says which picture row each vertex shows."""
        front = sample(self.depth, (self.u - 140) / 2 + 0.5, v / 2 + 0.5)
        rim = np.where(self.front, smooth(np.abs(np.sin(self.angle)), 0.86, 1.0), 1)  # front and back meet at the axis
        z = front * (1 - rim) + rim * (self.axis - np.where(self.front, 0.6, 1.0) * self.radius * np.cos(self.angle))
        away = 1 + z / FOCAL
        return np.stack([(self.u - PIVOT[0]) * away, (self.v - PIVOT[1]) * away, z - PIVOT[2]], -1)

    def express(self, jaw: float, close: float, rounding: float, blink: float, brow: float, gaze: float) -> tuple:
        """Return the texture with an expression, and the picture row that each mesh vertex now shows."""
        x0, y0, x1, y1 = FACE
        y, x = (np.mgrid[y0 * TEX : y1 * TEX, x0 * TEX : x1 * TEX].astype(np.float32) + 0.5) / TEX
        # Brows and mouth corners: smooth shifts of the picture.
        start, above = y, y - (89.5 + (x - 225) * 0.06)
        y = y + brow * np.exp(-((above / np.where(above < 0, 11.0, 5.0)) ** 2) - ((x - 226) / 36) ** 4)
        side, near = (x - 223.7) / 21, np.exp(-(((y - 146) / 17) ** 2))
        x = x + (6.0 * rounding + 0.42 * jaw) * np.tanh(side * 1.5) * np.exp(-((side / 1.35) ** 4)) * near
        side = (x - 223.7) / 21
        y = y - (0.9 + 1.3 * max(rounding, 0) + 0.15 * jaw) * side**2 * np.exp(-((side / 1.3) ** 4)) * near
        sx, sy = x, y
        # Lids slide over the fixed eyeball; the lash line moves as one piece.
        for upper, lower, iris in EYES:
            top, low = np.interp(x, *upper), np.interp(x, *lower)
            top_now, low_now = top + 0.88 * blink * (low - top), low - 0.12 * blink * (low - top)
            drop = (top_now - top) * np.clip((y - (top - 8)) / (top_now - top + 5.5), 0, 1)
            rise = (low - low_now) * np.clip((low_now + 4 - y) / 4, 0, 1)
            here = (x > upper[0][0]) & (x < upper[0][-1]) & (y < 125)
            ball = here & (y >= top_now) & (y <= low_now)
            sx = np.where(ball, x - gaze * np.exp(-(((x - iris) / 6.5) ** 4)), sx)
            sy = np.where(here & ~ball, np.where(y < top_now, y - drop, y + rise), sy)
        # Lips and jaw: what is below the lip line slides over the inside of the mouth.
        top, low = (np.interp(x, *lip) for lip in LIPS)
        bow = np.clip(1 - side**2, 0, 1) ** 0.75
        curtain = (1.3 + 0.9 * close) * bow  # the upper lip hangs lower than in the smile
        top_now = top + curtain
        lip = jaw * bow - close * (low - top_now)
        chin, low_now = (0.9 * jaw - 0.8 * close) * np.exp(-((side / 1.7) ** 4)), low + lip
        below = y - lip
        for _ in range(7):  # invert the displacement
            mix = smooth(below, low + 3.5, low + 25)
            below = y - ((1 - mix) * lip + mix * chin * smooth(below, 206, 178))
        over = y - curtain * smooth(y, top_now - 12, top_now - 4)
        sy = np.where((y > 125) & (y >= low_now), below, np.where((y > 125) & (y <= top_now), over, sy))
        face = sample(self.texture, sx * TEX, sy * TEX, cv2.INTER_CUBIC)
        # Inside of the mouth: the picture's upper teeth, then dark with a tongue.
        inside = smooth(y, top_now - 0.2, top_now + 0.3) * smooth(y, low_now + 0.2, low_now - 0.3) * (bow > 0)
        tongue = smooth(y, low_now - 5.5, low_now - 1.5) * np.exp(-((side / 0.45) ** 4))
        deep = np.array([44, 17, 16]) + tongue[..., None] * np.array([70, 28, 28])
        shade = (0.72 + 0.28 * smooth(y, top_now, top_now + 2.5)) * (1 - 0.35 * smooth(np.abs(side), 0.35, 0.8))
        within = face * shade[..., None]
        within += (deep - within) * smooth(y, low - 1.3, low - 0.3)[..., None]
        texture = self.texture.copy()
        texture[y0 * TEX : y1 * TEX, x0 * TEX : x1 * TEX] = face + (within - face) * inside[..., None]
        moved = cv2.copyMakeBorder(blurred(np.float32(sy - start), 4), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        return texture, self.v + sample(moved, (self.u - x0) * TEX + 1, (self.v - y0) * TEX + 1)

    def draw(self, pose: tuple[float, float, float], sway: float, breath: float, texture: Array, v: Array) -> Array:
        """Return one frame: the mesh, turned by yaw, pitch and roll, over the plate."""
        (cy, cp, cr), (sy, sp, sr) = ([f(a * self.follow) for a in pose] for f in (np.cos, np.sin))

        def turn(points: Array) -> Array:
            x, y, z = np.moveaxis(points, -1, 0)
            x, y = cr * x - sr * y, sr * x + cr * y
            y, z = cp * y - sp * z, sp * y + cp * z
            return np.stack([cy * x - sy * z, y, sy * x + cy * z], -1)

        # Where the triangles fall; those that face us are drawn far to near as numbers, one per pixel.
        points, size, scale = turn(self._surface(v)), SIZE * SUPER, SIZE * SUPER / CROP[2]
        z = points[..., 2]
        shift = np.stack([sway * (0.45 + 0.55 * self.follow), breath - 0.012 * sway**2 * self.follow], -1)
        flat = points[..., :2] / (1 + (z + PIVOT[2]) / FOCAL)[..., None] + PIVOT[:2] + shift - CROP[:2]
        corner = flat.reshape(-1, 2)[self.triangles] * scale
        e1, e2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
        area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
        shown = np.flatnonzero(area > 0.05)
        shown = shown[np.argsort(-z.ravel()[self.triangles[shown]].mean(1), kind="stable")]
        index = np.full((size, size), -1, np.int32)
        for t, polygon in zip(shown.tolist(), np.int32(np.round((corner[shown] - 0.5) * 16)), strict=True):
            cv2.fillConvexPoly(index, polygon, t, cv2.LINE_8, 4)
        # Each pixel's place in the texture and in the hair, and its light, from its triangle's corners.
        py, px = np.nonzero(index >= 0)
        t = index[py, px]
        dx, dy = px + 0.5 - corner[t, 0, 0], py + 0.5 - corner[t, 0, 1]
        b = np.clip((dx * e2[t, 1] - dy * e2[t, 0]) / area[t], -0.3, 1.3)[:, None]
        c = np.clip((dy * e1[t, 0] - dx * e1[t, 1]) / area[t], -0.3, 1.3)[:, None]
        light = self.shadow * (1 + 0.30 * (turn(self.normals) - self.normals) @ np.array([-0.35, -0.45, -0.82]))
        around = np.broadcast_to(np.degrees(self.angle) * 4 + 640, z.shape)
        values = np.stack([self.u * TEX, self.v * TEX, around, light], -1).reshape(-1, 4)
        p, q, r = self.triangles[t].T
        maps = np.zeros((size, size, 4), np.float32)
        maps[py, px] = values[p] * (1 - b - c) + values[q] * b + values[r] * c
        ink, hair = sample(texture, maps[..., 0], maps[..., 1]), sample(self.hair, maps[..., 2], maps[..., 1])
        ink = (ink + (hair[..., :3] - ink) * hair[..., 3:]) * maps[..., 3:]
        x, y = np.meshgrid(*((np.arange(size) + 0.5) / scale + corner for corner in CROP[:2]))
        move = sample(self.body, x, y, border=cv2.BORDER_REFLECT_101)
        back = sample(self.plate, x - move * 0.45 * sway, y - move * breath, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101)
        cover = np.clip(blurred(np.float32(index >= 0), 0.8) * 2 - 1, 0, 1)[..., None]  # soft inside the drawn edge
        return cv2.resize(back + (ink - back) * cover, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def frames(c: dict[str, Array]) -> list[Array]:
    """Draw all frames as RGB bytes."""
    head, rng, out = Head(), np.random.default_rng(5), []
    for t in np.arange(FPS * SECONDS) / FPS:
        settle = smooth(t, 0, 0.6) * smooth(t, SECONDS, SECONDS - 0.6)
        drift = [0.018 * settle * (np.sin(2.1 * t + p) + np.sin(5.3 * t + 2 * p) / 2) for p in (0.3, 1.9, 4.0)]
        jaw, close, rounding = (c[k][min(int((t + 0.03) * CONTROL), len(c[k]) - 1)] for k in ("open", "close", "round"))
        yaw, nod = float(YAW(t)), peaks(NODS, t, 0.3, 0.05, 0.4) + 0.035 * jaw  # the lips are ahead of the sound
        blink, brow = peaks(BLINKS, t, 0.07, 0.035, 0.1), peaks(BROWS, t, 0.25, 0.15, 0.4)
        gaze = peaks(GLANCES, t, 0.06, 0.6, 0.06) - 1.5 * yaw  # the eyes stay with the viewer while the head turns
        look = head.express(7.5 * jaw, close, rounding, blink, brow, gaze)
        pose = (yaw + drift[0], nod + drift[1], drift[2] - 0.11 * yaw)
        frame = head.draw(pose, 6 * float(YAW(max(t - 0.2, 0))), 0.7 * np.sin(1.7 * t), *look)
        frame += blurred(rng.standard_normal((SIZE, SIZE)), 0.7)[..., None] * 1.6  # the sensor's noise
        out.append(np.uint8(np.clip(frame + 0.5, 0, 255)))
    return out


def write(path: Path, pictures: list[Array], sound: Array) -> None:
    """Write H.264 and AAC into an MP4 file; one thread, so that each run gives the same bytes."""
    with av.open(str(path), "w") as box:
        video = box.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "slow", "threads": "1"})
        video.width, video.height, video.pix_fmt = SIZE, SIZE, "yuv420p"
        audio = box.add_stream("aac", rate=RATE, layout="mono", bit_rate=64000)
        block = av.AudioFrame.from_ndarray(np.float32(sound)[None], format="fltp", layout="mono")
        block.sample_rate = RATE
        for picture in [*pictures, None]:
            box.mux(video.encode(picture if picture is None else av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for part in (block, None):
            box.mux(audio.encode(part))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the talking-face sample clip.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "astronaut.mp4")
    out, controls = parser.parse_args().out, speech()
    write(out, frames(controls), voice(controls))
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
