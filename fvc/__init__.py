"""fvc: ultra-low-bandwidth video chat.

    import fvc
    report = fvc.encode("talk.mp4", "talk.fvc")             # writes talk.fvc and talk.fvs
    fvc.decode("talk.fvc", "talk.fvs", "back.mp4")          # OutputError where back.mp4 exists

`fvc.Encoder` and `fvc.Decoder` are the streaming objects beneath: one frame in, one packet out, and back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fvc.codec.version import __version__

__all__ = ["Decoder", "Encoder", "FvcError", "__version__", "decode", "encode", "info", "repair"]

if TYPE_CHECKING:
    from fvc.codec.decoder import Decoder
    from fvc.codec.encoder import Encoder
    from fvc.codec.errors import FvcError
    from fvc.jobs.decode import decode
    from fvc.jobs.encode import encode
    from fvc.jobs.inspect import info
    from fvc.jobs.repair import repair

_HOMES = {
    "Decoder": "fvc.codec.decoder",
    "Encoder": "fvc.codec.encoder",
    "FvcError": "fvc.codec.errors",
    "decode": "fvc.jobs.decode",
    "encode": "fvc.jobs.encode",
    "info": "fvc.jobs.inspect",
    "repair": "fvc.jobs.repair",
}


def __getattr__(name: str) -> Any:
    """Loads the parts on first use: `import fvc` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fvc' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
