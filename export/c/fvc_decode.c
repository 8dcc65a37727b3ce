/* fvc_decode: see fvc_decode.h. Follows bitstream_spec.md and names its sections.
 *
 *     cc -std=c11 -O2 -o fvc_decode fvc_decode.c
 *     fvc_decode priors.bin talk.fvc        header, frames, sound and END as lines of text
 *     fvc_decode priors.bin talk.fvs        the source set; with --so-far, of a file that has arrived in part
 *     fvc_decode priors.bin call.datagrams  "FVCD", a header, then u(16) sizes each followed by a datagram
 *
 * Exit code 0, or 1 and a line "fvc_decode: E10" on stderr where a rule is broken (lines before that are right), or 2
 * if a file cannot be read. Define FVC_LIBRARY to leave the program out.
 */
#include "fvc_decode.h"

#include <string.h>

const int fvc_components[FVC_PARTS] = {66, 20, 40, 16, 66};
const char *const fvc_part_name[FVC_PARTS] = {"sup", "unsup", "jac", "expr", "shape"};

enum { MOST_PROFILE = 13 };
static const int PROFILE_PARTS[MOST_PROFILE + 1] = {1, 2, 3, 2, 1, 2, 3, 0, 3, 4, 0, 0, 0, 4}; /* 5.1; 0: no profile */
static const int PROFILE_PART[MOST_PROFILE + 1][FVC_MOST_PARTS] = {
    {FVC_SUP}, {FVC_SUP, FVC_UNSUP}, {FVC_SUP, FVC_UNSUP, FVC_EXPR}, {FVC_UNSUP, FVC_JAC},
    {FVC_SHAPE}, {FVC_SHAPE, FVC_UNSUP}, {FVC_SHAPE, FVC_UNSUP, FVC_EXPR}, {0},
    {FVC_UNSUP, FVC_JAC, FVC_EXPR}, {FVC_SUP, FVC_UNSUP, FVC_JAC, FVC_EXPR}, {0}, {0}, {0},
    {FVC_SHAPE, FVC_UNSUP, FVC_JAC, FVC_EXPR}};
static const uint8_t SYNC[4] = {0xFF, 'F', 'V', 'K'};

#define TRY(expression)              \
    do {                             \
        int rule_ = (expression);    \
        if (rule_ != 0) return rule_; \
    } while (0)

/* ---- 2. Conventions ---- */

typedef struct {
    const uint8_t *data;
    size_t size, at;
} reader;

static reader reader_of(const uint8_t *data, size_t size) { return (reader){data, size, 0}; }

static size_t left(const reader *r) { return r->size - r->at; }

/* The next `count` bytes, which must be there: callers look at left() first. */
static const uint8_t *take(reader *r, size_t count) {
    const uint8_t *start = r->data + r->at;
    r->at += count;
    return start;
}

static uint32_t u(reader *r, int bits) {
    const uint8_t *byte = take(r, (size_t)bits / 8);
    uint32_t value = 0;
    for (int n = 0; n < bits / 8; n++) value = value << 8 | byte[n];
    return value;
}

static int i16(reader *r) {
    int value = (int)u(r, 16);
    return value < 32768 ? value : value - 65536;
}

static int leb128(reader *r, uint64_t *value) {
    *value = 0;
    for (int n = 0; n < 5; n++) {
        if (left(r) == 0) return 4;
        uint32_t byte = u(r, 8);
        *value |= (uint64_t)(byte & 127) << 7 * n;
        if (byte < 128) return *value >> 32 || (byte == 0 && n > 0) ? 5 : 0;
    }
    return 5;
}

static int64_t shift_down(int64_t a, int n) { return a >= 0 ? a >> n : ~(~a >> n); } /* a // 2^n */

static int64_t divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); } /* a // b, b > 0 */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t size_of(int64_t a) { return a < 0 ? -a : a; }

static uint32_t crc32(const uint8_t *data, size_t size) {
    uint32_t crc = 0xFFFFFFFF;
    for (size_t n = 0; n < size; n++) {
        crc ^= data[n];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    }
    return ~crc;
}

static uint32_t crc16(const uint8_t *data, size_t size) {
    uint32_t crc = 0xFFFF;
    for (size_t n = 0; n < size; n++) {
        crc ^= (uint32_t)data[n] << 8;
        for (int k = 0; k < 8; k++) crc = (crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xFFFF;
    }
    return crc;
}

static uint32_t turn(uint32_t a, int n) { return a >> n | a << (32 - n); }

static void sha256_block(uint32_t state[8], const uint8_t *block) { /* 64 bytes; names of FIPS 180-4 */
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64], v[8];
    reader r = reader_of(block, 64);
    for (int t = 0; t < 16; t++) w[t] = u(&r, 32);
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = turn(w[t - 15], 7) ^ turn(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = turn(w[t - 2], 17) ^ turn(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    memcpy(v, state, sizeof v); /* a to h */
    for (int t = 0; t < 64; t++) {
        uint32_t s0 = turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22);
        uint32_t s1 = turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]), majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        uint32_t first = v[7] + s1 + choice + k[t] + w[t];
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += first, v[0] = first + s0 + majority;
    }
    for (int n = 0; n < 8; n++) state[n] += v[n];
}

static void sha256(const uint8_t *data, size_t size, uint8_t digest[16]) { /* the first 16 bytes */
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t end[128] = {0}; /* what is left over, a bit, zeros, the number of bits */
    size_t rest = size % 64, length = rest < 56 ? 64 : 128;
    for (size_t at = 0; at + 64 <= size; at += 64) sha256_block(state, data + at);
    memcpy(end, data + (size - rest), rest);
    end[rest] = 128;
    for (size_t n = 0; n < 8; n++) end[length - 1 - n] = (uint8_t)((uint64_t)size * 8 >> 8 * n);
    for (size_t at = 0; at < length; at += 64) sha256_block(state, end + at);
    for (size_t n = 0; n < 16; n++) digest[n] = (uint8_t)(state[n / 4] >> (24 - 8 * (n % 4)));
}

/* ---- 4.1 Header ---- */

