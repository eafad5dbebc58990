/* The vision tower's layers with quantized weights, on images of half floats.
 *
 * An image is half floats (height, width, channels), channels a multiple of 16. Pointers are borrowed
 * for the call. Results are the same bytes on every instruction set and with every number of threads
 * (vera_set_decoder_threads): dot products are exact integers, floats are added in a fixed order.
 * Values that are no number come out as finite ones. GELU is within 3e-5 of x * Phi(x).
 *
 * Products take "codes", bytes: round(value / step) + zero, clamped to 0..255. Where nothing else is
 * said, each pixel has a step and a zero of its own, from its smallest and largest value.
 */
#ifndef VERA_VISION_H_
#define VERA_VISION_H_

#include <stdint.h>

#include "vera/vera.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Integer weights of rows (outputs) x columns (inputs), in blocks of 16 rows, each in groups of 32
 * columns; both are padded with zeros. A group holds pieces of 4 columns: byte 4 * row + j is column j.
 *
 * bits 8: 8 pieces of 64 signed bytes.
 * bits 6: 4 times 64 bytes, the low half of a byte the lower 4 bits of a code in the even piece, the
 *   high half of one in the odd piece; 2 times 64 bytes with the upper 2 bits of 4 pieces, the first
 *   piece in the lowest bits; 16 bytes, a multiplier for each row.
 *   weight = (multiplier * (code - 32) + 32) >> 6.
 * bits 4: 4 times 64 bytes as above; 16 multipliers. weight = (multiplier * (code - 8) + 8) >> 4.
 *
 * The output of a row is multiplier[row] * sum(weight * (code - zero)) * step + bias[row]. */
typedef struct vera_vision_matrix {
  const uint8_t* weights;
  int32_t rows;    /* up to 32768 */
  int32_t columns; /* up to 32768 */
  int32_t bits;
} vera_vision_matrix;

/* A matrix product with what comes before and after it. inverses: (columns), factors of its input;
 * multipliers and biases: (rows). */
typedef struct vera_vision_product {
  vera_vision_matrix matrix;
  const float* inverses;
  float zero; /* a whole number, 0..255; only for a block's reduce */
  const float* multipliers;
  const float* biases;
} vera_vision_product;

/* A float convolution per channel with an odd kernel; output channel i * channels + c comes from
 * channel c. weights (multiplier, kernel * kernel, channels), biases (multiplier, channels). */
typedef struct vera_vision_depthwise {
  const float* weights;
  const float* biases;
  int32_t kernel; /* 3 or 7 */
  int32_t stride; /* 1 or 2 */
  int32_t multiplier;
} vera_vision_depthwise;

/* GELU(3x3 convolution, stride 2), GELU(3x3 per channel, stride 2), GELU(1x1).
 * weights: (27, channels), inputs in the order row, column, colour. */
typedef struct vera_vision_stem {
  int32_t channels;
  const float* weights;
  const float* biases;
  vera_vision_depthwise depthwise;
  vera_vision_product pointwise;
} vera_vision_stem;

/* GELU(per channel, stride 2), GELU(1x1). */
typedef struct vera_vision_down {
  vera_vision_depthwise spatial;
  vera_vision_product pointwise;
} vera_vision_down;

/* y = mixer(x), or x without one (weights NULL); then y + reduce(GELU(expand(depthwise 7x7(y)))).
 * The 7x7 convolution is exact sums of round(y * inverse), clamped to +-32767, times taps
 * (channels / 16, 7, 4, 16, 2), two of a row's columns together, the eighth 0; the sizes of a channel's
 * taps may sum up to 65536. Its sums times tap_multipliers plus tap_offsets are what expand reads
 * (expand's inverses are not used). The codes that reduce reads have step 1 and reduce's zero; reduce's
 * multipliers and biases include the layer's scale. */
typedef struct vera_vision_block {
  vera_vision_depthwise mixer;
  const float* inverses;
  const int16_t* taps;
  const float* tap_multipliers;
  const float* tap_offsets;
  vera_vision_product expand;
  vera_vision_product reduce;
} vera_vision_block;

/* x + out(attention(qkv(layer norm(x)))) over all positions (inverses are not used). qkv's rows are
 * those of q, k and v, each of all heads; out's multipliers and biases include the layer's scale.
 * head_dim: a multiple of 16. */
typedef struct vera_vision_attention {
  const float* norm_weights;
  const float* norm_biases;
  float norm_eps;
  int32_t head_dim;
  vera_vision_product qkv;
  vera_vision_product out;
} vera_vision_attention;

/* Convolution to features, squeeze-and-excite, GELU, then out(GELU(up(x))); of the inverses only up's
 * are used. */
typedef struct vera_vision_tokens {
  vera_vision_depthwise expand;
  vera_vision_product squeeze;
  vera_vision_product excite;
  vera_vision_product up;
  vera_vision_product out;
} vera_vision_tokens;

/* pixels: float (3, size, size), clamped to [0, 1]; out: an image of size / 4; size: a multiple of 4
 * up to 4096. */
VERA_API vera_status vera_vision_stem_run(const vera_vision_stem* stem, const float* pixels,
                                          int32_t size, uint16_t* out);

/* x: an image; out: one of half the height and width (both even). x and out must not overlap. */
VERA_API vera_status vera_vision_down_run(const vera_vision_down* down, const uint16_t* x,
                                          int32_t height, int32_t width, int32_t channels,
                                          uint16_t* out);

/* The convolution alone, of stride 1 and multiplier 1. x and out must not overlap. */
VERA_API vera_status vera_vision_depthwise_run(const vera_vision_depthwise* depthwise,
                                               const uint16_t* x, int32_t height, int32_t width,
                                               int32_t channels, uint16_t* out);

/* out: an image as x; x and out must not overlap. */
VERA_API vera_status vera_vision_block_run(const vera_vision_block* block, const uint16_t* x,
                                           int32_t height, int32_t width, int32_t channels,
                                           uint16_t* out);

/* x, out: (positions, channels), which may be the same. */
VERA_API vera_status vera_vision_attention_run(const vera_vision_attention* attention,
                                               const uint16_t* x, int32_t positions,
                                               int32_t channels, uint16_t* out);

/* out: float (height * width, rows of the last matrix). */
VERA_API vera_status vera_vision_tokens_run(const vera_vision_tokens* tokens, const uint16_t* x,
                                            int32_t height, int32_t width, int32_t channels,
                                            float* out);

#ifdef __cplusplus
}
#endif

#endif /* VERA_VISION_H_ */
