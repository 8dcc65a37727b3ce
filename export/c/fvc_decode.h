/* Bytes of fvc files and datagrams -> integers: a decoder of bitstream_spec.md in C11, without floating point, without
 * dynamic memory, without dependencies. See fvc_decode.c. Section numbers are those of the specification.
 *
 * All functions that read return 0, or the number of the rule of section 9.3 that the bytes break (10: E10).
 */
#ifndef FVC_DECODE_H
#define FVC_DECODE_H

#include <stddef.h>
#include <stdint.h>

enum { FVC_SUP, FVC_UNSUP, FVC_JAC, FVC_EXPR, FVC_SHAPE, FVC_PARTS };
enum { FVC_MOTION, FVC_KEY, FVC_AUDIO, FVC_END, FVC_REFRESH, FVC_LAYER };
enum { FVC_MOST = 66, FVC_MOST_PARTS = 4, FVC_MOST_SLICES = 16, FVC_MOST_MOTION = 4096, FVC_MOST_ENTRIES = 600 };

extern const int fvc_components[FVC_PARTS];      /* 5.1: 66, 20, 40, 16, 66 */
extern const char *const fvc_part_name[FVC_PARTS];

typedef struct { /* 4.1 */
    int has_audio, profile, parts, part[FVC_MOST_PARTS]; /* the profile's parts in coding order; FVC_SHAPE: see 8.2 */
    uint32_t fps_numerator, fps_denominator, keyframe_interval;
    int width, height, x, y, side; /* crop */
    uint8_t model_hash[8], sources_hash[16], pixels_hash[16];
    int bits[FVC_PARTS], low[FVC_PARTS], high[FVC_PARTS]; /* value = (low + q (high - low) / (2^bits - 1)) / 256 */
    int frame_ms, pre_skip;
    int picture_side; /* of the source pictures: 256 or 512 */
    int set_count; /* of scenes; 0: all pictures draw all frames */
    uint8_t sets[8]; /* bit n: picture n */
    const uint8_t *changes; /* into the bytes that were read, see fvc_read_changes */
    size_t changes_size;
} fvc_header;

typedef struct { /* 4.2; payload points into the bytes that were read */
    int kind, six_bits;
    uint64_t number; /* set by fvc_number or fvc_read_datagram */
    const uint8_t *payload;
    size_t size;
} fvc_packet;

typedef struct { /* 4.4 */
    uint64_t frame, audio_packets;
    int slice, slices;
    const uint8_t *motion, *coded;
    size_t motion_size, coded_size;
} fvc_refresh;

typedef struct { /* A.1, one part; index i is the place in coding order */
    int n, usual_bits, order[FVC_MOST];
    int key_spread_offset, error_exponent, recent_activity_exponent, frame_activity_exponent;
    int key_activity_exponent, hold_threshold;
    int32_t mean[FVC_MOST], spread[FVC_MOST], shape[1024];
    int64_t key_error[FVC_MOST], error[FVC_MOST];
    int16_t key_weights[FVC_MOST][FVC_MOST], now_weights[FVC_MOST][FVC_MOST];
    int16_t last_weights[FVC_MOST][FVC_MOST], mean_weights[FVC_MOST][FVC_MOST];
} fvc_part_priors;

typedef struct {
    fvc_part_priors part[FVC_PARTS];
} fvc_priors;

typedef struct { /* 5.2 */
    int64_t last[FVC_MOST], change[FVC_MOST], usual[FVC_MOST];
    int64_t learned_error[FVC_MOST], hold_error[FVC_MOST], quick_error[FVC_MOST];
    int64_t frames;
} fvc_state;