int fvc_read_changes(const fvc_header *h, void (*change)(void *, uint64_t, int), void *context) {
    reader r = reader_of(h->changes, h->changes_size);
    uint64_t frame = 0, value;
    for (int n = 0; left(&r) > 0; n++) {
        if (leb128(&r, &value) != 0 || (int)(value % 8) >= h->set_count || (n > 0 && value < 8)) return 27;
        frame += value / 8;
        if (frame > 0xFFFFFFFE) return 27;
        if (change) change(context, frame, (int)(value % 8));
    }
    return 0;
}

static int read_scenes(fvc_header *h, reader *r) {
    h->set_count = left(r) > 0 ? (int)u(r, 8) : 0;
    size_t sets = (size_t)h->set_count;
    if (sets < 1 || sets > 8 || left(r) < sets) return 27;
    memcpy(h->sets, take(r, sets), sets);
    h->changes_size = left(r), h->changes = take(r, h->changes_size);
    return fvc_read_changes(h, NULL, NULL);
}

static int header_elements(fvc_header *h, reader *r) {
    if (left(r) < 20) return 3;
    h->has_audio = (int)u(r, 8), h->profile = (int)u(r, 8);
    h->fps_numerator = u(r, 16), h->fps_denominator = u(r, 16), h->keyframe_interval = u(r, 16);
    h->width = (int)u(r, 16), h->height = (int)u(r, 16), h->x = i16(r), h->y = i16(r), h->side = (int)u(r, 16);
    if (h->has_audio > 1 || h->profile > MOST_PROFILE || PROFILE_PARTS[h->profile] == 0) return 6;
    if (h->fps_numerator == 0 || h->fps_denominator == 0 || h->fps_numerator > 240 * h->fps_denominator) return 7;
    if (h->width < 1 || h->height < 1 || h->side < 1) return 7;
    if (h->width > 16384 || h->height > 16384 || h->side > 16384) return 7;
    if (left(r) < 40) return 3;
    memcpy(h->model_hash, take(r, 8), 8);
    memcpy(h->sources_hash, take(r, 16), 16);
    memcpy(h->pixels_hash, take(r, 16), 16);
    h->parts = PROFILE_PARTS[h->profile];
    for (int k = 0; k < h->parts; k++) {
        int part = h->part[k] = PROFILE_PART[h->profile][k];
        if (left(r) < 5) return 3;
        h->bits[part] = (int)u(r, 8), h->low[part] = i16(r), h->high[part] = i16(r);
        if (h->bits[part] < 1 || h->bits[part] > 16 || h->high[part] <= h->low[part]) return 8;
    }
    if (h->has_audio) {
        if (left(r) < 3) return 3;
        h->frame_ms = (int)u(r, 8), h->pre_skip = (int)u(r, 16);
        int known = h->frame_ms == 10 || h->frame_ms == 20 || h->frame_ms == 40 || h->frame_ms == 60;
        if (!known || h->pre_skip > 48000) return 9;
    }
    h->picture_side = 256;
    while (left(r) > 0) { /* extensions */
        if (left(r) < 3) return 3;
        int type = (int)u(r, 8);
        size_t length = u(r, 16);
        if (left(r) < length) return 3;
        reader extension = reader_of(take(r, length), length);
        if (type == 1) TRY(read_scenes(h, &extension));
        if (type == 2 && (length != 2 || u(&extension, 16) != 512)) return 28;
        if (type == 2) h->picture_side = 512;
    }
    return 0;
}

int fvc_read_header(fvc_header *header, const uint8_t *data, size_t size, size_t *at) {
    static const uint8_t magic[4] = {0xAB, 'F', 'V', 'C'};
    memset(header, 0, sizeof *header);
    reader r = reader_of(data, size);
    if (size == 0 || memcmp(data, magic, size < 4 ? size : 4) != 0) return 1;
    if (size < 7) return 4;
    take(&r, 4);
    if (u(&r, 8) != 2) return 2;
    size_t length = u(&r, 16);
    if (length > 4096) return 3;
    if (left(&r) < length + 4) return 4;
    reader body = reader_of(take(&r, length), length);
    if (u(&r, 32) != crc32(data, 7 + length)) return 3;
    *at = r.at;
    return header_elements(header, &body);
}

/* ---- 4.2 Packets ---- */

int fvc_read_packet(fvc_packet *packet, const uint8_t *data, size_t size, size_t *at) {
    static const size_t largest[6] = {4096, 4096, 1500, 1 << 20, 4096, 1 << 14};
    static const int kinds[3] = {FVC_END, FVC_REFRESH, FVC_LAYER};
    reader r = {data, size, *at};
    int synced = left(&r) > 0 && data[r.at] == SYNC[0];
    if (synced) {
        if (left(&r) < 4) return 4;
        if (memcmp(take(&r, 4), SYNC, 4) != 0) return 10;
    }
    if (left(&r) < 1) return 4;
    size_t start = r.at;
    uint32_t head = u(&r, 8);
    packet->kind = (int)(head >> 6), packet->six_bits = (int)(head & 63), packet->number = 0;
    if (packet->kind == FVC_END) {
        if (packet->six_bits > 2) return 10;
        packet->kind = kinds[packet->six_bits];
    }
    if (synced != (packet->kind == FVC_KEY || packet->kind == FVC_REFRESH)) return 10;
    uint64_t length;
    int rule = leb128(&r, &length);
    if (rule != 0) return rule == 5 ? 10 : rule;
    if (length > largest[packet->kind]) return 10;
    if (left(&r) < length + 2) return 4;
    packet->size = (size_t)length, packet->payload = take(&r, packet->size);
    uint32_t crc = crc16(data + start, r.at - start);
    if (u(&r, 16) != crc) return 10;
    *at = r.at;
    return 0;
}

static int read_key(const fvc_packet *packet, uint64_t *frame, uint64_t *audio_packets, reader *coded) {
    *coded = reader_of(packet->payload, packet->size);
    TRY(leb128(coded, frame));
    return leb128(coded, audio_packets);
}

