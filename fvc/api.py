"""Files in, files out: what the command line and Python callers use. Over `codec.Encoder` and `codec.Decoder`.

    encode   a video -> .fvc and its source pictures    fvc/jobs/encode.py
    decode   .fvc and source pictures -> a video        fvc/jobs/decode.py
    info     what a .fvc or .fvs says of itself         fvc/jobs/inspect.py
    repair   a cut-off .fvc -> a complete one           fvc/jobs/repair.py

`fvc/jobs/source_files.py` reads and writes source pictures, `fvc/jobs/paths.py` holds what all of them ask of the file
system.
"""

from __future__ import annotations

from fvc.jobs.decode import decode
from fvc.jobs.encode import encode
from fvc.jobs.inspect import info
from fvc.jobs.repair import repair

__all__ = ["decode", "encode", "info", "repair"]
