/* The pixels of the page's drawing, between its networks and after them: the sources' RGB where the flows lead, summed by
 * the weights; then the decoder's maps over it, as bytes. SIMD of WebAssembly; the runtime's GridSample takes three times
 * as long. All data lie in the module's memory, at the addresses that `fvc_blend_*` return; float32 unless said.
 *
 * Pictures in quarters: [12, 128, 128], channel 4 c + 2 (y % 2) + x % 2, as torch's pixel_unshuffle gives them. The
 * decoder takes and gives them so, and they are never put together but in the bytes.
 */
#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT __attribute__((visibility("default")))

enum { SOURCES = 4, SIDE = 256, FLOW = 64, HALF = SIDE / 2, STRIDE = SIDE + 1, ENLARGED = SIDE / FLOW };

static float picture[3 * SIDE * SIDE];                                /* one source, [3, 256, 256] */
static v128_t sources[SOURCES][STRIDE * STRIDE];                      /* RGB0; the last column and row weigh nothing */
static float flow[SOURCES * FLOW * FLOW * 2];                         /* [N, 64, 64, 2], see `models.layers` */
static float blend[SOURCES * FLOW * FLOW];                            /* [N, 1, 64, 64] */
static float rgb[12 * HALF * HALF];                                   /* what was sampled, in quarters */
static float maps[16 * HALF * HALF];                                  /* redrawn picture and mask, both in quarters */
static uint32_t pixels[SIDE * SIDE];                                  /* RGBA, a byte each */

EXPORT float *fvc_blend_picture(void);
EXPORT float *fvc_blend_flow(void);
EXPORT float *fvc_blend_weights(void);
EXPORT float *fvc_blend_rgb(void);
EXPORT float *fvc_blend_maps(void);
EXPORT uint32_t *fvc_blend_pixels(void);
EXPORT void fvc_blend_source(int n);
EXPORT void fvc_blend_sample(int count);
EXPORT void fvc_blend_finish(void);

float *fvc_blend_picture(void) { return picture; }
float *fvc_blend_flow(void) { return flow; }
float *fvc_blend_weights(void) { return blend; }
float *fvc_blend_rgb(void) { return rgb; }
float *fvc_blend_maps(void) { return maps; }
uint32_t *fvc_blend_pixels(void) { return pixels; }

/* Source n (0 to 3) is what lies in `picture`. */
void fvc_blend_source(int n) {
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            const float *at = picture + y * SIDE + x;
            sources[n][y * STRIDE + x] = wasm_f32x4_make(at[0], at[SIDE * SIDE], at[2 * SIDE * SIDE], 0);
        }
}

/* Bilinear enlarging, half-pixel centres: output 4 j + p lies between values j - 1 and j, or j and j + 1. */
static const float BEFORE[ENLARGED] = {0.375f, 0.125f, 0, 0}, AT[ENLARGED] = {0.625f, 0.875f, 0.875f, 0.625f},
                   AFTER[ENLARGED] = {0, 0, 0.125f, 0.375f};

/* Row y of 256 from `map` [64, 64, channels] -> `row` [64 * channels]; beyond the border its row repeats. */
static void row_of(const float *map, int channels, int y, float *row) {
    int j = y / ENLARGED, p = y % ENLARGED, size = FLOW * channels;
    const float *at = map + j * size, *before = j > 0 ? at - size : at, *after = j < FLOW - 1 ? at + size : at;
    for (int k = 0; k < size; k++) row[k] = BEFORE[p] * before[k] + AT[p] * at[k] + AFTER[p] * after[k];
}

/* Values 4 j to 4 j + 3 of a row that is enlarged likewise. */
static inline v128_t four_of(const float *row, int channels, int j) {
    int before = j > 0 ? j - 1 : j, after = j < FLOW - 1 ? j + 1 : j;
    v128_t sum = wasm_f32x4_mul(wasm_v128_load(AT), wasm_v128_load32_splat(row + j * channels));
    sum = wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_v128_load(BEFORE), wasm_v128_load32_splat(row + before * channels)));
    return wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_v128_load(AFTER), wasm_v128_load32_splat(row + after * channels)));
}

/* A coordinate in [-1, 1] -> in pixels, inside the picture. */
static inline v128_t in_pixels(v128_t coordinate) {
    v128_t half = wasm_f32x4_splat(SIDE / 2.0f), middle = wasm_f32x4_splat((SIDE - 1) / 2.0f);
    v128_t at = wasm_f32x4_add(wasm_f32x4_mul(coordinate, half), middle);
    at = wasm_f32x4_pmax(wasm_f32x4_splat(0), at); /* NaN becomes 0 */
    return wasm_f32x4_pmin(wasm_f32x4_splat(SIDE - 1), at);
}

#define TAP(sum, weight, lane, at) \
    wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_i32x4_shuffle(weight, weight, lane, lane, lane, lane), wasm_v128_load(at)))
#define PIXEL(sum, lane)                                            \
    do {                                                            \
        const v128_t *at = source + wasm_i32x4_extract_lane(place, lane); \
        sum = TAP(sum, upper_left, lane, at);                       \
        sum = TAP(sum, upper_right, lane, at + 1);                  \
        sum = TAP(sum, lower_left, lane, at + STRIDE);              \
        sum = TAP(sum, lower_right, lane, at + STRIDE + 1);         \
    } while (0)