static int read_refresh(const fvc_packet *packet, fvc_refresh *f) { /* 4.4 */
    reader r;
    uint64_t motion_size;
    TRY(read_key(packet, &f->frame, &f->audio_packets, &r));
    if (left(&r) < 2) return 4;
    f->slice = (int)u(&r, 8), f->slices = (int)u(&r, 8);
    TRY(leb128(&r, &motion_size));
    if (left(&r) < motion_size) return 4;
    f->motion_size = (size_t)motion_size, f->motion = take(&r, f->motion_size);
    f->coded_size = left(&r), f->coded = take(&r, f->coded_size);
    if (f->slices < 2 || f->slices > FVC_MOST_SLICES || f->slice >= f->slices) return 23;
    return (uint64_t)f->slice > f->frame || (f->slice == 0 && f->motion_size == 0) ? 23 : 0;
}

int fvc_read_end(const fvc_packet *packet, uint64_t *frames, uint64_t *audio_packets,
                 void (*keyframe)(void *, uint64_t, uint64_t), void *context) {
    reader r;
    uint64_t count, frame = 0, offset = 0;
    TRY(read_key(packet, frames, audio_packets, &r));
    TRY(leb128(&r, &count));
    if (count > left(&r) / 2) return 11;
    for (uint64_t n = 0; n < count; n++) {
        uint64_t step, jump;
        TRY(leb128(&r, &step));
        TRY(leb128(&r, &jump));
        frame += step, offset += jump;
        if (keyframe) keyframe(context, frame, offset);
    }
    return 0;
}

#define MAX_NUMBER 4294967294u /* 4.3 */

int fvc_number(fvc_decoder *d, fvc_packet *packet) { /* 4.3 */
    if (packet->kind == FVC_END || packet->kind == FVC_LAYER) return 0;
    if (packet->kind == FVC_AUDIO) {
        packet->number = d->next_audio + (((uint64_t)packet->six_bits - d->next_audio) & 63);
        if (packet->number > MAX_NUMBER) return 10;
        d->next_audio = packet->number + 1;
        d->audio_seen++;
        return 0;
    }
    if (packet->kind == FVC_MOTION) {
        packet->number = d->next_frame + (((uint64_t)packet->six_bits - d->next_frame) & 63);
        if (packet->number > MAX_NUMBER) return 10;
    } else {
        uint64_t frame, audio_packets;
        reader coded;
        fvc_refresh refresh;
        TRY(read_key(packet, &frame, &audio_packets, &coded));
        if (packet->kind == FVC_REFRESH) TRY(read_refresh(packet, &refresh));
        if (packet->kind == FVC_KEY && frame % 64 != (uint64_t)packet->six_bits) return 10;
        if (frame < d->next_frame || frame > MAX_NUMBER) return 10;
        packet->number = frame;
        if (audio_packets > d->next_audio) d->next_audio = audio_packets;
    }
    d->next_frame = packet->number + 1;
    return 0;
}

/* ---- 6. Entropy decoding ---- */

typedef struct range_decoder range_decoder;
typedef int give_value(range_decoder *, const fvc_part_priors *, int64_t prediction, int64_t spread, int64_t *found);

struct range_decoder {
    reader data;
    uint64_t lower, range, point, scale;
    give_value *give; /* of an encoder (fvc_encode.c): says the next value and codes it; NULL: values are decoded */
    void *encoder;
};

static uint32_t word(range_decoder *d) { /* past the end there are zeros */
    uint32_t value = 0;
    for (int n = 0; n < 4; n++) value = value << 8 | (left(&d->data) ? u(&d->data, 8) : 0);
    return value;
}

static range_decoder range_decoder_of(reader data) { /* 6.3 */
    range_decoder d = {data, 0, UINT64_MAX, 0, 0, NULL, NULL};
    d.point = (uint64_t)word(&d) << 32;
    d.point |= word(&d);
    return d;
}

static int quantile(range_decoder *d, uint32_t *q) {
    d->scale = d->range >> 24;
    uint64_t found = (d->point - d->lower) / d->scale;
    *q = (uint32_t)found;
    return found >> 24 ? 12 : 0;
}

static void narrow(range_decoder *d, uint32_t start, uint32_t end) {
    d->lower += d->scale * start;
    d->range = d->scale * (end - start);
    if (d->range >> 32 == 0) {
        d->lower <<= 32, d->range <<= 32;
        d->point = d->point << 32 | word(d);
    }
}

static int bits(range_decoder *d, int count, int64_t *value) { /* 6.4 */
    *value = 0;
    while (count > 0) {
        int width = (count - 1) % 16 + 1;
        uint32_t q;
        TRY(quantile(d, &q));
        uint32_t chunk = q >> (24 - width);
        narrow(d, chunk << (24 - width), (chunk + 1) << (24 - width));
        *value = *value * (1 << width) + chunk;
        count -= width;
    }
    return 0;
}

static int64_t below(const fvc_part_priors *p, int c, int a, int q) { /* 6.1 */
    static const int64_t narrower[8] = {65536, 60097, 55109, 50535, 46341, 42495, 38968, 35734};
    int64_t edge = 32 * q + 15 - 2 * a;
    int64_t k = (size_of(edge) * narrower[c % 8]) >> (11 + c / 8);
    int64_t size = p->shape[least(k, 1023)];
    return edge > 0 ? 32768 + size : 32768 - size;
}

static uint64_t round24(uint64_t x) { /* 6.2: R24 */
    int drop = 0;
    while (x >> drop >> 24) drop++;
    if (drop == 0) return x;
    uint64_t kept = x >> drop, rest = x & (((uint64_t)1 << drop) - 1), half = (uint64_t)1 << (drop - 1);
    if (rest > half || (rest == half && (kept & 1))) kept++;
    return kept << drop;
}

static void symbol_frequencies(const fvc_part_priors *p, int c, int a, int64_t frequency[34]) {
    int64_t total = 0, before = below(p, c, a, -17);
    frequency[33] = 1 + (((65536 - below(p, c, a, 16) + before) * 65502) >> 16);
    for (int s = 0; s < 33; s++) {
        int64_t after = below(p, c, a, s - 16);
        frequency[s] = 1 + (((after - before) * 65502) >> 16);
        before = after;
    }
    for (int s = 0; s < 34; s++) total += frequency[s];
    frequency[16] += 65536 - total;
}

