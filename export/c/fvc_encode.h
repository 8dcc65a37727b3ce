/* Integers -> bytes: the encoder that belongs to fvc_decode.h, in C11, without floating point, without dynamic memory.
 * Which integers are sent is the caller's matter; the bytes are those that the Python encoder makes of them.
 */
#ifndef FVC_ENCODE_H
#define FVC_ENCODE_H

#include "fvc_decode.h"

enum { FVC_MOST_CODED = 2048 }; /* bytes of a frame: at most 122 integers of at most 76 bits */

typedef struct { /* nothing to free; a copy codes a frame on trial */
    fvc_decoder model; /* what a decoder of the same bytes would know; ->integers: of the last frame */
} fvc_encoder;

/* An encoder before its first frame. `priors` must outlive it. */
void fvc_encode_start(fvc_encoder *encoder, const fvc_priors *priors, const fvc_header *header);

/* Codes a frame: `integers` of each part of the header by component, as a KEY packet's (key) or a MOTION packet's. *size
 * becomes the number of bytes in `coded`, 0 where a decoder reads the same from no byte (4.2: send one zero byte then).
 * Returns 0, or 13 where an integer exceeds its range; the next frame must be a keyframe then. */
int fvc_encode_frame(fvc_encoder *encoder, const uint16_t integers[FVC_PARTS][FVC_MOST], int key,
                     uint8_t coded[FVC_MOST_CODED], size_t *size);

/* 10.1: writes a datagram of `count` packets with full numbers; `frame` is the newest coded frame. Returns its size, 0 if
 * it would be above 1200 bytes. */
size_t fvc_write_datagram(uint64_t frame, const fvc_packet *packets, size_t count, uint8_t out[1200]);

#endif
