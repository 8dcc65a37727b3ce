"""One system on one clip: encoder, packets and decoder, in memory, as `fvc encode` and `fvc decode` use them.

`fvc evaluate` and `fvc measure` draw what they compare with this class, so that both count the bytes of the same files
and show the same pictures as `fvc decode`.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np

from fvc.codec.base.reporting import silent
from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder, Found
from fvc.codec.media.video import Frame
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.smoothing import Filters
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import FrameSource, SourceBuilder, TrackedClip, stream_header
from fvc.codec.wire.container import StreamWriter
from fvc.codec.wire.source_set import SourceSet
from fvc.models.inference.installed import InstalledModel


class SystemRun:
    """Sends a clip and draws what arrives, without sound and canvas.

    Call `draw` for each frame in order, or `send` for frames that need not be drawn; then `end`.

    Args:
        video: where source pictures are read from.
        clip: its tracking.
        model: the networks of both sides.
        options: of the encoder.
        builder: the model's source builder for the options' profile; None: it is loaded.
        filters: of the sender, for each part; None: the encoder's own.

    Attributes:
        sources: as `fvc encode` chooses and codes them.
        renderer: the receiver's; `renderer.draw` makes a picture of what `send` returns.
        payload_bytes, packet_bytes: of each frame so far, without and with the packet's header and checksum.

    Raises:
        InputError: a source picture cannot be read.
        UsageError: the source pictures do not fit in the bytes that the options allow.
    """

    def __init__(
        self,
        video: FrameSource,
        clip: TrackedClip,
        model: InstalledModel,
        options: EncoderOptions,
        builder: SourceBuilder | None = None,
        filters: Filters | None = None,
    ) -> None:
        wanted = builder or model.source_builder(options.kind, options.size)
        builder = wanted.fitting(clip.crop, video.name, silent)
        chosen = builder.choose(video, clip, count=options.source_frames, most_bytes=options.source_bytes)
        self.sources = SourceSet.parse(bytes(chosen.source_set))  # as the receiver has it: its samples are rounded
        self.payload_bytes: list[int] = []
        self.packet_bytes: list[int] = []
        header = stream_header(self.sources, clip, options.interval, options.quantizers, scenes=chosen.scenes)
        self._landmarks, self._cuts = clip.seen.sup_of(), set(clip.seen.cuts)
        self._writer = StreamWriter(BytesIO(), header)
        self._encoder = Encoder(header, builder.network, plan=options.plan(), filters=filters)
        self.renderer = model.renderer(self.sources, header.profile, header.fps, scenes=header.scenes)
        self._decoder = Decoder(header, self.renderer)

    def draw(self, frame: Frame) -> np.ndarray:
        """Sends a frame; returns the picture that the receiver shows, uint8 [S, S, 3]."""
        self._send(frame)
        return self._decoder.show(frame.index).rgb

    def send(self, frame: Frame) -> DrawInputs | None:
        """Sends a frame; returns the inputs from which the receiver would draw it. None: the last picture again."""
        self._send(frame)
        return self._decoder.next(frame.index)

    def _send(self, frame: Frame) -> None:
        sup, is_cut = self._landmarks.get(frame.index), frame.index in self._cuts
        packet = self._encoder.encode(frame, Found(sup, is_cut))
        self._writer.write(packet)
        self.payload_bytes.append(len(packet.payload))
        self.packet_bytes.append(len(bytes(packet)))
        self._decoder.put(packet)

    def end(self) -> None:
        """Ends the stream; only then is its size known."""
        self._writer.end()

    @property
    def frames(self) -> int:
        """Frames that were drawn."""
        return len(self.payload_bytes)

    @property
    def held(self) -> int:
        """Frames that showed the last picture again, because there was no face."""
        return self._decoder.held

    @property
    def stream_bytes(self) -> int:
        """Size of the .fvc."""
        return sum(self._writer.bytes_of.values())

    @property
    def source_bytes(self) -> int:
        """Size of the .fvs."""
        return len(bytes(self.sources))
