"""Numbers that bitstream_spec.md fixes, each stated here once; the section that fixes it follows in parentheses.

A test compares them with the document. Sizes are in bytes unless a comment says otherwise. The numbers of the motion
model are in `codec.motion.adaptation`, those of the frequency tables in `codec.motion.entropy`.
"""

from __future__ import annotations

from fractions import Fraction

# Pictures
SIDE = 256  # pixels: width and height of the pictures that are coded and drawn (7.1, 8.2)
LARGE_SIDE = 512  # pixels: the other side that they may have (4.1, 7.1)
SIDES = (SIDE, LARGE_SIDE)
MAX_SOURCES = 8  # pictures in a source set (7.1)
MAX_PICTURE_BYTES = 1 << 20  # of AV1 data: each source picture, and the canvas (7.1)
MAX_CANVAS_PIXELS = 1 << 22  # (7.1)
MIN_LAYER_SIDE = 64  # pixels: the smallest picture of a video layer; the largest is SIDE (4.5)

# The stream's header
MAX_HEADER_LENGTH = 4096  # (4.1)
MAX_FPS = 240  # frames per second (4.1)
MIN_FPS = Fraction(1, 10)  # frames per second that encoders offer and videos are written with: not of the format
MAX_CROP_SIDE = 16384  # pixels: of the whole frame, and of the crop in it (4.1)
MAX_QUANTIZER_BITS = 16  # (4.1)
MAX_PRE_SKIP = 48000  # samples at 48 kHz (4.1)
MODEL_HASH_BYTES = 8  # (8.1)
SOURCES_HASH_BYTES = 16  # of sources_hash and of pixels_hash (7.2)
SECTION_DIGEST_BYTES = 16  # of each section of a source set (7.1)

# Packets
MAX_MOTION_PAYLOAD = 4096  # of MOTION, KEY and REFRESH packets (4.2)
MAX_AUDIO_PAYLOAD = 1500  # (4.2)
MAX_END_PAYLOAD = 1 << 20  # (4.2)
MAX_LAYER_PAYLOAD = 1 << 14  # (4.2)
MIN_PACKET_BYTES = 4  # head, payload_size of one byte, packet_crc (4.2)
MAX_NUMBER = (1 << 32) - 2  # largest packet number: END states the count, one more, in 32 bits (4.3)
NUMBER_BITS = 6  # low bits of a packet's number that its head carries (4.2)
MAX_SLICES = 16  # of a keyframe that is spread over frames (4.4)
REORDERING_WINDOW = 128  # frames: how far before the newest one a receiver still takes late packets (9.1, 10.3)
MAX_FILLED_SECONDS = 600  # most seconds of lost frames, and of lost sound, that a player fills in for a file (9.1)
MAX_FILLED_ITEMS = 900  # most frames, and AUDIO packets, that it fills in, plus one for each byte of the file (9.1)

# Calls
MAX_DATAGRAM = 1200  # small enough to cross the internet without fragmentation (10.1)
MIN_CALL_FPS = 1  # frames per second; at lower rates one frame could span minutes of sound (11.2)
MAX_SETUP_PIECE = 1024  # (11.2)
MAX_SETUP_PIECES = 1024  # pieces (11.2)
RTP_CLOCK = 90_000  # ticks per second of RTP time stamps (11.1)
RTP_PAYLOAD_TYPE = 96  # (11.1)
MAX_CHANNEL_PIECE = 400  # of a set-up over a data channel: half a second of a link of 8 kbit/s (12.2)
MAX_CHANNEL_PIECES = 2622  # pieces: a megabyte (12.2)
MAX_FEEDBACK = 32  # media messages that one feedback reports on (12.3)

# Headers of the protocols below, for counting what a link carries
RTP_HEADER_BYTES = 12  # RFC 3550, 5.1
UDP_IPV4_HEADER_BYTES = 8 + 20  # RFC 768, RFC 791
