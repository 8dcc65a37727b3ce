/* fvc_encode: see fvc_encode.h. One translation unit with the decoder, whose motion model and tables it shares: what
 * both sides must agree on is written once. Compile this file instead of fvc_decode.c, with FVC_LIBRARY defined.
 */
#include "fvc_encode.h"

#include "fvc_decode.c"

typedef struct {
    uint8_t out[1 + FVC_MOST_CODED + 8]; /* out[0] takes a carry and stays 0, else the interval would exceed 1 */
    size_t size;                         /* of out */
    uint64_t lower, range;
    const uint16_t (*integers)[FVC_MOST];
    fvc_targets *targets; /* instead of integers */
    const fvc_decoder *model;
    int k, i; /* the next component: of the header's k-th part, the i-th in coding order */
} range_encoder;

static void carry(range_encoder *e) {
    size_t n = e->size - 1;
    while (++e->out[n] == 0) n--;
}

static void put_interval(range_encoder *e, uint32_t start, uint32_t end) { /* the inverse of narrow() */
    uint64_t scale = e->range >> 24, lower = e->lower + scale * start;
    if (lower < e->lower) carry(e);
    e->lower = lower, e->range = scale * (end - start);
    if (e->range >> 32 == 0) {
        for (int n = 0; n < 4; n++) e->out[e->size++] = (uint8_t)(e->lower >> (56 - 8 * n));
        e->lower <<= 32, e->range <<= 32;
    }
}

static void put_bits(range_encoder *e, int64_t value, int count) { /* 6.4 */
    while (count > 0) {
        int width = (count - 1) % 16 + 1;
        uint32_t chunk = (uint32_t)(value >> (count - width)) & ((1u << width) - 1);
        put_interval(e, chunk << (24 - width), (chunk + 1) << (24 - width));
        count -= width;
    }
}

static void put_symbol(range_encoder *e, const fvc_part_priors *p, const residual *r, int symbol) {
    int64_t frequency[34];
    uint64_t sum = 0;
    uint32_t start = 0;
    symbol_frequencies(p, r->c, r->a, frequency);
    for (int s = 0; s < symbol; s++) sum += (uint64_t)frequency[s], start = symbol_end(s, sum);
    put_interval(e, start, symbol_end(symbol, sum + (uint64_t)frequency[symbol]));
}

static void put_value(range_encoder *e, const fvc_part_priors *p, int64_t prediction, int64_t spread, int64_t value) {
    residual r = residual_of(prediction, spread); /* 6.5 */
    int64_t q = shift_down(value - r.base, r.shift);
    if (q >= -16 && q <= 16) {
        put_symbol(e, p, &r, (int)(r.sign * q) + 16);
    } else { /* the escape */
        int64_t rest = size_of(q) - 16;
        int width = 0;
        while (rest >> width) width++;
        put_symbol(e, p, &r, 33);
        put_bits(e, q < 0, 1);
        put_bits(e, width, 5);
        put_bits(e, rest - ((int64_t)1 << (width - 1)), width - 1);
    }
    put_bits(e, (value - r.base) & (((int64_t)1 << r.shift) - 1), r.shift);
}

/* ---- Which integer to send: rate + lambda * distortion, as codec/motion/rdo.py has it; floating point here alone ---- */

static double log2_of(int64_t n) { /* of 1 .. 65536; a C library may be missing */
    int whole = 0;
    while (n >> whole > 1) whole++;
    double x = (double)n / (double)((int64_t)1 << whole), z = (x - 1) / (x + 1), sum = 0;
    for (int k = 39; k > 0; k -= 2) sum = sum * z * z + 1.0 / k;
    return whole + 2 * z * sum * 1.4426950408889634;
}

static double bits_of(const fvc_part_priors *p, int64_t prediction, int64_t spread, int64_t value) {
    residual r = residual_of(prediction, spread);
    int64_t frequency[34], q = shift_down(value - r.base, r.shift);
    symbol_frequencies(p, r.c, r.a, frequency);
    if (q >= -16 && q <= 16) return r.shift + 16 - log2_of(frequency[r.sign * q + 16]);
    int width = 0;
    while ((size_of(q) - 16) >> width) width++;
    return r.shift + 16 - log2_of(frequency[33]) + 6 + width - 1;
}

static double squared(double x) { return x * x; }

static int64_t nearest_to(double target) { /* halves to even, as Python rounds */
    int64_t above = (int64_t)(target + 0.5);
    return (double)above - target == 0.5 && above % 2 ? above - 1 : above;
}

static int64_t cheapest(const fvc_part_priors *p, int64_t prediction, int64_t spread, double target, double weight) {
    static const int64_t steps[16] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512};
    int64_t nearest = nearest_to(target), predicted = shift_down(prediction + 2048, 12), best = nearest;
    int64_t sign = predicted > nearest ? 1 : -1, distance = size_of(predicted - nearest);
    if (distance == 0) return nearest;
    double lowest = bits_of(p, prediction, spread, nearest) + weight * squared((double)nearest - target);
    for (int n = 0; n < 17; n++) {
        int is_last = n == 16 || steps[n] >= distance;
        int64_t candidate = nearest + sign * (is_last ? distance : steps[n]);
        double distortion = weight * squared((double)candidate - target);
        if (distortion >= lowest) break;
        double whole = bits_of(p, prediction, spread, candidate) + distortion;
        if (whole < lowest) best = candidate, lowest = whole;
        if (is_last) break;
    }
    return best;
}