/* Where symbol s ends of 2^24, `sum` being the frequencies up to it (6.2). */
static uint32_t symbol_end(int s, uint64_t sum) {
    return s == 33 ? 1 << 24 : (uint32_t)s + 1 + (uint32_t)(round24(sum * ((1 << 24) - 34)) >> 16);
}

static int symbol(range_decoder *d, const fvc_part_priors *p, int c, int a, int *found) {
    int64_t frequency[34];
    symbol_frequencies(p, c, a, frequency);
    uint32_t q, start = 0;
    TRY(quantile(d, &q));
    uint64_t sum = 0;
    for (int s = 0; s < 34; s++) {
        sum += (uint64_t)frequency[s];
        uint32_t end = symbol_end(s, sum);
        if (q < end) {
            narrow(d, start, end);
            *found = s;
            return 0;
        }
        start = end;
    }
    return 12; /* not reached: q < 2^24 */
}

typedef struct { /* how a value is coded: base + sign * (q << shift) + low bits */
    int c, a, sign, shift;
    int64_t base;
} residual;

static residual residual_of(int64_t prediction, int64_t spread) { /* 6.5 */
    int64_t c = most(spread, 0) >> 2;
    int shift = (int)least(most(shift_down(c - 40, 3), 0), 12);
    c = least(c - 8 * shift, 47);
    int64_t base = shift_down(prediction + 2048 - (((int64_t)1 << shift) - 1) * 2048, 12);
    int64_t a = shift > 0 ? 0 : shift_down(prediction - base * 4096, 8);
    return (residual){(int)c, (int)(a < 0 ? -1 - a : a), a < 0 ? -1 : 1, shift, base};
}

static int value(range_decoder *d, const fvc_part_priors *p, int64_t prediction, int64_t spread, int64_t *found) {
    residual r = residual_of(prediction, spread);
    int64_t low_bits;
    int s;
    TRY(symbol(d, p, r.c, r.a, &s));
    int64_t q = r.sign * (s - 16);
    if (s == 33) { /* the escape */
        int64_t negative, width, rest;
        TRY(bits(d, 1, &negative));
        TRY(bits(d, 5, &width));
        if (width < 1 || width > 20) return 12;
        TRY(bits(d, (int)width - 1, &rest));
        q = 16 + ((int64_t)1 << (width - 1)) + rest;
        if (negative) q = -q;
    }
    TRY(bits(d, r.shift, &low_bits));
    *found = r.base + q * ((int64_t)1 << r.shift) + low_bits;
    return 0;
}

/* ---- 5. Decoding a frame ---- */

static int64_t log2_32(int64_t x) { /* 5.2 */
    int k = 0;
    while (x >> k > 1) k++;
    return 32 * (k - 1) + ((x * 32) >> k);
}

static int64_t total(const int64_t *values, int n) {
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += values[i];
    return sum;
}

static int64_t scaled(int64_t error, int finer) { /* 5.1 */
    return most(finer >= 0 ? error * ((int64_t)1 << finer) : error >> -finer, 1);
}

typedef struct { /* what 5.3 is given */
    int64_t origin[FVC_MOST], learned[FVC_MOST], expected[FVC_MOST], spread[FVC_MOST];
    int hold[FVC_MOST];
} plan;

static int components(range_decoder *d, const fvc_part_priors *p, plan *given, const int16_t weights[][FVC_MOST],
                      int exponent, int64_t top, int64_t *q) { /* 5.3 */
    int64_t actual = 4 * total(given->expected, p->n) / p->n, past = actual;
    for (int i = 0; i < p->n; i++) {
        int64_t clamped = least(most(given->learned[i], 0), top * 4096);
        int64_t prediction = given->hold[i] ? given->origin[i] * 4096 : clamped;
        int64_t s = given->spread[i] + shift_down(exponent * (log2_32(actual) - log2_32(past)), 6);
        TRY((d->give ? d->give : value)(d, p, prediction, s, &q[i]));
        if (q[i] < 0 || q[i] > top) return 13;
        for (int j = i + 1; j < p->n; j++) given->learned[j] += weights[j][i] * (q[i] - given->origin[i]);
        actual += size_of(q[i] * 4096 - prediction);
        past += given->expected[i];
    }
    return 0;
}

static void restart(const fvc_part_priors *p, int finer, fvc_state *state) { /* end of 5.4 */
    for (int i = 0; i < p->n; i++) {
        state->change[i] = 0;
        state->usual[i] = state->last[i] * 256;
        state->learned_error[i] = state->quick_error[i] = scaled(p->error[i], finer);
        state->hold_error[i] = 2 * state->learned_error[i];
    }
    state->frames = 0;
}

static int key_part(range_decoder *d, const fvc_part_priors *p, int part_bits, fvc_state *state) { /* 5.4 */
    plan given = {0};
    int finer = part_bits - p->usual_bits;
    for (int i = 0; i < p->n; i++) {
        given.origin[i] = p->mean[i] >> (16 - part_bits);
        given.learned[i] = given.origin[i] * 4096;
        given.expected[i] = scaled(p->key_error[i], finer);
        given.spread[i] = p->key_spread_offset - 128 + log2_32(given.expected[i]) - 256;
    }
    int64_t top = ((int64_t)1 << part_bits) - 1;
    TRY(components(d, p, &given, p->key_weights, p->key_activity_exponent, top, state->last));
    restart(p, finer, state);
    return 0;
}

static void learn(fvc_state *state, const fvc_part_priors *p, const plan *given, const int64_t *q, int64_t top) {
    int64_t pace = least(state->frames + 3, 8); /* 5.5, what follows the components */
    for (int i = 0; i < p->n; i++) {
        int64_t error = size_of(q[i] * 4096 - least(most(given->learned[i], 0), top * 4096));
        int64_t from_mean = state->last[i] * 256 - state->usual[i];
        state->change[i] = q[i] - state->last[i];
        int64_t held = 4096 * size_of(state->change[i]), taken = given->hold[i] ? held : error;
        state->usual[i] += shift_down(5 * from_mean, 5);
        state->quick_error[i] += shift_down(3 * (taken - state->quick_error[i]), 3);
        state->learned_error[i] += divide(error - state->learned_error[i], pace);
        state->hold_error[i] += divide(held - state->hold_error[i], pace);
        state->last[i] = q[i];
    }
    state->frames++;
}

