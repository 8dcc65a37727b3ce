/* Decoder and encoder of one stream each, for callers that cannot build C structures: a page's JavaScript, Python's
 * ctypes and wasmtime. All data pass through two buffers. Negative results are rules that were broken: -10 for E10.
 */
#include "fvc_encode.c"

#define EXPORT __attribute__((visibility("default")))

enum { ROOM = 1 << 17 };
static uint8_t in[ROOM], out[ROOM];
static fvc_priors priors;
static fvc_decoder decoder;
static fvc_encoder encoder, trial, best;
static fvc_targets targets;
static fvc_packet found[FVC_MOST_ENTRIES];

EXPORT uint8_t *fvc_in(void);
EXPORT uint8_t *fvc_out(void);
EXPORT int fvc_wasm_priors(int size);
EXPORT int fvc_wasm_decoder(int size);
EXPORT int fvc_wasm_encoder(int size);
EXPORT int fvc_wasm_datagram(int size);
EXPORT int fvc_wasm_decode(int kind, int number, int size);
EXPORT int fvc_wasm_encode(int key);
EXPORT int fvc_wasm_encode_near(int key);
EXPORT int fvc_wasm_encoded(void);

uint8_t *fvc_in(void) { return in; }
uint8_t *fvc_out(void) { return out; }

/* priors.bin lies in `in`. */
int fvc_wasm_priors(int size) { return fvc_read_priors(&priors, in, (size_t)size); }

static int header_of(fvc_header *header, int size) {
    size_t at;
    return -fvc_read_header(header, in, (size_t)size, &at);
}

/* A header lies in `in`: begins a stream. Returns 0. */
int fvc_wasm_decoder(int size) {
    fvc_header header;
    int rule = header_of(&header, size);
    if (rule == 0) fvc_start(&decoder, &priors, &header);
    return rule;
}

int fvc_wasm_encoder(int size) {
    fvc_header header;
    int rule = header_of(&header, size);
    if (rule == 0) fvc_encode_start(&encoder, &priors, &header);
    return rule;
}

/* A datagram lies in `in`. Returns its packets, each as four u(32) in `out`, native: kind, number, offset in `in`, size. */
int fvc_wasm_datagram(int size) {
    size_t count;
    int rule = fvc_read_datagram(&decoder.header, in, (size_t)size, found, &count);
    for (size_t n = 0; n < count; n++) {
        uint32_t row[4] = {(uint32_t)found[n].kind, (uint32_t)found[n].number, (uint32_t)(found[n].payload - in),
                           (uint32_t)found[n].size};
        memcpy(out + n * sizeof row, row, sizeof row);
    }
    return rule ? -rule : (int)count;
}

static int integers_of(const fvc_decoder *d) { /* of its last frame, into `out` */
    int count = 0;
    for (int k = 0; k < d->header.parts; k++) {
        int part = d->header.part[k], n = fvc_components[part];
        memcpy(out + 2 * count, d->integers[part], 2 * (size_t)n);
        count += n;
    }
    return count;
}

/* A MOTION, KEY or REFRESH payload lies in `in`. Returns how many integers `out` has then, u(16) native, part by part as
 * the header has them; 0: the frame is held. */
int fvc_wasm_decode(int kind, int number, int size) {
    fvc_packet packet = {kind, 0, (uint32_t)number, in, (size_t)size};
    int held, rule = fvc_take(&decoder, &packet, &held);
    return rule || held ? -rule : integers_of(&decoder);
}

/* A frame's integers lie in `in`, as `fvc_wasm_decode` gives them. Returns the size of its bytes in `out`. */
int fvc_wasm_encode(int key) {
    static uint16_t integers[FVC_PARTS][FVC_MOST];
    const uint8_t *at = in;
    for (int k = 0; k < encoder.model.header.parts; k++) {
        int part = encoder.model.header.part[k];
        memcpy(integers[part], at, 2 * (size_t)fvc_components[part]);
        at += 2 * fvc_components[part];
    }
    size_t size;
    int rule = fvc_encode_frame(&encoder, (const uint16_t (*)[FVC_MOST])integers, key, out, &size);
    return rule ? -rule : (int)size;
}

/* Doubles lie in `in`: three lambdas, then a frame's values in steps, part by part as the header has them. The frame is
 * coded with each lambda, and the cheapest of the three by the second one is kept. Returns the size of its bytes in `out`. */
int fvc_wasm_encode_near(int key) {
    static uint8_t coded[FVC_MOST_CODED];
    double lambda[3], lowest = 0;
    size_t size, best_size = 0;
    memcpy(lambda, in, sizeof lambda);
    const uint8_t *at = in + sizeof lambda;
    for (int k = 0; k < encoder.model.header.parts; k++) {
        int part = encoder.model.header.part[k];
        memcpy(targets.steps[part], at, 8 * (size_t)fvc_components[part]);
        at += 8 * fvc_components[part];
    }
    for (int n = 0; n < 3; n++) {
        trial = encoder, targets.lambda = lambda[n];
        int rule = fvc_encode_near(&trial, &targets, key, coded, &size);
        if (rule) return -rule;
        double cost = 8.0 * (double)size + lambda[1] * targets.distortion;
        if (n > 0 && cost >= lowest) continue;
        lowest = cost, best = trial, best_size = size;
        memcpy(out, coded, size);
    }
    encoder = best;
    return (int)best_size;
}

/* Returns how many integers `out` has then: those of the frame that was encoded last. */
int fvc_wasm_encoded(void) { return integers_of(&encoder.model); }
