/* The language model's decoder: layers with quantized weights and a cache of half floats.
 *
 * Pointers are borrowed for the call. Results are the same bytes on every instruction set and with
 * every number of threads: dot products are exact integers, floats are added in a fixed order.
 * Calls with the same cache must not overlap; calls as such may (they queue for the threads).
 */
#ifndef VERA_DECODER_H_
#define VERA_DECODER_H_

#include <stdint.h>

#include "vera/vera.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A matrix of rows (outputs) x columns (inputs), packed in blocks of 16 rows; rows are padded to a
 * multiple of 16, columns are a multiple of 32.
 *
 * bits 4: for each block and each 8 columns 64 bytes; byte 4 * row + j holds column j in its low and
 *   column 4 + j in its high half, as value + 8. scales: half floats [block][columns / group][16].
 * bits 8: for each block and each 4 columns 64 bytes; byte 4 * row + j holds column j as value + 128.
 *   scales: floats [block][16]; group is 0.
 */
typedef struct vera_matrix {
  const uint8_t* weights;
  const void* scales;
  int32_t rows;
  int32_t columns;
  int32_t bits;
  int32_t group; /* columns that share a scale: a multiple of 32 that divides columns; 8 bits: 0 */
} vera_matrix;

/* cosines and sines: float (max_length, head_dim), angles of the first half repeated.
 * Limits: head_dim a multiple of 32 up to 256; max_length a multiple of 16. */
typedef struct vera_decoder_shape {
  int32_t hidden;
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;
  int32_t inner;
  int32_t max_length;
  float rms_eps;
  const float* cosines;
  const float* sines;
} vera_decoder_shape;

/* qkv: rows of all query heads, then key heads, then value heads; gate_up: gate rows, then up rows.
 * keys: half floats (kv_heads, max_length / 16, head_dim, 16); values: half floats (kv_heads,
 * max_length, head_dim). What lies past the positions in use is never read into a result. */
typedef struct vera_decoder_layer {
  const float* attention_norm;
  vera_matrix qkv;
  const float* qkv_bias;
  vera_matrix output;
  const float* mlp_norm;
  vera_matrix gate_up;
  vera_matrix down;
  uint16_t* keys;
  uint16_t* values;
} vera_decoder_layer;

/* One layer for `tokens` tokens at positions start ... : x (tokens, hidden) is changed in place. */
VERA_API vera_status vera_decoder_layer_run(const vera_decoder_shape* shape,
                                            const vera_decoder_layer* layer, float* x,
                                            int32_t tokens, int32_t start);

/* out (tokens, rows) = x (tokens, columns) times the matrix; blocks: the blocks of 16 rows to work
 * out (others are left alone), or NULL for all. */
VERA_API vera_status vera_matrix_run(const vera_matrix* matrix, const float* x, int32_t tokens,
                                     const int32_t* blocks, int32_t block_count, float* out);

/* out (count, columns): the rows of the matrix named by ids, in floats. */
VERA_API vera_status vera_matrix_rows(const vera_matrix* matrix, const int64_t* ids, int32_t count,
                                      float* out);

/* 4-bit codes (rows, columns) in [-8, 7] and half-float scales (rows, columns / group) of a matrix:
 * for each group the scale, out of several, whose (weighted) squared error is least, refined by least
 * squares: scale = sum(w x q) / sum(w q q). A scale may be negative: the largest value of a group
 * meets the code -8. importance: weight of each column, or NULL for equal ones. */
VERA_API vera_status vera_quantize_groups(const float* matrix, int64_t rows, int32_t columns,
                                          int32_t group, const float* importance, int8_t* codes,
                                          uint16_t* scales);

/* out = x / sqrt(mean(x^2) + eps) * weight; size: a multiple of 16. */
VERA_API vera_status vera_rms_norm(const float* x, const float* weight, int32_t size, float eps,
                                   float* out);

/* Threads that work on one call, the caller's included; 0 (the default): one for each core, 8 at
 * most. Takes effect with the next call. */
VERA_API vera_status vera_set_decoder_threads(int32_t threads);

/* The instructions in use, for reports: "avx512vnni", "avx2", "neon-dotprod", "neon", "plain". */
VERA_API const char* vera_decoder_instructions(void);

#ifdef __cplusplus
}
#endif

#endif /* VERA_DECODER_H_ */
