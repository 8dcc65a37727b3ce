/* Integers -> bytes: the encoder that belongs to fvc_decode.h, in C11, without dynamic memory. The bytes are those that
 * the Python encoder makes of the same integers. Which these are is the caller's matter, or the choice of
 * `fvc_encode_near`, the only place where there is floating point.
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

typedef struct { /* what fvc_encode_near is to come near to */
    double steps[FVC_PARTS][FVC_MOST]; /* by component: measured values in steps above integer 0, 0 .. 2^bits - 1 */
    double lambda;                     /* bits for a square pixel of distortion */
    double distortion;                 /* result: of the integers that were chosen, in square pixels of a 256x256 picture */
} fvc_targets;

/* As fvc_encode_frame, with the integers of the least rate + lambda * distortion between the nearest and the predicted
 * (codec/motion/rdo.py). They are in encoder->model.integers afterwards. */
int fvc_encode_near(fvc_encoder *encoder, fvc_targets *targets, int key, uint8_t coded[FVC_MOST_CODED], size_t *size);

/* 10.1: writes a datagram of `count` packets with full numbers; `frame` is the newest coded frame. Returns its size, 0 if
 * it would be above 1200 bytes. */
size_t fvc_write_datagram(uint64_t frame, const fvc_packet *packets, size_t count, uint8_t out[1200]);

#endif
