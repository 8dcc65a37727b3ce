"""Byte formats: stream header and packets, the .fvc container, the .fvs source set and its AV1 pictures."""