static int motion_part(range_decoder *d, const fvc_part_priors *p, int part_bits, fvc_state *state) { /* 5.5 */
    plan given = {0};
    int n = p->n;
    int64_t q[FVC_MOST], top = ((int64_t)1 << part_bits) - 1, fine = 32 * (part_bits - p->usual_bits);
    for (int i = 0; i < n; i++) {
        int64_t changes = 0, far = 0;
        for (int j = 0; j < n; j++) {
            changes += p->last_weights[i][j] * state->change[j];
            far += p->mean_weights[i][j] * (state->last[j] * 256 - state->usual[j]);
        }
        given.origin[i] = state->last[i];
        given.learned[i] = state->last[i] * 4096 + changes + shift_down(far, 8);
        given.hold[i] = 64 * state->hold_error[i] < p->hold_threshold * state->learned_error[i];
        given.expected[i] = 80 + (given.hold[i] ? state->hold_error[i] : state->learned_error[i]);
    }
    int64_t recent = log2_32(total(state->quick_error, n) + 80 * n) - log2_32(total(given.expected, n));
    for (int i = 0; i < n; i++) {
        int64_t own = p->error_exponent * (log2_32(given.expected[i]) - fine);
        given.spread[i] = p->spread[i] + shift_down(own + p->recent_activity_exponent * recent, 6) + fine - 256;
    }
    TRY(components(d, p, &given, p->now_weights, p->frame_activity_exponent, top, q));
    learn(state, p, &given, q, top);
    return 0;
}

/* One frame of all parts, from `range`, or into it if it gives values. */
static int all_parts(fvc_decoder *d, range_decoder range, int key) {
    for (int k = 0; k < d->header.parts; k++) {
        int part = d->header.part[k];
        const fvc_part_priors *p = &d->priors->part[part];
        TRY((key ? key_part : motion_part)(&range, p, d->header.bits[part], &d->state[part]));
        for (int i = 0; i < p->n; i++) d->integers[part][p->order[i]] = (uint16_t)d->state[part].last[i];
    }
    return 0;
}

static int decode(fvc_decoder *d, const uint8_t *coded, size_t size, int key) {
    return all_parts(d, range_decoder_of(reader_of(coded, size)), key);
}

const uint16_t *fvc_integers(const fvc_decoder *decoder, int part) { return decoder->integers[part]; }

/* ---- 9.1 Loss ---- */

void fvc_start(fvc_decoder *decoder, const fvc_priors *priors, const fvc_header *header) {
    memset(decoder, 0, sizeof *decoder);
    decoder->priors = priors, decoder->header = *header;
}

static void collect(fvc_decoder *d, const fvc_refresh *f) { /* keeps the slices of one keyframe */
    const fvc_refresh *before = &d->slice[d->slices_held ? d->slices_held - 1 : 0];
    if (f->slice == 0)
        d->slices_held = 0;
    else if (!d->slices_held || f->frame != before->frame + 1 || f->slice != before->slice + 1 ||
             f->slices != before->slices) {
        d->slices_held = 0;
        return;
    }
    uint8_t *bytes = d->slice_bytes[d->slices_held]; /* copies, since a payload need not outlive its packet */
    memcpy(bytes, f->motion, f->motion_size);
    memcpy(bytes + f->motion_size, f->coded, f->coded_size);
    d->slice[d->slices_held] = *f;
    d->slice[d->slices_held].motion = bytes, d->slice[d->slices_held].coded = bytes + f->motion_size;
    d->slices_held++;
}

static int decode_slices(fvc_decoder *d, int *held) { /* 4.4: the keyframe, then the motion of the frames after it */
    size_t size = 0;
    for (int n = 0; n < d->slices_held; n++) {
        memcpy(d->joined + size, d->slice[n].coded, d->slice[n].coded_size);
        size += d->slice[n].coded_size;
    }
    TRY(decode(d, d->joined, size, 1));
    for (int n = 1; n < d->slices_held; n++)
        if (d->slice[n].motion_size) TRY(decode(d, d->slice[n].motion, d->slice[n].motion_size, 0));
    *held = d->slice[d->slices_held - 1].motion_size == 0;
    return 0;
}

int fvc_take(fvc_decoder *d, const fvc_packet *packet, int *held) {
    fvc_refresh refresh = {0};
    const uint8_t *motion = packet->payload;
    size_t motion_size = packet->size;
    int in_step = d->has_follows && d->follows == packet->number, rule = 0;
    *held = 1;
    d->frames_seen++;
    d->frames_total = packet->number + 1;
    d->has_follows = 0; /* until this frame turns out well */
    if (packet->kind == FVC_REFRESH) {
        rule = read_refresh(packet, &refresh);
        if (rule != 0) return rule;
        collect(d, &refresh);
        motion = refresh.motion, motion_size = refresh.motion_size;
    } else {
        d->slices_held = 0;
    }
    if (packet->kind == FVC_KEY) {
        uint64_t frame, audio_packets;
        reader coded;
        TRY(read_key(packet, &frame, &audio_packets, &coded));
        TRY(decode(d, coded.data + coded.at, left(&coded), 1));
        *held = 0;
    } else if (in_step) {
        if (motion_size) rule = decode(d, motion, motion_size, 0);
        if (rule != 0) {
            d->slices_held = 0; /* 9.1: a slice that failed is none */
            return rule;
        }
        *held = motion_size == 0;
        if (packet->kind == FVC_REFRESH && refresh.slice == 0)
            for (int k = 0; k < d->header.parts; k++) {
                int part = d->header.part[k];
                const fvc_part_priors *p = &d->priors->part[part];
                restart(p, d->header.bits[part] - p->usual_bits, &d->state[part]);
            }
    } else if (packet->kind == FVC_REFRESH && d->slices_held == refresh.slices) {
        TRY(decode_slices(d, held));
    } else {
        return 0;
    }
    d->has_follows = 1, d->follows = packet->number + 1;
    return 0;
}

