"""Divides a number of bits among motion, sound, source pictures and a video layer, so that the clip looks best.

Motion and sound come first: they are small, and nothing works without them. Of the rest, a share goes to source
pictures and the other to the layer; a few shares are tried. Of each the receiver's pictures of a few moments are made
and compared with the clip by `codec.distortion`, and the best is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from fvc.codec.base.errors import OptionError
from fvc.codec.decoder import Decoder
from fvc.codec.distortion import edge_distance
from fvc.codec.layer_encoder import CodedLayer, layer_within
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.ratecontrol import MIN_KBPS, ConstantRate
from fvc.codec.renderer import Layered, Renderer
from fvc.codec.wire.bitstream import EndPayload, Header, Kind, Packet
from fvc.codec.wire.container import begins_keyframe
from fvc.codec.wire.source_set import SourceSet
from fvc.jobs.file_job import FileJob, Shares

_LEAST_LAYER = 3.2  # kbit/s: less is nearly all AV1's frame headers
_MOTION_SHARE = 0.4  # of all bits: if motion takes more than this, it gets coarser
_PICTURE_BYTES = 2600  # of a source picture with its sample, where bytes are few
_MOMENTS = 8  # of the clip, at which shares are compared
_ENOUGH = 60.0  # kbit/s of a layer: beyond, hardly a difference is seen


def divide(job: FileJob) -> Shares:
    """What is sent of the clip at `kbps` of the job's settings. Raises OptionError where too little fits in."""
    assert job.settings.kbps is not None
    total = int(1000 * job.settings.kbps * job.clip.seen.frames / job.clip.rate / 8)
    header, packets = _motion_and_sound(job, total)
    spare = total - _overhead(header, packets)
    trial = _Trial(job, header, packets)
    shares = [Shares(*_pictures(job, spare, total), packets)]
    full = len(bytes(shares[0].source_set))
    for pictures in _picture_shares(job, spare, full):
        chosen = shares[0] if pictures >= full else Shares(*_pictures(job, pictures, total), packets)
        left = spare - len(bytes(chosen.source_set))
        least, most = (1000 * rate * job.clip.seen.frames / job.clip.rate / 8 for rate in (_LEAST_LAYER, _ENOUGH))
        layer = layer_within(job.crops, job.clip.rate, int(min(left, most))) if left >= least else None
        if layer is not None:
            shares.append(replace(chosen, layer=layer))
    return min(shares, key=trial.distance) if len(shares) > 1 else shares[0]


def _picture_shares(job: FileJob, spare: int, full: int) -> list[int]:
    """The bytes of source pictures that are tried beside a layer."""
    return [min(full, spare * 2 // 5)]


def _motion_and_sound(job: FileJob, total: int) -> tuple[Header, list[Packet]]:
    """Their packets: as without a budget, or motion at a lower rate where it would take too much of it."""
    settings = job.settings
    source_set, _ = job.sources(1, None)  # any: packets do not depend on it
    header = job.header(source_set)
    packets = list(job.packets(header, settings.plan()))
    motion = sum(len(bytes(packet)) for packet in packets if packet.kind != Kind.AUDIO)
    is_free = settings.quality is None and settings.motion_kbps is None and settings.quantizer != "paper"
    if motion > _MOTION_SHARE * total and is_free:
        assert settings.kbps is not None
        rate = max(MIN_KBPS, 0.8 * _MOTION_SHARE * settings.kbps)
        packets = list(job.packets(header, ConstantRate(rate, float(job.clip.rate))))
    return header, packets


def _overhead(header: Header, packets: Sequence[Packet]) -> int:
    """Bytes of a stream without a layer."""
    sizes = [len(bytes(packet)) for packet in packets]
    at, keyframes = len(bytes(header)), list[tuple[int, int]]()
    for packet, size in zip(packets, sizes, strict=True):
        if packet.kind != Kind.AUDIO and begins_keyframe(packet):
            keyframes.append((packet.number, 4 * at))  # with a layer they lie farther apart
        at += size
    end = EndPayload(len(packets), len(packets), tuple(keyframes))
    return at + len(bytes(Packet(Kind.END, 0, bytes(end)))) + 8


def _pictures(job: FileJob, most: int, total: int) -> tuple[SourceSet, np.ndarray]:
    """The source set that takes at most `most` bytes: as without a budget, or fewer and coarser pictures.

    Raises OptionError where not even one fits.
    """
    settings, kbps = job.settings, job.settings.kbps
    is_chosen = settings.source_frames is not None or settings.source_bytes is not None
    chosen = job.sources(settings.source_frames, settings.source_bytes)
    size = len(bytes(chosen[0]))
    if size <= most:
        return chosen
    rest = size - sum(map(len, chosen[0].coded))  # canvas, samples, head
    each = (rest - len(chosen[0].canvas or b"")) // len(chosen[0].coded)
    for count in range(min(len(chosen[0].coded) - 1, max(most // _PICTURE_BYTES, 1)), 0, -1):
        within = most - rest + each * max(len(chosen[0].coded) - count - 1, 0)
        try:
            fewer = job.sources(count, max(within, 0)) if not is_chosen else chosen
        except OptionError:
            continue
        if len(bytes(fewer[0])) <= most:
            return fewer
    needed = (total - most + min(size, 3000)) / total * (kbps or 0)
    fault = f"too little for this clip: motion, sound and one picture need about {needed:.1f}"
    raise OptionError("kbps", f"{kbps:g}", f"{fault}; `motion_kbps` limits motion alone")


class _Trial:
    """Compares shares by what the receiver shows of some moments of the clip."""

    def __init__(self, job: FileJob, header: Header, packets: Iterable[Packet]) -> None:
        self._job, self._header, self._packets = job, header, packets

    @cached_property
    def _moments(self) -> dict[int, DrawInputs]:
        """Frame -> what it is drawn from, of frames with a face."""
        sup_of = self._job.clip.seen.sup_of()
        chosen = {int(n) for n in np.linspace(0, self._job.clip.seen.frames - 1, _MOMENTS + 2)[1:-1]}
        source_set, _ = self._job.sources(1, None)
        sample = source_set.samples[0].only(self._header.profile.parts)
        decoder = Decoder(self._header, Renderer(lambda _: np.empty(0), sample, self._header.fps))
        found = {}
        for packet in self._packets:
            if packet.kind == Kind.AUDIO:
                continue
            decoder.put(packet)
            inputs = decoder.next(packet.number)
            if packet.number in chosen and packet.number in sup_of and inputs is not None:
                found[packet.number] = inputs
        return found

    @cached_property
    def _originals(self) -> dict[int, np.ndarray]:
        return {n: crop for n, crop in enumerate(self._job.crops()) if n in self._moments}

    def distance(self, shares: Shares) -> float:
        """The mean distance of what is shown from the clip."""
        renderer = self._job.model.renderer(shares.source_set, self._header.profile, self._header.fps)
        pictures = self._shown_by(shares.layer)
        distances = []
        for frame, inputs in self._moments.items():
            layered = Layered(inputs, pictures[frame]) if frame in pictures else None
            shown = renderer.draw(inputs) if layered is None else renderer.show(layered)
            distances.append(edge_distance(shown, self._originals[frame]))
        return float(np.mean(distances)) if distances else 0.0

    def _shown_by(self, layer: CodedLayer | None) -> dict[int, np.ndarray]:
        return {} if layer is None else layer.pictures(self._moments)
