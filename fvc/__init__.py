"""fvc: ultra-low-bandwidth video chat.

    import fvc
    report = fvc.encode("talk.mp4", "talk.fvc")             # writes talk.fvc and talk.fvs
    fvc.decode("talk.fvc", "talk.fvs", "back.mp4")          # OutputError if back.mp4 exists

Frame by frame: `fvc.open_encoder` and `fvc.open_decoder` (see `fvc.streaming`) give an `Encoder`, one frame in, one
packet out, and a `Decoder`, packets in any order in, one picture out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fvc.codec.base.version import __version__

__all__ = [
    "Decoder",
    "Depacketizer",
    "Encoder",
    "Frame",
    "FvcError",
    "Packetizer",
    "__version__",
    "decode",
    "encode",
    "info",
    "open_decoder",
    "open_encoder",
    "repair",
]

if TYPE_CHECKING:
    from fvc.codec.base.errors import FvcError
    from fvc.codec.call.datagram import Depacketizer, Packetizer
    from fvc.codec.decoder import Decoder
    from fvc.codec.encoder import Encoder
    from fvc.codec.media.video import Frame
    from fvc.jobs.decode import decode
    from fvc.jobs.encode import encode
    from fvc.jobs.inspect import info
    from fvc.jobs.repair import repair
    from fvc.streaming import open_decoder, open_encoder

_HOMES = {
    "Decoder": "fvc.codec.decoder",
    "Depacketizer": "fvc.codec.call.datagram",
    "Encoder": "fvc.codec.encoder",
    "Frame": "fvc.codec.media.video",
    "FvcError": "fvc.codec.base.errors",
    "Packetizer": "fvc.codec.call.datagram",
    "decode": "fvc.jobs.decode",
    "encode": "fvc.jobs.encode",
    "info": "fvc.jobs.inspect",
    "open_decoder": "fvc.streaming",
    "open_encoder": "fvc.streaming",
    "repair": "fvc.jobs.repair",
}


def __getattr__(name: str) -> Any:
    """Loads the parts on first use: `import fvc` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fvc' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
