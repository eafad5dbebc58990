// Products of rows of codes with a packed matrix.
#ifndef VERA_OPS_VISION_PRODUCT_INL_H_
#define VERA_OPS_VISION_PRODUCT_INL_H_

#include "ops/vision/bytes-inl.h"
#include "vera/vision.h"

namespace vera {
namespace VERA_SET {

// Rows of codes and blocks of 16 weights whose sums fit into the registers together.
#if defined(__AVX512F__)
constexpr int kTileRows = 8, kTileBlocks = 3;
#else
constexpr int kTileRows = 4, kTileBlocks = 1;
#endif
constexpr int kGroup = 32;  // columns that lie together

inline int Padded(int columns) { return (columns + kGroup - 1) / kGroup * kGroup; }
inline int Blocks(const vera_vision_matrix& m) { return (m.rows + kLanes - 1) / kLanes; }
inline int GroupBytes(const vera_vision_matrix& m) {
  return m.bits == 8 ? 512 : m.bits == 6 ? 400 : 272;
}
// Memory that Multiply needs for weights of fewer than 8 bits.
inline size_t UnpackedBytes(const vera_vision_matrix& m) {
  return m.bits == 8 ? 0 : static_cast<size_t>(kTileBlocks) * Padded(m.columns) * kLanes;
}

// Rows of codes, `stride` bytes apart; columns past the matrix' are any codes.
struct CodeRows {
  uint8_t* values;
  int stride;
  int count;
  // for each row the number that a step of its codes means, and the code of 0
  float* steps;
  int32_t* zeros;
};

typedef int16_t S16 __attribute__((vector_size(128)));

// A group of 32 columns of one block: 512 signed bytes.
inline void UnpackGroup(const uint8_t* from, int bits, int8_t* to) {
  const uint8_t* uppers = from + 256;
  const uint8_t* multipliers = bits == 6 ? from + 384 : from + 256;
  // four bytes for each row
  const U32 wide = __builtin_convertvector(Load<Codes16>(multipliers), U32);
  const S16 multiplier = __builtin_convertvector((U8)(wide * 0x01010101u), S16);
  const int middle = bits == 6 ? 32 : 8, shift = bits == 6 ? 6 : 4, half = 1 << (shift - 1);
  for (int piece = 0; piece < 8; ++piece) {
    const U8 both = Load<U8>(from + piece / 2 * 64);
    U8 code = piece % 2 == 0 ? both & 15 : (both >> 4) & 15;
    if (bits == 6) {
      code |= ((Load<U8>(uppers + piece / 4 * 64) >> (piece % 4 * 2)) & 3) << 4;
    }
    const S16 value = __builtin_convertvector(code, S16) - static_cast<int16_t>(middle);
    const S16 weight = (value * multiplier + static_cast<int16_t>(half)) >> shift;
    Store(__builtin_convertvector(weight, S8), to + piece * 64);
  }
}

// The signed bytes of `count` blocks from `block` on, in place or unpacked into `memory`.
inline const int8_t* SignedBlocks(const vera_vision_matrix& m, int block, int count,
                                  int8_t* memory) {
  const int groups = Padded(m.columns) / kGroup, bytes = GroupBytes(m);
  const uint8_t* from = m.weights + static_cast<size_t>(block) * groups * bytes;
  if (m.bits == 8) return reinterpret_cast<const int8_t*>(from);
  for (size_t g = 0; g < static_cast<size_t>(groups) * count; ++g) {
    UnpackGroup(from + g * bytes, m.bits, memory + g * 512);
  }
  return memory;
}

// sums[row * kBlocks + block]
template <int kRows, int kBlocks>
inline void Tile(const uint8_t* codes, int stride, const int8_t* weights, size_t block_bytes,
                 int pieces, const I32* start, I32* sums) {
  I32 sum[kRows][kBlocks];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int b = 0; b < kBlocks; ++b) sum[r][b] = start[b];
  }
  for (int piece = 0; piece < pieces; ++piece) {
    S8 w[kBlocks];
#pragma GCC unroll 3
    for (int b = 0; b < kBlocks; ++b) {
      w[b] = Load<S8>(weights + b * block_bytes + static_cast<size_t>(piece) * 64);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const U8 a = ReadyWord(codes + static_cast<size_t>(r) * stride + piece * 4);
#pragma GCC unroll 3
      for (int b = 0; b < kBlocks; ++b) sum[r][b] = DotCodes(sum[r][b], a, w[b]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int b = 0; b < kBlocks; ++b) sums[r * kBlocks + b] = sum[r][b];
  }
}

template <int kRows, int kBlocks, class Sink>
inline void TileInto(const CodeRows& codes, int row, const int8_t* weights, size_t block_bytes,
                     int pieces, const I32* weight_sums, int block, const Sink& sink) {
  I32 sums[kRows * kBlocks], start[kBlocks];
  for (int b = 0; b < kBlocks; ++b) start[b] = weight_sums[b] * kMissing;
  Tile<kRows, kBlocks>(codes.values + static_cast<size_t>(row) * codes.stride, codes.stride,
                       weights, block_bytes, pieces, start, sums);
  for (int b = 0; b < kBlocks; ++b) {
    for (int r = 0; r < kRows; ++r) {
      const I32 sum = sums[r * kBlocks + b] - weight_sums[b] * codes.zeros[row + r];
      sink(row + r, block + b, ToFloat(sum) * codes.steps[row + r]);
    }
  }
}

template <int kBlocks, class Sink>
void MultiplyBlocks(const vera_vision_matrix& m, int block, const CodeRows& codes, int8_t* memory,
                    const Sink& sink) {
  const int columns = Padded(m.columns), pieces = columns / 4;
  const size_t block_bytes = static_cast<size_t>(columns) * kLanes;
  const int8_t* weights = SignedBlocks(m, block, kBlocks, memory);
  I32 weight_sums[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    I32 sum{};
    for (int piece = 0; piece < pieces; ++piece) {
      sum = SumWeights(sum, Load<S8>(weights + b * block_bytes + static_cast<size_t>(piece) * 64));
    }
    weight_sums[b] = sum;
  }
  int row = 0;
  for (; row + kTileRows <= codes.count; row += kTileRows) {
    TileInto<kTileRows, kBlocks>(codes, row, weights, block_bytes, pieces, weight_sums, block, sink);
  }
  for (; row < codes.count; ++row) {
    TileInto<1, kBlocks>(codes, row, weights, block_bytes, pieces, weight_sums, block, sink);
  }
}

// sink(row, block, sums) for each row of codes and each block in [first, last): 16 sums of
// weight * (code - zero), exact, times the row's step. memory: UnpackedBytes(m).
template <class Sink>
void Multiply(const vera_vision_matrix& m, int first, int last, const CodeRows& codes,
              int8_t* memory, const Sink& sink) {
  int block = first;
  for (; block + kTileBlocks <= last; block += kTileBlocks) {
    MultiplyBlocks<kTileBlocks>(m, block, codes, memory, sink);
  }
  for (; block < last; ++block) MultiplyBlocks<1>(m, block, codes, memory, sink);
}

// What a product makes of a block's sums.
inline F32 Scaled(const vera_vision_product& p, int block, F32 sums) {
  return sums * Load<F32>(p.multipliers + block * kLanes) + Load<F32>(p.biases + block * kLanes);
}

inline float LeastLane(F32 v) { return -LargestLane(-v); }

// Row number `row` of codes from floats, with the step and zero that its smallest and largest ask
// for.
inline void QuantizeRow(const float* x, int columns, const CodeRows& codes, int64_t row) {
  F32 high{}, low{};
  for (int i = 0; i < columns; i += kLanes) {
    const F32 v = Load<F32>(x + i);
    high = Larger(v, high);
    low = Smaller(v, low);
  }
  const float least = LeastLane(low), range = LargestLane(high) - least;
  const float step = range > 0 && range < 3e38f ? range / 255.0f : 1.0f;
  const float inverse = 1.0f / step;
  const I32 zero = __builtin_convertvector(Round(Clamp(Splat(-least * inverse), 0, 255)), I32);
  uint8_t* to = codes.values + row * codes.stride;
  codes.steps[row] = step;
  codes.zeros[row] = zero[0];
  const F32 offset = ToFloat(zero);
  for (int i = 0; i < columns; i += kLanes) {
    Store(ToCodes(Load<F32>(x + i) * inverse + offset), to + i);
  }
}

// Memory for rows of codes of a product's input.
inline CodeRows CarveCodes(char*& at, int columns, size_t count) {
  CodeRows codes;
  codes.stride = Padded(columns);
  codes.count = static_cast<int>(count);
  codes.values = Carve<uint8_t>(at, count * codes.stride);
  codes.steps = Carve<float>(at, count);
  codes.zeros = Carve<int32_t>(at, count);
  return codes;
}

}  // namespace VERA_SET
}  // namespace vera

#endif  // VERA_OPS_VISION_PRODUCT_INL_H_