static int missing(uint64_t present, uint64_t all, uint64_t step, uint64_t per_second, uint64_t bytes) {
    uint64_t count = all - present; /* of `step` / `per_second` seconds each; below 2^33 */
    return count * step > 600 * per_second || count > 900 + bytes ? 14 : 0;
}

int fvc_check_missing(const fvc_decoder *d, uint64_t bytes) {
    uint64_t step = d->header.fps_denominator, per_second = d->header.fps_numerator;
    TRY(missing(d->frames_seen, d->frames_total, step, per_second, bytes));
    uint64_t audio = d->next_audio > d->audio_total ? d->next_audio : d->audio_total;
    return d->header.has_audio ? missing(d->audio_seen, audio, (uint64_t)d->header.frame_ms, 1000, bytes) : 0;
}

/* ---- 7. Source sets ---- */

static int count_frame_headers(const uint8_t *data, size_t size, int *count) { /* 7.1; section 5.3 of AV1's own */
    reader r = reader_of(data, size);
    *count = 0;
    while (left(&r)) {
        uint32_t head = u(&r, 8), type = head >> 3 & 15, byte = 128;
        uint64_t length = 0;
        if (left(&r) < (head >> 2 & 1) || !(head & 2)) return 22;
        take(&r, head >> 2 & 1);
        for (int n = 0; n < 8 && byte & 128; n++) {
            if (!left(&r)) return 22;
            byte = u(&r, 8);
            length |= (uint64_t)(byte & 127) << 7 * n;
        }
        if (byte & 128 || left(&r) < length) return 22;
        take(&r, (size_t)length);
        if (type == 3 || type == 6) ++*count;
    }
    return 0;
}

typedef struct {
    size_t size;
    const uint8_t *digest;
} section;

static int source_head(fvc_sources *s, reader *r, section *sections) { /* of source_count + 1 sections, 2 with a preview */
    const uint8_t *data = r->data;
    int previews = data[4] == 3;
    if (left(r) < 19 + 2 * (size_t)previews) return 21;
    take(r, 5);
    s->side = previews ? (int)u(r, 16) : 256;
    memcpy(s->model_hash, take(r, 8), 8);
    s->profile = (int)u(r, 8), s->count = (int)u(r, 8);
    s->canvas_width = (int)u(r, 16), s->canvas_height = (int)u(r, 16);
    if (s->profile > MOST_PROFILE || PROFILE_PARTS[s->profile] == 0 || s->count < 1 || s->count > 8) return 21;
    if (PROFILE_PART[s->profile][0] == FVC_SHAPE) return 21; /* source sets have landmarks, not coefficients */
    if ((int64_t)s->canvas_width * s->canvas_height > 1 << 22 || s->side != (previews ? 512 : 256)) return 21;
    s->count += previews;
    if (left(r) < 20 * ((size_t)s->count + 1) + 4) return 21;
    for (int n = 0; n <= s->count; n++) sections[n].size = u(r, 32), sections[n].digest = take(r, 16);
    uint32_t crc = crc32(data, r->at);
    if (u(r, 32) != crc) return 21;
    sha256(data, r->at, s->sources_hash);
    s->parts = PROFILE_PARTS[s->profile], s->integers_bytes = 0;
    for (int k = 0; k < s->parts; k++) {
        s->part[k] = PROFILE_PART[s->profile][k];
        s->integers_bytes += 2 * (size_t)fvc_components[s->part[k]];
    }
    for (int n = 0; n <= s->count; n++) {
        size_t fixed = n < s->count ? s->integers_bytes : 0;
        if (sections[n].size < fixed || sections[n].size > fixed + (1 << 20)) return 21;
    }
    return 0;
}

static int read_source(fvc_sources *s, int n, reader r) {
    int pictures;
    for (int k = 0; k < s->parts; k++)
        for (int i = 0; i < fvc_components[s->part[k]]; i++) s->integers[n][s->part[k]][i] = (uint16_t)u(&r, 16);
    s->coded_bytes[n] = left(&r), s->coded[n] = take(&r, left(&r));
    TRY(count_frame_headers(s->coded[n], s->coded_bytes[n], &pictures));
    return pictures == 1 ? 0 : 22;
}

int fvc_read_sources_so_far(fvc_sources *sources, const uint8_t *data, size_t size) {
    static const uint8_t magic[4] = {0xAB, 'F', 'V', 'S'};
    section sections[10];
    reader r = reader_of(data, size), body[10];
    int here = 0;
    memset(sources, 0, sizeof *sources);
    if (size < 4 || memcmp(data, magic, 4) != 0) return 20;
    if (size > 4 && data[4] != 2 && data[4] != 3) return 2;
    if (size == 4) return 21;
    TRY(source_head(sources, &r, sections));
    for (; here <= sources->count && sections[here].size <= left(&r); here++) {
        uint8_t digest[16];
        body[here] = reader_of(take(&r, sections[here].size), sections[here].size);
        sha256(body[here].data, body[here].size, digest);
        if (memcmp(digest, sections[here].digest, 16) != 0) return 21;
    }
    sources->missing = sources->count + 1 - here;
    if (here == 0 || (!sources->missing && left(&r))) return 21;
    if (!sources->missing) sources->canvas = body[--here].data, sources->canvas_bytes = body[here].size;
    sources->count = here;
    if (sources->side == 512 && here > 1 && memcmp(body[0].data, body[1].data, sources->integers_bytes) != 0) return 21;
    for (int n = 0; n < here; n++) TRY(read_source(sources, n, body[n]));
    return 0;
}

int fvc_read_sources(fvc_sources *sources, const uint8_t *data, size_t size) {
    int rule = fvc_read_sources_so_far(sources, data, size);
    return (rule == 0 || rule == 22) && sources->missing ? 21 : rule; /* sections come before pictures (9.3) */
}

const uint16_t *fvc_source_integers(const fvc_sources *sources, int source, int part) {
    return sources->integers[source][part];
}

/* ---- 10. Datagrams ---- */

static int64_t nearest_sound(const fvc_header *h, uint64_t frame, int low) {
    int64_t due = 0;
    if (h->has_audio) due = (int64_t)(1000 * frame * h->fps_denominator / (h->fps_numerator * (uint64_t)h->frame_ms));
    return due + ((low - due + 32) & 63) - 32;
}