static int64_t choose(range_encoder *e, const fvc_part_priors *p, int64_t prediction, int64_t spread) {
    static const double pixels[FVC_PARTS] = {128, 40, 12, 16, 128}; /* that the picture moves, for one unit of a part */
    const fvc_header *h = &e->model->header;
    int part = h->part[e->k];
    double step = (h->high[part] - h->low[part]) / 256.0 / ((1 << h->bits[part]) - 1);
    double target = e->targets->steps[part][p->order[e->i]], weight = squared(step * pixels[part]);
    int64_t value = cheapest(p, prediction, spread, target, e->targets->lambda * weight);
    e->targets->distortion += weight * squared((double)value - target);
    return value;
}

static int give(range_decoder *d, const fvc_part_priors *p, int64_t prediction, int64_t spread, int64_t *found) {
    range_encoder *e = d->encoder;
    int part = e->model->header.part[e->k];
    int64_t value = e->targets ? choose(e, p, prediction, spread) : e->integers[part][p->order[e->i]];
    if (value >> e->model->header.bits[part]) return 13;
    put_value(e, p, prediction, spread, value);
    if (++e->i == p->n) e->i = 0, e->k++;
    *found = value;
    return 0;
}

/* Whether `size` bytes, with zeros after them, lie in [low, high); these have `length` bytes. */
static int decodes(const uint8_t *data, size_t size, const uint8_t *low, const uint8_t *high, size_t length) {
    uint8_t padded[1 + FVC_MOST_CODED + 8] = {0};
    memcpy(padded, data, size);
    return memcmp(padded, low, length) >= 0 && memcmp(padded, high, length) < 0;
}

/* 6.6: the shortest bytes in the interval. `out` has the message behind a zero; returns its size with that zero. */
static size_t finish(range_encoder *e) {
    uint8_t low[sizeof e->out], high[sizeof e->out], raised[sizeof e->out];
    size_t length = e->size + 8, size;
    for (int n = 0; n < 8; n++) e->out[e->size++] = (uint8_t)(e->lower >> (56 - 8 * n));
    memcpy(low, e->out, length);
    memcpy(high, e->out, length);
    for (size_t n = length, sum = 0, k = 0; n-- > 0; k++) { /* high = low + range */
        sum += high[n] + (size_t)(k < 8 ? e->range >> 8 * k & 255 : 0);
        high[n] = (uint8_t)sum, sum >>= 8;
    }
    size = length - 4; /* the whole word that is not below `low`: there is one, as the range is at least a word */
    int is_whole = 1;
    for (size_t n = size; n < length; n++) is_whole &= e->out[n] == 0;
    if (!is_whole) e->size = size, carry(e);
    while (size > 1 && e->out[size - 1] == 0) size--;
    while (size > 1) {
        memcpy(raised, e->out, size - 1);
        size_t n = size - 2;
        while (++raised[n] == 0 && n > 0) n--;
        if (decodes(e->out, size - 1, low, high, length)) {
            size--;
        } else if (raised[0] == 0 && size > 2 && decodes(raised, size - 1, low, high, length)) {
            memcpy(e->out, raised, --size);
        } else {
            break;
        }
    }
    return size;
}

void fvc_encode_start(fvc_encoder *encoder, const fvc_priors *priors, const fvc_header *header) {
    fvc_start(&encoder->model, priors, header);
}

static int encode(fvc_encoder *encoder, range_encoder e, int key, uint8_t *coded, size_t *size) {
    range_decoder range = range_decoder_of(reader_of(NULL, 0));
    range.give = give, range.encoder = &e;
    *size = 0;
    TRY(all_parts(&encoder->model, range, key));
    *size = finish(&e) - 1;
    memcpy(coded, e.out + 1, *size);
    return 0;
}

int fvc_encode_frame(fvc_encoder *encoder, const uint16_t integers[FVC_PARTS][FVC_MOST], int key,
                     uint8_t coded[FVC_MOST_CODED], size_t *size) {
    return encode(encoder, (range_encoder){{0}, 1, 0, UINT64_MAX, integers, NULL, &encoder->model, 0, 0}, key, coded, size);
}

int fvc_encode_near(fvc_encoder *encoder, fvc_targets *targets, int key, uint8_t coded[FVC_MOST_CODED], size_t *size) {
    targets->distortion = 0;
    return encode(encoder, (range_encoder){{0}, 1, 0, UINT64_MAX, NULL, targets, &encoder->model, 0, 0}, key, coded, size);
}

static size_t put_leb128(uint8_t *out, uint64_t value) {
    size_t n = 0;
    for (; value > 127; value >>= 7) out[n++] = (uint8_t)(value & 127) | 128;
    out[n++] = (uint8_t)value;
    return n;
}

size_t fvc_write_datagram(uint64_t frame, const fvc_packet *packets, size_t count, uint8_t out[1200]) {
    static const uint8_t kinds[5] = {0, 1, 2, 0, 3}; /* by FVC_MOTION, FVC_KEY, FVC_AUDIO, FVC_END, FVC_REFRESH */
    size_t at = put_leb128(out, frame);
    for (size_t n = 0; n < count; n++) {
        const fvc_packet *p = &packets[n];
        uint64_t low = p->kind == FVC_AUDIO ? p->number : frame - p->number;
        if (p->kind == FVC_END || at + p->size > 1200 - 10) return 0;
        out[at++] = (uint8_t)(kinds[p->kind] << 6 | (low & 63));
        at += put_leb128(out + at, p->size);
        memcpy(out + at, p->payload, p->size);
        at += p->size;
    }
    uint32_t crc = crc16(out, at);
    out[at] = (uint8_t)(crc >> 8), out[at + 1] = (uint8_t)crc;
    return at + 2;
}
