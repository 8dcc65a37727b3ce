"""Bytes: packets and headers, the .fvc container, the .fvs source set and its AV1 pictures."""