/* Adds one source's part to four pixels, which are sampled at x, y (in pixels) and weigh `weight`. */
static inline void add(v128_t sum[4], const v128_t *source, v128_t x, v128_t y, v128_t weight) {
    v128_t column = wasm_i32x4_trunc_sat_f32x4(x), line = wasm_i32x4_trunc_sat_f32x4(y);
    v128_t place = wasm_i32x4_add(wasm_i32x4_mul(line, wasm_i32x4_splat(STRIDE)), column);
    v128_t right = wasm_f32x4_sub(x, wasm_f32x4_convert_i32x4(column));
    v128_t low = wasm_f32x4_mul(wasm_f32x4_sub(y, wasm_f32x4_convert_i32x4(line)), weight);
    v128_t high = wasm_f32x4_sub(weight, low);
    v128_t lower_right = wasm_f32x4_mul(low, right), lower_left = wasm_f32x4_sub(low, lower_right);
    v128_t upper_right = wasm_f32x4_mul(high, right), upper_left = wasm_f32x4_sub(high, upper_right);
    PIXEL(sum[0], 0);
    PIXEL(sum[1], 1);
    PIXEL(sum[2], 2);
    PIXEL(sum[3], 3);
}

/* Four pixels from column 4 j of line y, RGB0 each -> their places in `rgb`. */
static inline void put(const v128_t sum[4], int y, int j) {
    v128_t red_green = wasm_i32x4_shuffle(sum[0], sum[2], 0, 4, 1, 5), blue = wasm_i32x4_shuffle(sum[0], sum[2], 2, 6, 2, 6);
    v128_t odd_red_green = wasm_i32x4_shuffle(sum[1], sum[3], 0, 4, 1, 5);
    v128_t odd_blue = wasm_i32x4_shuffle(sum[1], sum[3], 2, 6, 2, 6);
    float *to = rgb + 2 * (y % 2) * HALF * HALF + y / 2 * HALF + 2 * j;
    wasm_v128_store64_lane(to, red_green, 0);
    wasm_v128_store64_lane(to + HALF * HALF, odd_red_green, 0);
    wasm_v128_store64_lane(to + 4 * HALF * HALF, red_green, 1);
    wasm_v128_store64_lane(to + 5 * HALF * HALF, odd_red_green, 1);
    wasm_v128_store64_lane(to + 8 * HALF * HALF, blue, 0);
    wasm_v128_store64_lane(to + 9 * HALF * HALF, odd_blue, 0);
}

/* The first `count` (1 to 4) sources, sampled by `flow` and summed by `blend` -> `rgb`. */
void fvc_blend_sample(int count) {
    static float flow_row[SOURCES][2 * FLOW], weight_row[SOURCES][FLOW];
    for (int y = 0; y < SIDE; y++) {
        for (int n = 0; n < count; n++) {
            row_of(flow + n * FLOW * FLOW * 2, 2, y, flow_row[n]);
            row_of(blend + n * FLOW * FLOW, 1, y, weight_row[n]);
        }
        for (int j = 0; j < FLOW; j++) {
            v128_t sum[4] = {0};
            for (int n = 0; n < count; n++) {
                v128_t across = in_pixels(four_of(flow_row[n], 2, j)), down = in_pixels(four_of(flow_row[n] + 1, 2, j));
                add(sum, sources[n], across, down, four_of(weight_row[n], 1, j));
            }
            put(sum, y, j);
        }
    }
}

/* Channel c of four pixels of a quarter: redrawn, with what was sampled over it -> integers 0 to 255. */
static inline v128_t channel_of(int c, int quarter, int place, v128_t keep) {
    int at = (4 * c + quarter) * HALF * HALF + place;
    v128_t redrawn = wasm_v128_load(maps + at);
    v128_t kept = wasm_f32x4_mul(keep, wasm_f32x4_sub(wasm_v128_load(rgb + at), redrawn));
    v128_t scaled = wasm_f32x4_mul(wasm_f32x4_add(redrawn, kept), wasm_f32x4_splat(255));
    scaled = wasm_f32x4_pmin(wasm_f32x4_splat(255), wasm_f32x4_pmax(wasm_f32x4_splat(0), scaled));
    return wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(scaled));
}

/* Four pixels of a quarter, RGBA. */
static inline v128_t rgba_of(int quarter, int place) {
    v128_t keep = wasm_v128_load(maps + (12 + quarter) * HALF * HALF + place);
    v128_t red = channel_of(0, quarter, place, keep), green = channel_of(1, quarter, place, keep);
    v128_t blue = channel_of(2, quarter, place, keep), opaque = wasm_i32x4_splat((int)0xff000000);
    v128_t low = wasm_v128_or(red, wasm_i32x4_shl(green, 8));
    return wasm_v128_or(low, wasm_v128_or(wasm_i32x4_shl(blue, 16), opaque));
}

/* `maps`, with `rgb` over it where the mask says so -> `pixels`. */
void fvc_blend_finish(void) {
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < HALF; x += 4) {
            int quarter = 2 * (y % 2), place = y / 2 * HALF + x;
            v128_t even = rgba_of(quarter, place), odd = rgba_of(quarter + 1, place);
            wasm_v128_store(pixels + y * SIDE + 2 * x, wasm_i32x4_shuffle(even, odd, 0, 4, 1, 5));
            wasm_v128_store(pixels + y * SIDE + 2 * x + 4, wasm_i32x4_shuffle(even, odd, 2, 6, 3, 7));
        }
}
