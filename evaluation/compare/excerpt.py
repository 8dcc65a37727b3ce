"""The first seconds of a video, cut out without transcoding."""

from __future__ import annotations

from pathlib import Path

import av

from fvc.codec.base.errors import InputError
from fvc.codec.media.video import VideoReader, reason


def shortened(path: Path, seconds: float, folder: Path) -> Path:
    """Copies the packets of the first `seconds` of picture and sound into `folder`; returns the copy.

    Whole packets in coding order: a few frames more than that may follow where pictures are coded out of order.

    Raises:
        InputError: the file is not a video, or its container cannot be written.
    """
    with VideoReader(path) as video:
        begin = float(video.start)
        opened = video.open
    target = folder / f"excerpt{path.suffix}"
    try:
        with opened() as source:
            kept = [source.streams.video[0], *source.streams.audio[:1]]
            with av.open(str(target), "w", format=source.format.name.split(",")[0]) as out:
                streams = {stream.index: out.add_stream_from_template(stream) for stream in kept}
                for packet in source.demux(*kept):
                    if packet.dts is None or float(packet.dts * packet.time_base) - begin >= seconds:
                        continue
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{path.name}: its first seconds cannot be cut out ({reason(error)})") from error
    return target