static int read_entry(const fvc_header *header, reader *r, uint64_t frame, fvc_packet *packet) {
    static const int kinds[4] = {FVC_MOTION, FVC_KEY, FVC_AUDIO, FVC_REFRESH};
    uint64_t length, stated = 0, audio_packets;
    uint32_t head = u(r, 8);
    if (leb128(r, &length) != 0 || length > left(r)) return 24;
    packet->kind = kinds[head >> 6], packet->six_bits = (int)(head & 63);
    packet->size = (size_t)length, packet->payload = take(r, packet->size);
    if (length > (packet->kind == FVC_AUDIO ? 1500 : 4096)) return 25;
    int64_t number = (int64_t)frame - packet->six_bits;
    if (packet->kind == FVC_AUDIO) number = nearest_sound(header, frame, packet->six_bits);
    if (number < 0) return 25;
    packet->number = (uint64_t)number;
    if (packet->kind == FVC_MOTION || packet->kind == FVC_AUDIO) return 0;
    reader coded;
    fvc_refresh refresh;
    if (read_key(packet, &stated, &audio_packets, &coded) != 0) return 24;
    if (packet->kind == FVC_REFRESH && read_refresh(packet, &refresh) != 0) return 24;
    return stated == packet->number ? 0 : 25;
}

int fvc_read_datagram(const fvc_header *header, const uint8_t *data, size_t size, fvc_packet *packets, size_t *count) {
    *count = 0;
    if (size < 3 || size > 1200) return 24;
    reader r = reader_of(data, size - 2), end = {data, size, size - 2};
    uint64_t frame;
    if (u(&end, 16) != crc16(data, size - 2) || leb128(&r, &frame) != 0) return 24;
    while (left(&r)) {
        int rule = read_entry(header, &r, frame, &packets[*count]);
        if (rule != 0) {
            *count = 0;
            return rule;
        }
        ++*count;
    }
    return 0;
}

/* ---- A.1 priors.bin ---- */

static void triangle(reader *r, int n, int16_t weights[][FVC_MOST]) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) weights[i][j] = (int16_t)i16(r);
}

static void square(reader *r, int n, int16_t weights[][FVC_MOST]) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) weights[i][j] = (int16_t)i16(r);
}

static int read_part_priors(fvc_part_priors *p, reader *r) {
    int n = p->n = (int)u(r, 8), seen[FVC_MOST] = {0};
    p->usual_bits = (int)u(r, 8);
    for (int i = 0; i < n; i++) {
        p->order[i] = (int)u(r, 8);
        if (p->order[i] >= n || seen[p->order[i]]++) return -1;
    }
    for (int i = 0; i < n; i++) p->mean[i] = (int32_t)u(r, 16);
    triangle(r, n, p->key_weights);
    for (int i = 0; i < n; i++) p->key_error[i] = u(r, 32);
    triangle(r, n, p->now_weights);
    square(r, n, p->last_weights);
    square(r, n, p->mean_weights);
    for (int i = 0; i < n; i++) p->error[i] = u(r, 32);
    for (int i = 0; i < n; i++) p->spread[i] = i16(r);
    p->key_spread_offset = (int)u(r, 8);
    p->error_exponent = (int)u(r, 8);
    p->recent_activity_exponent = (int)u(r, 8);
    p->frame_activity_exponent = (int)u(r, 8);
    p->key_activity_exponent = (int)u(r, 8);
    p->hold_threshold = (int)u(r, 8);
    for (int k = 0; k < 1024; k++) {
        p->shape[k] = (int32_t)u(r, 16);
        if (p->shape[k] > 32768 || p->shape[k] < (k ? p->shape[k - 1] : 0)) return -1;
    }
    return p->usual_bits >= 1 && p->usual_bits <= 16 && p->shape[0] == 0 ? 0 : -1;
}

int fvc_read_priors(fvc_priors *priors, const uint8_t *data, size_t size) {
    reader r = reader_of(data, size);
    memset(priors, 0, sizeof *priors);
    if (size < 5 || memcmp(take(&r, 5), "FVCP\2", 5) != 0) return -1;
    for (int part = 0; part < FVC_PARTS; part++) {
        size_t n = (size_t)fvc_components[part], pairs = n * (n - 1) / 2;
        if (left(&r) < 2 + n * (1 + 2 + 4 + 4 + 2) + 2 * (2 * pairs + 2 * n * n) + 6 + 2048) return -1;
        if (r.data[r.at] != n) return -1;
        TRY(read_part_priors(&priors->part[part], &r));
    }
    return left(&r) ? -1 : 0;
}

/* ---- The program ---- */

#ifndef FVC_LIBRARY
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static fvc_priors the_priors;
static fvc_decoder the_decoder;

static uint8_t *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        long end = ftell(file);
        rewind(file);
        data = end >= 0 ? malloc((size_t)end + 1) : NULL;
        *size = data ? fread(data, 1, (size_t)end, file) : 0;
    }
    if (file) fclose(file);
    return data;
}

static void print_hex(const char *name, const uint8_t *data, size_t size) {
    printf("%s ", name);
    for (size_t n = 0; n < size; n++) printf("%02x", data[n]);
    printf("\n");
}

static void print_integers(const int *part, int parts, uint16_t integers[][FVC_MOST]) {
    for (int k = 0; k < parts; k++) {
        printf("%s", fvc_part_name[part[k]]);
        for (int i = 0; i < fvc_components[part[k]]; i++) printf(" %d", integers[part[k]][i]);
        printf("\n");
    }
}

static void print_change(void *context, uint64_t frame, int set) {
    (void)context;
    printf("change %" PRIu64 " %d\n", frame, set);
}

static void print_header(const fvc_header *h) {
    printf("profile %d\nfps %" PRIu32 " %" PRIu32 "\n", h->profile, h->fps_numerator, h->fps_denominator);
    printf("keyframe_interval %" PRIu32 "\n", h->keyframe_interval);
    printf("crop %d %d %d %d %d\n", h->width, h->height, h->x, h->y, h->side);
    print_hex("model_hash", h->model_hash, 8);
    print_hex("sources_hash", h->sources_hash, 16);
    print_hex("pixels_hash", h->pixels_hash, 16);
    for (int k = 0; k < h->parts; k++) {
        int part = h->part[k];
        printf("quantizer %s %d %d %d\n", fvc_part_name[part], h->bits[part], h->low[part], h->high[part]);
    }
    if (h->has_audio) printf("has_audio %d %d\n", h->frame_ms, h->pre_skip);
    if (h->picture_side != 256) printf("side %d\n", h->picture_side);
    for (int n = 0; n < h->set_count; n++) printf("set %d\n", h->sets[n]);
    fvc_read_changes(h, print_change, NULL);
}

