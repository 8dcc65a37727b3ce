"""Files in, files out: what the command line and Python callers use. Over `codec.Encoder` and `codec.Decoder`.

    encode   a video -> .fvc and its source pictures    fvc/encoding.py
    decode   .fvc and source pictures -> a video        fvc/decoding.py
    info     what a .fvc or .fvs says of itself         fvc/inspection.py
    repair   a cut-off .fvc -> a complete one           fvc/repair.py

`fvc/source_files.py` reads and writes source pictures, `fvc/files.py` holds what all of them ask of the file system.
"""

from __future__ import annotations

from fvc.decoding import decode
from fvc.encoding import encode
from fvc.inspection import info
from fvc.repair import repair

__all__ = ["decode", "encode", "info", "repair"]
