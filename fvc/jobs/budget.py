"""Divides a number of bits among motion, sound, source pictures and a video layer, so that the clip looks best.

Motion and sound come first: they are small, and nothing works without them. Of the rest, a share goes to source
pictures and the other to the layer; a few shares are tried. Of each the receiver's pictures of a few moments are made
and compared with the clip by `codec.distortion`, and the best is sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from fvc.codec.base.errors import OptionError
from fvc.codec.decoder import Decoder
from fvc.codec.distortion import edge_distance
from fvc.codec.layer_encoder import CodedLayer, LayerCoder
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.ratecontrol import MIN_KBPS, ConstantRate
from fvc.codec.renderer import Layered, Renderer
from fvc.codec.source_builder import ChosenSources
from fvc.codec.wire.bitstream import EndPayload, Header, Kind, Packet
from fvc.codec.wire.container import begins_keyframe
from fvc.jobs.file_job import FileJob, Shares

_LEAST_LAYER, _MOST_LAYER = 3.4, 60.0  # kbit/s: less is nearly all frame headers, of more nobody sees anything
_MOTION_SHARE = 0.4  # of all bits: if motion takes more than this, it gets coarser
_PICTURE_SHARES = (0.25, 0.55)  # of what motion and sound leave: what the pictures beside a layer take at most
_PICTURE_BYTES = 2100  # of a source picture with its sample, where bytes are few
_HEAD_BYTES = 63  # of a source set with one picture
_FIRST_CRF, _COARSEST, _TRIES = 26, 58, 4  # of source pictures where bytes are few
_PICTURE_SLOPE = 0.05  # by how much the logarithm of a picture's size falls with each step of CRF
_MOMENTS = 8  # of the clip, at which shares are compared


def divide(job: FileJob) -> Shares:
    """What is sent of the clip at `kbps` of the job's settings. Raises OptionError where too little fits in."""
    assert job.settings.kbps is not None
    total = int(1000 * job.settings.kbps * job.clip.seen.frames / job.clip.rate / 8)
    packets = _motion_and_sound(job, total)
    full = job.sources(job.settings.source_frames, job.settings.source_bytes)
    spare = total - _overhead(job.header(full), packets)
    plain = Shares(full if full.bytes <= spare else _fewer_pictures(job, full, spare, total), packets)
    layered = _with_layers(job, plain, full, spare) if job.settings.layer else []
    if not layered:
        return plain
    trial = _Trial(job, packets, full)
    return min([plain, *layered], key=trial.distance)


def _with_layers(job: FileJob, plain: Shares, full: ChosenSources, spare: int) -> list[Shares]:
    """The same with a video layer beside fewer and coarser pictures, or beside all, where there is enough for one."""
    seconds, coder = float(job.clip.seen.frames / job.clip.rate), LayerCoder(job.crops, job.clip.rate)
    least, most = (int(1000 * rate * seconds / 8) for rate in (_LEAST_LAYER, _MOST_LAYER))
    found = dict[int, Shares]()
    for share in _PICTURE_SHARES:
        for_pictures = int(min(share * spare, spare - least))
        chosen = full if full.bytes <= for_pictures else None if _are_fixed(job) else _coarser(job, full, for_pictures)
        if chosen is None:
            continue
        taken = chosen.bytes
        layer = coder.within(min(spare - taken, most)) if taken not in found else None
        if layer is not None:
            found[taken] = Shares(chosen, plain.packets, layer)
    return list(found.values())


def _are_fixed(job: FileJob) -> bool:
    """Whether the user has said what the pictures are to be."""
    return job.settings.source_frames is not None or job.settings.source_bytes is not None


def _motion_and_sound(job: FileJob, total: int) -> list[Packet]:
    """Their packets: as without a budget, or motion at a lower rate where it would take too much of it."""
    settings = job.settings
    packets = list(job.packets(job.header(), settings.plan()))
    motion = sum(len(bytes(packet)) for packet in packets if packet.kind != Kind.AUDIO)
    is_free = settings.quality is None and settings.motion_kbps is None and settings.quantizer != "paper"
    if motion > _MOTION_SHARE * total and is_free:
        assert settings.kbps is not None
        rate = max(MIN_KBPS, 0.8 * _MOTION_SHARE * settings.kbps)
        packets = list(job.packets(job.header(), ConstantRate(rate, float(job.clip.rate))))
    return packets


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


def _coarser(job: FileJob, full: ChosenSources, most: int) -> ChosenSources | None:
    """Fewer and coarser pictures, in at most `most` bytes; None where not even one fits."""
    usual = full.source_set
    fixed = len(usual.canvas or b"") + _HEAD_BYTES
    for count in range(min(max((most - fixed) // _PICTURE_BYTES, 1), len(usual.coded)), 0, -1):
        crf = _FIRST_CRF
        for _ in range(_TRIES):
            found = job.coded(count, crf)
            size = found.bytes
            if size <= most:
                return found
            coded = sum(map(len, found.source_set.coded))
            step = math.log(coded / max(most - (size - coded), 1)) / _PICTURE_SLOPE
            crf = min(crf + max(math.ceil(step), 1), _COARSEST)
            if crf == _COARSEST:
                break
    return None


def _fewer_pictures(job: FileJob, full: ChosenSources, spare: int, total: int) -> ChosenSources:
    """The pictures where there is too little for the usual ones. Raises OptionError where not even one fits."""
    found = None if _are_fixed(job) else _coarser(job, full, spare)
    if found is not None:
        return found
    kbps = float(job.settings.kbps or 0)
    size = full.bytes if _are_fixed(job) else len(full.source_set.canvas or b"") + _HEAD_BYTES + 2 * _PICTURE_BYTES // 3
    needed = kbps * (total - spare + size) / total
    fault = f"too little for this clip: motion, sound and pictures need about {needed:.1f}"
    raise OptionError("kbps", f"{kbps:g}", f"{fault}; `motion_kbps` limits motion alone")


class _Trial:
    """Compares shares by what the receiver shows of some moments of the clip."""

    def __init__(self, job: FileJob, packets: Iterable[Packet], sources: ChosenSources) -> None:
        self._job, self._header, self._packets = job, job.header(sources), packets
        self._rest = sources.source_set.samples[0].only(self._header.profile.parts)

    @cached_property
    def _moments(self) -> dict[int, DrawInputs]:
        """Frame -> what it is drawn from, of frames with a face."""
        sup_of = self._job.clip.seen.sup_of()
        chosen = {int(n) for n in np.linspace(0, self._job.clip.seen.frames - 1, _MOMENTS + 2)[1:-1]}
        decoder = Decoder(self._header, Renderer(lambda _: np.empty(0), self._rest, self._header.fps))
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
        header, sources = self._header, shares.sources
        model, scenes = self._job.model, sources.scenes
        renderer = model.renderer(sources.source_set, header.profile, header.fps, scenes=scenes)
        pictures = self._shown_by(shares.layer)
        distances = []
        for frame, inputs in self._moments.items():
            layered = Layered(inputs, pictures[frame]) if frame in pictures else None
            shown = renderer.draw(inputs) if layered is None else renderer.show(layered)
            distances.append(edge_distance(shown, self._originals[frame]))
        return float(np.mean(distances)) if distances else 0.0

    def _shown_by(self, layer: CodedLayer | None) -> dict[int, np.ndarray]:
        return {} if layer is None else layer.pictures(self._moments)
