// Inside of the bake operator: the per-pixel network packed for SIMD, evaluated tile by tile.
//
// The C ABI (cpu/bake.cc) checks arguments and cuts the work into tiles; what is declared here
// trusts its arguments.
//
// A tile holds kTilePoints colours. Lanes are colours, and every colour is a chain of operations of
// its own in a fixed order: its bytes depend on nothing else in the tile, nor on the vector size.
#ifndef VERA_OPS_BAKE_BAKE_H_
#define VERA_OPS_BAKE_BAKE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "vera/vera.h"

namespace vera {

constexpr int kMaxBakeValue = 65504;  // of weights, latents and colours; keeps all sums finite
constexpr size_t kTilePoints = 48;    // three vectors of 16 lanes; twelve of 4
constexpr size_t kRowBlock = 8;       // features that are packed side by side
constexpr size_t kWidthMultiple = 16;
constexpr int kCodeMax = 127;  // of a weight
constexpr float kRangeMax = 255.0f;  // code of the largest activation

template <typename T>
using Aligned = hwy::AlignedFreeUniquePtr<T[]>;

// `count` zeros. Throws std::bad_alloc.
template <typename T>
Aligned<T> MakeAligned(size_t count);
extern template Aligned<float> MakeAligned(size_t);
extern template Aligned<uint32_t> MakeAligned(size_t);
extern template Aligned<int32_t> MakeAligned(size_t);

// What is between two layers: h = relu(W x + c), where x = (g - mean(g)) / deviation(g) of the
// layer before. In float32 W meets g itself, W x = (W g - mean(g) sum(W)) / deviation(g): features
// that are 0 in a whole panel are left out, almost half of them where colours lie close together. Its LayerNorm weight is a factor of the columns of W; its LayerNorm bias and its
// latents are part of c, which a look fixes (MakeBiases). The first layer has x = 2 rgb - 1.
//
// All arrays are padded with zeros to padded_width features.
struct PackedLayer {
  size_t inputs = 0;
  size_t width = 0;
  size_t padded_width = 0;
  Aligned<float> weights;    // first layer: 3 x padded_width; else [feature / 8][input][8]
  Aligned<float> weight_sums;  // float: of a feature, over its inputs
  Aligned<uint32_t> codes;   // int8: [feature / 8][input / 4][8] of 4 inputs, the first lowest
  Aligned<int32_t> code_sums;  // int8: sum of codes of a feature
  Aligned<float> scales;       // int8: weight of a code
  Aligned<float> errors;       // int8: weights minus codes * scales, input x padded_width
  Aligned<float> columns;      // weights before the fold, input x padded_width; to make c
  Aligned<float> bias;
  Aligned<float> shift;           // LayerNorm bias + bias of the latents
  Aligned<float> latent_columns;  // 3 latent_size x padded_width
};

struct PackedRenderer {
  std::vector<PackedLayer> layers;
  Aligned<float> out_weights;  // input x 4: R, G, B, 0; times the last LayerNorm weight
  std::vector<float> out_columns;  // the same before the fold, input x 3
  float out_bias[3];
  size_t latent_size = 0;
  size_t max_padded_width = 0;
  float norm_epsilon = 0.0f;
  bool int8 = false;
  bool residual = false;
};

// What a look adds: c of each layer (padded_width) and of the output.
struct Biases {
  std::vector<Aligned<float>> layers;
  std::vector<Aligned<float>> slopes;  // int8: of R, G, B, 3 x padded_width; see CorrectErrors
  float out[3];
};

// Where the layers of a tile lie: [panel][feature][point of the panel]; a panel is three vectors.
struct TileMemory {
  explicit TileMemory(const PackedRenderer& renderer);
  Aligned<float> features[2];
  std::vector<uint32_t> live;  // [panel][place]: features that are not 0 in all of a panel
};

struct Tile {
  alignas(64) float rgb[3][kTilePoints];
  alignas(64) float out[3 * kTilePoints];  // R, G, B of each point
};

// Packs checked weights.
void PackRenderer(const vera_renderer_weights& weights, PackedRenderer* renderer);

// latents: 3 x latent_size, strengths: 3.
Biases MakeBiases(const PackedRenderer& renderer, const float* latents, const float* strengths);

// sums += matrix x, where the matrix is size x columns and columns a multiple of 16. SIMD.
void AddProduct(const float* matrix, const float* x, size_t size, size_t columns, float* sums);

// tile->out from tile->rgb. SIMD. Products of float32 layers are fused multiply-adds where the
// machine has them; everything else is single additions and multiplications in a fixed order.
void EvaluateTile(const PackedRenderer& renderer, const Biases& biases, TileMemory& memory,
                  Tile& tile);

// Int8: makes good in biases->layers and biases->slopes what rounding the weights changed, to first
// order in the colour. The inputs of a layer are functions of three numbers: they are fitted by
// z0 + z . rgb on the 4 x 4 x 3 colours of one tile; the errors of the weights times z are the
// correction. SIMD; the same bytes on every instruction set.
void CorrectErrors(const PackedRenderer& renderer, TileMemory& memory, Biases* biases);

// The network in double precision, as plain as possible: the truth of the tests. count x 3.
void EvaluateReference(const vera_renderer_weights& weights, const float* latents,
                       const float* strengths, const float* rgb, size_t count, double* out);

}  // namespace vera

// What the C ABI hands out.
struct vera_renderer {
  vera::PackedRenderer packed;
};

#endif  // VERA_OPS_BAKE_BAKE_H_
