"""Repairs a .fvc that was cut off or damaged: copies its whole packets and gives it an END packet and an index."""

from __future__ import annotations

from typing import Any

from fvc.codec.base.errors import StreamError
from fvc.codec.base.reporting import PathLike
from fvc.codec.media.output import atomic_write
from fvc.codec.wire.bitstream import SYNCED, Kind
from fvc.codec.wire.container import Damage, StreamReader, StreamWriter
from fvc.jobs.paths import STREAM, file_path, keep_apart, naming, open_stream


def repair(stream: PathLike, out: PathLike, *, overwrite: bool = False) -> dict[str, Any]:
    """Copies all whole packets of `stream` to `out` and ends it. Frames that are missing stay missing.

    Args:
        stream: also what a killed encoder has left: `.NAME.fvc.XXXXXXXX.part`.
        out: must end in .fvc.
        overwrite: whether a .fvc stream that is at `out` already is replaced.

    Returns:
        the report that `fvc repair --json` prints.

    Raises:
        FvcError: see `fvc.codec.base.errors`; nothing is left at `out` then.
    """
    target = file_path(out)
    keep_apart([target], [file_path(stream)])
    with open_stream(stream) as reader, naming(stream), atomic_write(target, STREAM, overwrite) as file:
        writer = StreamWriter(file, reader.header)
        dropped = copy_packets(reader, writer)
        if not writer.frames:
            raise StreamError("E04", "holds no whole frame")
        if reader.end is not None:  # what is missing at the end stays known
            writer.frames = max(writer.frames, reader.end.frames)
            writer.audio_packets = max(writer.audio_packets, reader.end.audio_packets)
        writer.end()
    complete = reader.end is not None
    return {"frames": writer.frames, "bytes_dropped": dropped, "was_complete": complete, "out": str(target)}


def copy_packets(reader: StreamReader, writer: StreamWriter) -> int:
    """Returns how many bytes were not copied.

    After a large gap, MOTION packets are dropped until a packet with a full frame number: six-bit numbers may have
    wrapped in the gap, and nobody can see that once the damage is cut out.
    """
    dropped, is_counted = 0, True
    for item in reader.packets():
        if isinstance(item, Damage):
            dropped, is_counted = dropped + item.stop - item.start, is_counted and not item.uncounted
        elif item.kind == Kind.MOTION and not is_counted:
            dropped += len(bytes(item))
        else:
            is_counted = is_counted or item.kind in SYNCED
            writer.write(item)
            if item.kind == Kind.AUDIO:
                writer.audio_packets = item.number + 1
    return dropped