typedef struct { /* one stream's frames; about 150 kB, nothing to free */
    const fvc_priors *priors;
    fvc_header header;
    fvc_state state[FVC_PARTS];
    uint64_t next_frame, next_audio; /* 4.3 */
    int has_follows;                 /* 9.1 */
    uint64_t follows;
    int slices_held;                 /* of one keyframe, without a gap */
    fvc_refresh slice[FVC_MOST_SLICES];
    uint8_t slice_bytes[FVC_MOST_SLICES][FVC_MOST_MOTION];
    uint8_t joined[FVC_MOST_SLICES * FVC_MOST_MOTION];
    uint64_t frames_seen, audio_seen, frames_total, audio_total; /* for fvc_check_missing */
    uint16_t integers[FVC_PARTS][FVC_MOST];                      /* of the last frame that has any, by component */
} fvc_decoder;

/* priors.bin (A.1). Returns -1 for another file. */
int fvc_read_priors(fvc_priors *priors, const uint8_t *data, size_t size);

/* The header at the start of a stream; *at becomes the place of the first packet. */
int fvc_read_header(fvc_header *header, const uint8_t *data, size_t size, size_t *at);

/* 4.1: calls change(context, frame, set) for each change of scenes, unless it is NULL. The header was read already: then
 * no rule is broken. */
int fvc_read_changes(const fvc_header *header, void (*change)(void *context, uint64_t frame, int set), void *context);

/* The packet at *at, which must be below size; *at becomes the place of the next. */
int fvc_read_packet(fvc_packet *packet, const uint8_t *data, size_t size, size_t *at);

/* A decoder before its first packet. `priors` must outlive it. */
void fvc_start(fvc_decoder *decoder, const fvc_priors *priors, const fvc_header *header);

/* 4.3: finds a packet's full number, for packets of a file in order. Datagrams have theirs already. */
int fvc_number(fvc_decoder *decoder, fvc_packet *packet);

/* 9.1: takes a MOTION, KEY or REFRESH packet; frames must come in order. *held is 1 if the frame has no integers; else
 * they are in decoder->integers. After a rule was broken a caller may go on: frames up to the next keyframe are held. */
int fvc_take(fvc_decoder *decoder, const fvc_packet *packet, int *held);

/* The integers of a part, fvc_components[part] of them: of the last frame that has any, and of a source (7.1). For
 * languages that see C's arrays of arrays as something else. */
const uint16_t *fvc_integers(const fvc_decoder *decoder, int part);

/* END (4.2): totals. Calls keyframe(context, frame, offset) for each pair unless it is NULL. */
int fvc_read_end(const fvc_packet *packet, uint64_t *frames, uint64_t *audio_packets,
                 void (*keyframe)(void *context, uint64_t frame, uint64_t offset), void *context);

/* 9.1, for players: E14 if more is missing than may be filled in. `bytes` is the size of the file. */
int fvc_check_missing(const fvc_decoder *decoder, uint64_t bytes);

/* 10.1: all packets of a datagram, at most FVC_MOST_ENTRIES. */
int fvc_read_datagram(const fvc_header *header, const uint8_t *data, size_t size, fvc_packet *packets, size_t *count);

typedef struct { /* 7.1; pointers into the bytes that were read */
    uint8_t model_hash[8], sources_hash[16]; /* 7.2 */
    int side; /* of the pictures: 256 or 512; of 512, the first of `integers` and `coded` is the preview's */
    int profile, parts, part[FVC_MOST_PARTS], canvas_width, canvas_height;
    int count, missing; /* sources and previews that are here; sections, the canvas among them, that are not */
    size_t integers_bytes; /* of each source */
    uint16_t integers[9][FVC_PARTS][FVC_MOST]; /* 16 bits, ranges of section 7.1 */
    const uint8_t *coded[9], *canvas;
    size_t coded_bytes[9], canvas_bytes;
} fvc_sources;

const uint16_t *fvc_source_integers(const fvc_sources *sources, int source, int part);

/* A source set; its pictures are AV1, of which only the frame headers are counted. A canvas is not looked into. */
int fvc_read_sources(fvc_sources *sources, const uint8_t *data, size_t size);

/* The same of the beginning of a source set, with one section or more; ->missing says how many have not arrived. */
int fvc_read_sources_so_far(fvc_sources *sources, const uint8_t *data, size_t size);

#endif