static int print_packet(fvc_decoder *d, const fvc_packet *packet) {
    if (packet->kind == FVC_AUDIO) {
        printf("audio %" PRIu64 " ", packet->number);
        print_hex("payload", packet->payload, packet->size);
        return 0;
    }
    int held;
    TRY(fvc_take(d, packet, &held));
    printf("frame %" PRIu64 "%s\n", packet->number, held ? " hold" : "");
    if (!held) print_integers(d->header.part, d->header.parts, d->integers);
    return 0;
}

static void print_keyframe(void *context, uint64_t frame, uint64_t offset) {
    (void)context;
    printf("keyframe %" PRIu64 " %" PRIu64 "\n", frame, offset);
}

static int stream(const uint8_t *data, size_t size) {
    fvc_header header;
    fvc_packet packet;
    size_t at;
    TRY(fvc_read_header(&header, data, size, &at));
    print_header(&header);
    fvc_start(&the_decoder, &the_priors, &header);
    for (packet.kind = FVC_MOTION; at < size && packet.kind != FVC_END;) {
        TRY(fvc_read_packet(&packet, data, size, &at));
        TRY(fvc_number(&the_decoder, &packet));
        if (packet.kind == FVC_LAYER) continue; /* 4.5: pictures, of no use here */
        if (packet.kind != FVC_END) {
            TRY(print_packet(&the_decoder, &packet));
            continue;
        }
        uint64_t frames, audio_packets;
        TRY(fvc_read_end(&packet, &frames, &audio_packets, NULL, NULL));
        printf("end %" PRIu64 " %" PRIu64 "\n", frames, audio_packets);
        fvc_read_end(&packet, &frames, &audio_packets, print_keyframe, NULL);
        if (frames > the_decoder.frames_total) the_decoder.frames_total = frames;
        the_decoder.audio_total = audio_packets;
    }
    return fvc_check_missing(&the_decoder, size);
}

static int by_number(const void *a, const void *b) { /* sound first; copies by place, so that the first is kept */
    const fvc_packet *x = a, *y = b;
    int sound = (y->kind == FVC_AUDIO) - (x->kind == FVC_AUDIO);
    if (sound) return sound;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    return (x->payload > y->payload) - (x->payload < y->payload);
}

static int datagrams(const uint8_t *data, size_t size) {
    fvc_header header;
    size_t at, count = 0, found;
    TRY(fvc_read_header(&header, data, size, &at));
    print_header(&header);
    fvc_start(&the_decoder, &the_priors, &header);
    fvc_packet *packets = malloc((size / 2 + FVC_MOST_ENTRIES) * sizeof *packets); /* an entry has two bytes or more */
    if (!packets) return 4;
    for (reader r = {data, size, at}; left(&r) >= 2;) {
        size_t length = u(&r, 16);
        if (length > left(&r)) break;
        const uint8_t *datagram = take(&r, length);
        int rule = fvc_read_datagram(&header, datagram, length, packets + count, &found);
        if (rule != 0) printf("dropped E%02d\n", rule);
        count += found;
    }
    qsort(packets, count, sizeof *packets, by_number);
    for (size_t n = 0; n < count; n++) {
        int copy = n > 0 && packets[n].number == packets[n - 1].number;
        if (copy && (packets[n].kind == FVC_AUDIO) == (packets[n - 1].kind == FVC_AUDIO)) continue;
        int rule = print_packet(&the_decoder, &packets[n]);
        if (rule != 0) printf("frame %" PRIu64 " hold\n", packets[n].number); /* a call goes on */
    }
    free(packets);
    return 0;
}

static int source_set(const uint8_t *data, size_t size, int so_far) {
    static fvc_sources s;
    TRY((so_far ? fvc_read_sources_so_far : fvc_read_sources)(&s, data, size));
    print_hex("model_hash", s.model_hash, 8);
    print_hex("sources_hash", s.sources_hash, 16);
    if (s.side != 256) printf("side %d\n", s.side);
    printf("profile %d\ncanvas_size %d %d\nmissing %d\n", s.profile, s.canvas_width, s.canvas_height, s.missing);
    for (int n = 0; n < s.count; n++) {
        print_integers(s.part, s.parts, s.integers[n]);
        print_hex("coded", s.coded[n], s.coded_bytes[n]);
    }
    if (s.canvas_bytes) print_hex("canvas", s.canvas, s.canvas_bytes);
    return 0;
}

int main(int count, char **argument) {
    size_t size = 0, priors_size = 0;
    int so_far = count == 4 && strcmp(argument[3], "--so-far") == 0;
    if (count != 3 && !so_far) {
        fprintf(stderr, "usage: fvc_decode priors.bin FILE [--so-far]\n");
        return 2;
    }
    uint8_t *priors = read_file(argument[1], &priors_size), *data = read_file(argument[2], &size);
    const char *bad = !priors ? argument[1] : !data ? argument[2] : NULL;
    if (!bad && fvc_read_priors(&the_priors, priors, priors_size) != 0) bad = argument[1];
    if (bad) fprintf(stderr, "fvc_decode: %s: cannot be read\n", bad);
    int rule = 0;
    if (!bad) {
        const char *dot = strrchr(argument[2], '.');
        if (size >= 4 && memcmp(data, "FVCD", 4) == 0)
            rule = datagrams(data + 4, size - 4);
        else if (dot && strcmp(dot, ".fvs") == 0)
            rule = source_set(data, size, so_far);
        else
            rule = stream(data, size);
        if (rule != 0) fprintf(stderr, "fvc_decode: E%02d\n", rule);
    }
    free(priors);
    free(data);
    return bad ? 2 : rule != 0;
}
#endif
