// Attention over all positions of a small image: layer norm, joined projections, softmax, output.
#ifndef VERA_OPS_VISION_ATTENTION_INL_H_
#define VERA_OPS_VISION_ATTENTION_INL_H_

#include <cmath>

#include "ops/vision/product-inl.h"
#include "ops/vision/tiles-inl.h"

namespace vera {
namespace VERA_SET {

constexpr int kQueries = 8;       // that share what is loaded of keys and values
constexpr int kTokenTile = 128;   // rows of a product that a thread takes
constexpr int kBlockTile = 12;    // blocks of 16 outputs that it takes

// Rows of codes times a matrix, shared out; sink as in Multiply.
template <class Sink>
void MultiplyShared(Pool& pool, const Workplace& place, const vera_vision_matrix& m,
                    const CodeRows& codes, const Sink& sink) {
  const int64_t blocks = Blocks(m), spans = (blocks + kBlockTile - 1) / kBlockTile;
  const int64_t parts = (codes.count + kTokenTile - 1) / kTokenTile;
  ForTiles(pool, spans * parts, [&](int64_t tile, int64_t thread) {
    const int first = static_cast<int>(tile / parts) * kBlockTile;
    const int row = static_cast<int>(tile % parts) * kTokenTile;
    CodeRows part = codes;
    part.values += static_cast<size_t>(row) * codes.stride;
    part.steps += row;
    part.zeros += row;
    part.count = static_cast<int>(Least(kTokenTile, codes.count - row));
    const auto shifted = [&](int r, int block, F32 sums) { sink(row + r, block, sums); };
    Multiply(m, first, static_cast<int>(Least(blocks, first + kBlockTile)), part,
             reinterpret_cast<int8_t*>(place.Own(thread)), shifted);
  });
}

// Queries (positions, channels); keys (heads, head_dim, padded positions); values (heads, positions,
// head_dim); mixed (positions, channels). All float.
struct Heads {
  float *queries, *keys, *values, *mixed;
  int positions, padded, channels, head_dim;
  float scale;  // of a query
};

struct AttentionMemory {
  Heads heads;
  CodeRows codes;
};

// (x - mean) / sqrt(variance + eps) * weight + bias
inline void LayerNorm(const vera_vision_attention& a, const uint16_t* x, int channels, float* out) {
  F32 sum{};
  for (int c = 0; c < channels; c += kLanes) {
    const F32 v = LoadHalf(x + c);
    Store(v, out + c);
    sum += v;
  }
  const float mean = Sum(sum) / static_cast<float>(channels);
  F32 squares{};
  for (int c = 0; c < channels; c += kLanes) {
    const F32 v = Load<F32>(out + c) - mean;
    squares += v * v;
  }
  const float variance = Sum(squares) / static_cast<float>(channels);
  const float inverse = 1.0f / std::sqrt(variance + a.norm_eps);
  for (int c = 0; c < channels; c += kLanes) {
    const F32 v = (Load<F32>(out + c) - mean) * inverse;
    Store(v * Load<F32>(a.norm_weights + c) + Load<F32>(a.norm_biases + c), out + c);
  }
}

// One block of 16 rows of q, k or v of a position.
inline void StoreHeads(const Heads& h, int position, int block, F32 v) {
  const int part = block * kLanes / h.channels, channel = block * kLanes % h.channels;
  if (part == 0) {
    Store(v * h.scale,
          h.queries + static_cast<size_t>(position) * h.channels + channel);
  } else if (part == 1) {
    float lanes[kLanes];
    Store(v, lanes);
    float* to = h.keys + static_cast<size_t>(channel) * h.padded + position;
    for (int i = 0; i < kLanes; ++i) to[static_cast<size_t>(i) * h.padded] = lanes[i];
  } else {
    const int head = channel / h.head_dim, at = channel % h.head_dim;
    Store(v, h.values + (static_cast<size_t>(head) * h.positions + position) * h.head_dim + at);
  }
}

// Scores of `kQueries` queries to exp(score - largest) and their sum.
inline float Softmax(float* scores, int positions, int padded) {
  for (int i = positions; i < padded; ++i) scores[i] = scores[0];
  F32 largest = Load<F32>(scores);
  for (int i = kLanes; i < padded; i += kLanes) largest = Larger(Load<F32>(scores + i), largest);
  const float most = LargestLane(largest);
  for (int i = 0; i < padded; i += kLanes) Store(Exp(Load<F32>(scores + i) - most), scores + i);
  for (int i = positions; i < padded; ++i) scores[i] = 0;
  F32 sum{};
  for (int i = 0; i < padded; i += kLanes) sum += Load<F32>(scores + i);
  return Sum(sum);
}

// scores (kQueries, padded) of kWide * 16 keys from `at` on.
template <int kWide>
inline void Score(const float* const* queries, const float* keys, int size, int padded, int at,
                  float* scores) {
  F32 sum[kQueries][kWide] = {};
  for (int i = 0; i < size; ++i) {
    F32 key[kWide];
#pragma GCC unroll 2
    for (int w = 0; w < kWide; ++w) {
      key[w] = Load<F32>(keys + static_cast<size_t>(i) * padded + at + w * kLanes);
    }
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 2
      for (int w = 0; w < kWide; ++w) sum[q][w] += key[w] * queries[q][i];
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    for (int w = 0; w < kWide; ++w) {
      Store(sum[q][w], scores + static_cast<size_t>(q) * padded + at + w * kLanes);
    }
  }
}

// Sums of kWide * 16 of the values' columns from `at` on, weighed by the scores: (kQueries, kWide).
template <int kWide>
inline void Weigh(const Heads& h, const float* values, const float* scores, int at, F32* out) {
  F32 sum[kQueries][kWide] = {};
  for (int k = 0; k < h.positions; ++k) {
    F32 value[kWide];
#pragma GCC unroll 2
    for (int w = 0; w < kWide; ++w) {
      value[w] = Load<F32>(values + static_cast<size_t>(k) * h.head_dim + at + w * kLanes);
    }
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 2
      for (int w = 0; w < kWide; ++w) {
        sum[q][w] += value[w] * scores[static_cast<size_t>(q) * h.padded + k];
      }
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    for (int w = 0; w < kWide; ++w) out[q * kWide + w] = sum[q][w];
  }
}

template <int kWide>
inline void MixColumns(const Heads& h, int head, int first, int at, const float* scores,
                       const float* inverse) {
  F32 sums[kQueries * kWide];
  const size_t values = static_cast<size_t>(head) * h.positions * h.head_dim;
  Weigh<kWide>(h, h.values + values, scores, at, sums);
  for (int q = 0; q < kQueries && first + q < h.positions; ++q) {
    float* to = h.mixed + static_cast<size_t>(first + q) * h.channels + head * h.head_dim + at;
    for (int w = 0; w < kWide; ++w) Store(sums[q * kWide + w] * inverse[q], to + w * kLanes);
  }
}

// Queries first .. first + kQueries - 1 of a head; those past the last are its repetition. scores:
// (kQueries, padded).
inline void MixQueries(const Heads& h, int head, int first, float* scores) {
  const int size = h.head_dim;
  const float* queries[kQueries];
  for (int q = 0; q < kQueries; ++q) {
    const int64_t row = Least(first + q, h.positions - 1);
    queries[q] = h.queries + row * h.channels + head * size;
  }
  const float* keys = h.keys + static_cast<size_t>(head) * size * h.padded;
  int k = 0;
  for (; k + 2 * kLanes <= h.padded; k += 2 * kLanes) {
    Score<2>(queries, keys, size, h.padded, k, scores);
  }
  if (k < h.padded) Score<1>(queries, keys, size, h.padded, k, scores);
  float inverse[kQueries];
  for (int q = 0; q < kQueries; ++q) {
    inverse[q] = 1.0f / Softmax(scores + static_cast<size_t>(q) * h.padded, h.positions, h.padded);
  }
  int i = 0;
  for (; i + 2 * kLanes <= size; i += 2 * kLanes) MixColumns<2>(h, head, first, i, scores, inverse);
  if (i < size) MixColumns<1>(h, head, first, i, scores, inverse);
}

inline bool ReserveAttention(Pool& pool, const vera_vision_attention& a, int positions,
                             int channels, Workplace& place, AttentionMemory& memory) {
  const size_t n = positions, padded = (n + kLanes - 1) / kLanes * kLanes, c = channels;
  const auto shared = [&](char* at) {
    memory.heads.queries = Carve<float>(at, n * c);
    memory.heads.keys = Carve<float>(at, padded * c);
    memory.heads.values = Carve<float>(at, n * c);
    memory.heads.mixed = Carve<float>(at, n * c);
    memory.codes = CarveCodes(at, channels, n);
    return at;
  };
  const auto own = [&](char* at) {  // for one or the other
    const size_t unpacked = UnpackedBytes(a.qkv.matrix), scores = kQueries * padded * sizeof(float);
    const size_t most = unpacked > scores ? unpacked : scores, norm = c * sizeof(float);
    Carve<char>(at, most > norm ? most : norm);
    return at;
  };
  Heads& h = memory.heads;
  if (!place.Reserve(pool, shared, own)) return false;
  h.positions = positions;
  h.padded = static_cast<int>(padded);
  h.channels = channels;
  h.head_dim = a.head_dim;
  h.scale = 1.0f / std::sqrt(static_cast<float>(a.head_dim));
  return true;
}

inline bool RunAttention(Pool& pool, const vera_vision_attention& a, const uint16_t* x,
                         int positions, int channels, uint16_t* out) {
  Workplace place;
  AttentionMemory memory;
  if (!ReserveAttention(pool, a, positions, channels, place, memory)) return false;
  const Heads& h = memory.heads;
  const CodeRows& codes = memory.codes;
  ForTiles(pool, positions, [&](int64_t position, int64_t thread) {
    float* normed = reinterpret_cast<float*>(place.Own(thread));
    LayerNorm(a, x + position * channels, channels, normed);
    QuantizeRow(normed, channels, codes, position);
  });
  for (int c = 0; c < channels; ++c) {  // lanes past the last position are read, not used
    for (int i = positions; i < h.padded; ++i) h.keys[static_cast<size_t>(c) * h.padded + i] = 0;
  }
  MultiplyShared(pool, place, a.qkv.matrix, codes, [&](int position, int block, F32 sums) {
    StoreHeads(h, position, block, Scaled(a.qkv, block, sums));
  });
  const int64_t groups = (positions + kQueries - 1) / kQueries;
  ForTiles(pool, groups * (channels / a.head_dim), [&](int64_t tile, int64_t thread) {
    MixQueries(h, static_cast<int>(tile / groups), static_cast<int>(tile % groups) * kQueries,
               reinterpret_cast<float*>(place.Own(thread)));
  });
  ForTiles(pool, positions, [&](int64_t position, int64_t) {
    QuantizeRow(h.mixed + position * channels, channels, codes, position);
  });
  MultiplyShared(pool, place, a.out.matrix, codes, [&](int position, int block, F32 sums) {
    const size_t at = static_cast<size_t>(position) * channels + block * kLanes;
    StoreHalf(LoadHalf(x + at) + Scaled(a.out, block, sums), out + at);
  });
  return true;
}

}  // namespace VERA_SET
}  // namespace vera

#endif  // VERA_OPS_VISION_ATTENTION_INL_H_
