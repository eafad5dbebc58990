// A decoder layer: norm, joined projections, attention over the cache, feed-forward. Compiled once
// for each instruction set.
//
// Activations are quantized to 8 bits per token (scale = largest magnitude / 127), so that a matrix
// product is integer sums per group of columns, each scaled once: as torchao's int8 dynamic
// activations with symmetric mapping.
#include <cmath>

#include "ops/decoder/decoder.h"
#include "ops/decoder/vec.h"

namespace vera {
namespace VERA_SET {
namespace {

constexpr int kChunk = 64;       // tokens that go through a layer together
constexpr int kTile = 8;         // tokens whose sums are held in registers
constexpr int kAhead = 8192;     // bytes of weights asked for early: a single token waits for memory
constexpr int kBlocksPerTask = 4;
constexpr int kTasksPerThread = 2;
constexpr int64_t kWorthThreads = 1 << 17;  // multiply-adds, some 3 us on one core
constexpr int kScoreHeads = 4;  // query heads that a pass over the cache serves

int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

// Tokens as 8-bit codes, with what the offset of the weights needs: sums per group.
struct Codes {
  int8_t* values;  // (tokens, columns)
  int32_t* sums;   // (tokens, groups)
  float* scales;   // (tokens)
  int columns;
  int groups;

  void Shape(int new_columns, int group) {
    columns = new_columns;
    groups = group == 0 ? 1 : columns / group;
  }
};

void Quantize(const float* x, int token, const Codes& codes) {
  const int columns = codes.columns;
  F32 largest{};
  for (int i = 0; i < columns; i += kLanes) largest = Max(largest, Abs(Load<F32>(x + i)));
  const float range = LargestLane(largest);
  const float inverse = range > 0 ? 127.0f / range : 0.0f;
  codes.scales[token] = range / 127.0f;
  int8_t* values = codes.values + static_cast<size_t>(token) * columns;
  int32_t* sums = codes.sums + static_cast<size_t>(token) * codes.groups;
  const int group = columns / codes.groups;
  for (int g = 0; g < codes.groups; ++g) {
    I32 sum{};
    for (int i = g * group; i < (g + 1) * group; i += kLanes) {
      const I32 code = __builtin_convertvector(Round(Load<F32>(x + i) * inverse), I32);
      sum += code;
      Store(__builtin_convertvector(code, I8), values + i);
    }
    int32_t total = 0;
    for (int i = 0; i < kLanes; ++i) total += sum[i];
    sums[g] = total;
  }
}

inline int32_t FourCodes(const int8_t* from) {
  int32_t v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

// kTokens tokens times one block of 16 rows with 4-bit weights.
template <int kTokens>
void Block4(const vera_matrix& m, int64_t block, const Codes& x, int first, F32* acc) {
  const int groups = m.columns / m.group, chunks = m.group / 8;
  const uint8_t* weights = m.weights + block * m.columns * 8;
  const uint16_t* scales = static_cast<const uint16_t*>(m.scales) + block * groups * kLanes;
  const int8_t* codes = x.values + static_cast<size_t>(first) * m.columns;
  const int32_t* sums = x.sums + static_cast<size_t>(first) * groups;
  F32 total[kTokens] = {};
  for (int g = 0; g < groups; ++g) {
    I32 sum[kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) sum[t] = SplatInt(-8 * sums[t * groups + g]);
    for (int c = 0; c < chunks; ++c) {
      if (kTokens == 1) __builtin_prefetch(weights + kAhead);
      const U8 both = Load<U8>(weights);
      const U8 low = both & 15, high = (both >> 4) & 15;
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        const int8_t* at = codes + static_cast<size_t>(t) * m.columns;
        sum[t] = Dot4Bits(sum[t], low, FourCodes(at));
        sum[t] = Dot4Bits(sum[t], high, FourCodes(at + 4));
      }
      weights += 64;
      codes += 8;
    }
    const F32 scale = FromHalf(scales + g * kLanes);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) total[t] += ToFloat(sum[t]) * scale;
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) acc[t] = total[t];
}

template <int kTokens>
void Block8(const vera_matrix& m, int64_t block, const Codes& x, int first, F32* acc) {
  const uint8_t* weights = m.weights + block * m.columns * 16;
  const int8_t* codes = x.values + static_cast<size_t>(first) * m.columns;
  I32 sum[kTokens];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) sum[t] = SplatInt(-kByteOffset * x.sums[first + t]);
  for (int c = 0; c < m.columns; c += 4) {
    if (kTokens == 1) __builtin_prefetch(weights + kAhead);
    const U8 w = Load<U8>(weights);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      sum[t] = Dot8Bits(sum[t], w, FourCodes(codes + static_cast<size_t>(t) * m.columns + c));
    }
    weights += 64;
  }
  const F32 scale = Load<F32>(static_cast<const float*>(m.scales) + block * kLanes);
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) acc[t] = ToFloat(sum[t]) * scale;
}

template <int kTokens>
void BlockOf(const vera_matrix& m, int64_t block, const Codes& x, int first, const float* bias,
             bool add, float* out) {
  F32 acc[kTokens];
  if (m.bits == 4) {
    Block4<kTokens>(m, block, x, first, acc);
  } else {
    Block8<kTokens>(m, block, x, first, acc);
  }
  const int row = static_cast<int>(block) * kLanes;
  const int rows = static_cast<int>(Least(kLanes, m.rows - row));
  for (int t = 0; t < kTokens; ++t) {
    float lanes[kLanes];
    Store(acc[t] * x.scales[first + t], lanes);
    float* to = out + static_cast<size_t>(first + t) * m.rows + row;
    for (int i = 0; i < rows; ++i) {
      const float value = bias == nullptr ? lanes[i] : lanes[i] + bias[row + i];
      to[i] = add ? to[i] + value : value;
    }
  }
}

// The tasks on all threads, or on this one where waking the others would take longer.
template <class F>
void Share(Pool& pool, int64_t work, int64_t tasks, const F& function) {
  if (work >= kWorthThreads) return pool.For(tasks, function);
  for (int64_t task = 0; task < tasks; ++task) function(task);
}

// out (tokens, rows) = codes times matrix + bias, or added to what out holds.
void Multiply(Pool& pool, const vera_matrix& m, const Codes& x, int tokens, const float* bias,
              bool add, const int32_t* blocks, int32_t block_count, float* out) {
  const int64_t all = blocks == nullptr ? (m.rows + kLanes - 1) / kLanes : block_count;
  // one token reads each weight once: long runs keep the memory busy; more tokens share out evenly
  const int64_t pieces = pool.Threads() * kTasksPerThread;
  const int64_t run = tokens == 1 && all > pieces * kBlocksPerTask ? (all + pieces - 1) / pieces
                                                                   : kBlocksPerTask;
  const auto work = [&](int64_t task) {
    const int64_t end = Least(all, (task + 1) * run);
    for (int64_t b = task * run; b < end; ++b) {
      const int64_t block = blocks == nullptr ? b : blocks[b];
      int t = 0;
      for (; t + kTile <= tokens; t += kTile) BlockOf<kTile>(m, block, x, t, bias, add, out);
      for (; t + 4 <= tokens; t += 4) BlockOf<4>(m, block, x, t, bias, add, out);
      for (; t < tokens; ++t) BlockOf<1>(m, block, x, t, bias, add, out);
    }
  };
  Share(pool, all * kLanes * m.columns * tokens, (all + run - 1) / run, work);
}

// x / sqrt(mean(x^2) + eps) * weight
void RmsNorm(const float* x, const float* weight, int size, float eps, float* out) {
  F32 squares{};
  for (int i = 0; i < size; i += kLanes) {
    const F32 v = Load<F32>(x + i);
    squares += v * v;
  }
  const float scale = 1.0f / std::sqrt(Sum(squares) / static_cast<float>(size) + eps);
  for (int i = 0; i < size; i += kLanes) {
    Store(Load<F32>(x + i) * scale * Load<F32>(weight + i), out + i);
  }
}

// Half-rotation layout: (a, b) -> (a cos - b sin, b cos + a sin), a and b the two halves.
void Rotate(float* head, int size, const float* cosines, const float* sines) {
  const int half = size / 2;
  for (int i = 0; i < half; i += kLanes) {
    const F32 a = Load<F32>(head + i), b = Load<F32>(head + half + i);
    const F32 c = Load<F32>(cosines + i), s = Load<F32>(sines + i);
    Store(a * c - b * s, head + i);
    Store(b * c + a * s, head + half + i);
  }
}

struct Attention {
  const vera_decoder_shape& shape;
  const vera_decoder_layer& layer;
  const float* qkv;  // (tokens, heads + 2 kv_heads, head_dim), queries and keys rotated
  int start;
  float* out;         // (tokens, heads, head_dim)
  float* all_scores;  // (tokens * kv_heads, kScoreHeads, max_length)

  int Row() const { return (shape.heads + 2 * shape.kv_heads) * shape.head_dim; }

  // scores (kHeads, positions padded to 16): softmax of query times key.
  template <int kHeads>
  void Scores(const float* query, const uint16_t* keys, int position, float* scores,
              float* inverse_sums) const {
    const int size = shape.head_dim, padded = position / kLanes * kLanes + kLanes;
    const float scale = 1.0f / std::sqrt(static_cast<float>(size));
    F32 largest[kHeads];
    for (int h = 0; h < kHeads; ++h) largest[h] = Splat(-3e38f);
    const I32 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int p = 0; p < padded; p += kLanes) {
      const uint16_t* block = keys + static_cast<size_t>(p) * size;
      F32 dot[kHeads] = {};
      for (int d = 0; d < size; ++d) {
        const F32 key = FromHalf(block + d * kLanes);
#pragma GCC unroll 8
        for (int h = 0; h < kHeads; ++h) dot[h] += key * query[h * size + d];
      }
      const I32 visible = lane + p <= position;
      for (int h = 0; h < kHeads; ++h) {
        const F32 score = visible ? dot[h] * scale : Splat(-3e38f);
        largest[h] = Max(largest[h], score);
        Store(score, scores + h * padded + p);
      }
    }
    for (int h = 0; h < kHeads; ++h) {
      const float top = LargestLane(largest[h]);
      F32 sum{};
      for (int p = 0; p < padded; p += kLanes) {
        const I32 visible = lane + p <= position;
        float* at = scores + h * padded + p;
        const F32 weight = visible ? Exp(Load<F32>(at) - top) : F32{};
        sum += weight;
        Store(weight, at);
      }
      inverse_sums[h] = 1.0f / Sum(sum);
    }
  }

  template <int kHeads>
  void Mix(const float* scores, const float* inverse_sums, const uint16_t* values, int position,
           float* to) const {
    const int size = shape.head_dim, padded = position / kLanes * kLanes + kLanes;
    for (int d = 0; d < size; d += kLanes) {
      F32 sum[kHeads] = {};
      for (int p = 0; p <= position; ++p) {
        const F32 value = FromHalf(values + static_cast<size_t>(p) * size + d);
#pragma GCC unroll 8
        for (int h = 0; h < kHeads; ++h) sum[h] += value * scores[h * padded + p];
      }
      for (int h = 0; h < kHeads; ++h) Store(sum[h] * inverse_sums[h], to + h * size + d);
    }
  }

  template <int kHeads>
  void Heads(int token, int kv, int head, float* scores) const {
    const int size = shape.head_dim, position = start + token;
    const size_t cached = static_cast<size_t>(shape.max_length) * size;
    float inverse_sums[kHeads];
    Scores<kHeads>(qkv + static_cast<size_t>(token) * Row() + head * size,
                   layer.keys + kv * cached, position, scores, inverse_sums);
    Mix<kHeads>(scores, inverse_sums, layer.values + kv * cached, position,
                out + (static_cast<size_t>(token) * shape.heads + head) * size);
  }

  void operator()(int64_t task) const {
    float* scores = all_scores + task * kScoreHeads * shape.max_length;
    const int token = static_cast<int>(task / shape.kv_heads);
    const int kv = static_cast<int>(task % shape.kv_heads);
    const int shared = shape.heads / shape.kv_heads;
    int head = kv * shared;
    const int end = head + shared;
    for (; head + 4 <= end; head += 4) Heads<4>(token, kv, head, scores);
    for (; head + 2 <= end; head += 2) Heads<2>(token, kv, head, scores);
    for (; head < end; ++head) Heads<1>(token, kv, head, scores);
  }
};

void WriteCache(const vera_decoder_shape& shape, const vera_decoder_layer& layer,
                const float* key_row, const float* value_row, int position) {
  const int size = shape.head_dim;
  const size_t cached = static_cast<size_t>(shape.max_length) * size;
  const int block = position / kLanes, lane = position % kLanes;
  for (int kv = 0; kv < shape.kv_heads; ++kv) {
    uint16_t* keys = layer.keys + kv * cached + static_cast<size_t>(block) * size * kLanes + lane;
    uint16_t* values = layer.values + kv * cached + static_cast<size_t>(position) * size;
    for (int d = 0; d < size; ++d) {
      keys[d * kLanes] = ToHalf(key_row[kv * size + d]);
      values[d] = ToHalf(value_row[kv * size + d]);
    }
  }
}

// What a call needs beside its inputs, carved from one buffer.
struct Scratch {
  float *normed, *qkv, *mixed, *inner, *scores;
  Codes codes;
};

// One buffer, which the pool's owner lock serves too: it is as large as the largest chunk so far.
template <class T>
T* Carve(char*& at, size_t count) {
  T* piece = reinterpret_cast<T*>(at);
  at += (count * sizeof(T) + 63) / 64 * 64;
  return piece;
}

bool Reserve(const vera_decoder_shape& s, int tokens, Scratch& scratch) {
  const size_t n = tokens, queries = static_cast<size_t>(s.heads) * s.head_dim;
  const size_t row = queries + 2 * static_cast<size_t>(s.kv_heads) * s.head_dim;
  const size_t widest = s.inner > s.hidden ? s.inner : s.hidden;
  const size_t columns = widest > queries ? widest : queries;
  const auto lay_out = [&](char* at) {
    scratch.normed = Carve<float>(at, n * widest);
    scratch.qkv = Carve<float>(at, n * row);
    scratch.mixed = Carve<float>(at, n * queries);
    scratch.inner = Carve<float>(at, n * 2 * s.inner);
    scratch.scores = Carve<float>(at, n * s.kv_heads * kScoreHeads * s.max_length);
    scratch.codes.values = Carve<int8_t>(at, n * columns);
    scratch.codes.sums = Carve<int32_t>(at, n * (columns / 32));
    scratch.codes.scales = Carve<float>(at, n);
    return at;
  };
  const size_t bytes = lay_out(nullptr) - static_cast<char*>(nullptr);
  void* memory = DecoderMemory().Grow(bytes);
  if (memory == nullptr) return false;
  lay_out(static_cast<char*>(memory));
  return true;
}

template <class F>
void ForTokens(Pool& pool, int tokens, const F& function) {
  if (tokens == 1) return function(0);
  pool.For(tokens, function);
}

bool RunChunk(Pool& pool, const vera_decoder_shape& s, const vera_decoder_layer& layer, float* x,
              int tokens, int start) {
  Scratch scratch;
  if (!Reserve(s, tokens, scratch)) return false;
  const int size = s.head_dim, queries = s.heads * size, row = queries + 2 * s.kv_heads * size;
  Codes& codes = scratch.codes;

  const auto norm_and_quantize = [&](const float* weight, int group) {
    codes.Shape(s.hidden, group);
    ForTokens(pool, tokens, [&](int64_t t) {
      float* normed = scratch.normed + t * s.hidden;
      RmsNorm(x + t * s.hidden, weight, s.hidden, s.rms_eps, normed);
      Quantize(normed, static_cast<int>(t), codes);
    });
  };

  norm_and_quantize(layer.attention_norm, layer.qkv.group);
  Multiply(pool, layer.qkv, codes, tokens, layer.qkv_bias, false, nullptr, 0,
           scratch.qkv);
  ForTokens(pool, tokens, [&](int64_t t) {
    const int position = start + static_cast<int>(t);
    float* heads = scratch.qkv + t * row;
    const float* cosines = s.cosines + static_cast<size_t>(position) * size;
    const float* sines = s.sines + static_cast<size_t>(position) * size;
    for (int h = 0; h < s.heads + s.kv_heads; ++h) Rotate(heads + h * size, size, cosines, sines);
    WriteCache(s, layer, heads + queries, heads + queries + s.kv_heads * size, position);
  });
  const Attention attention{s, layer, scratch.qkv, start, scratch.mixed, scratch.scores};
  const int64_t tasks = static_cast<int64_t>(tokens) * s.kv_heads;
  Share(pool, int64_t{2} * tokens * queries * (start + tokens), tasks, attention);
  codes.Shape(queries, layer.output.group);
  ForTokens(pool, tokens, [&](int64_t t) {
    Quantize(scratch.mixed + t * queries, static_cast<int>(t), codes);
  });
  Multiply(pool, layer.output, codes, tokens, nullptr, true, nullptr, 0, x);

  norm_and_quantize(layer.mlp_norm, layer.gate_up.group);
  Multiply(pool, layer.gate_up, codes, tokens, nullptr, false, nullptr, 0,
           scratch.inner);
  codes.Shape(s.inner, layer.down.group);
  ForTokens(pool, tokens, [&](int64_t t) {
    const float* gate = scratch.inner + t * 2 * s.inner;
    float* gated = scratch.normed + t * s.inner;
    for (int i = 0; i < s.inner; i += kLanes) {  // silu(gate) * up
      const F32 g = Load<F32>(gate + i);
      Store(g / (Exp(-g) + 1.0f) * Load<F32>(gate + s.inner + i), gated + i);
    }
    Quantize(gated, static_cast<int>(t), codes);
  });
  Multiply(pool, layer.down, codes, tokens, nullptr, true, nullptr, 0, x);
  return true;
}

bool RunLayer(Pool& pool, const vera_decoder_shape& shape, const vera_decoder_layer& layer,
              float* x, int32_t tokens, int32_t start) {
  for (int32_t first = 0; first < tokens; first += kChunk) {
    const int count = static_cast<int>(Least(kChunk, tokens - first));
    float* rows = x + static_cast<size_t>(first) * shape.hidden;
    if (!RunChunk(pool, shape, layer, rows, count, start + first)) return false;
  }
  return true;
}

bool RunMatrix(Pool& pool, const vera_matrix& matrix, const float* x, int32_t tokens,
               const int32_t* blocks, int32_t block_count, float* out) {
  const size_t columns = matrix.columns;
  const int most = static_cast<int>(Least(kChunk, tokens));
  char* at = static_cast<char*>(DecoderMemory().Grow(most * (columns + columns / 8 + 4) + 192));
  if (at == nullptr) return false;
  Codes codes;
  codes.values = Carve<int8_t>(at, most * columns);
  codes.sums = Carve<int32_t>(at, most * (columns / 32));
  codes.scales = Carve<float>(at, most);
  codes.Shape(matrix.columns, matrix.group);
  for (int32_t first = 0; first < tokens; first += kChunk) {
    const int count = static_cast<int>(Least(kChunk, tokens - first));
    for (int t = 0; t < count; ++t) Quantize(x + (first + t) * columns, t, codes);
    Multiply(pool, matrix, codes, count, nullptr, false, blocks, block_count,
             out + static_cast<size_t>(first) * matrix.rows);
  }
  return true;
}

void RunRows(const vera_matrix& m, const int64_t* ids, int32_t count, float* out) {
  for (int32_t i = 0; i < count; ++i) {
    const int64_t block = ids[i] / kLanes, lane = ids[i] % kLanes;
    float* row = out + static_cast<size_t>(i) * m.columns;
    for (int column = 0; column < m.columns; ++column) {
      const int j = column % 4;
      if (m.bits == 8) {
        const uint8_t code = m.weights[block * m.columns * 16 + (column / 4) * 64 + lane * 4 + j];
        const float scale = static_cast<const float*>(m.scales)[block * kLanes + lane];
        row[column] = static_cast<float>(code - 128) * scale;
        continue;
      }
      const uint8_t both = m.weights[block * m.columns * 8 + (column / 8) * 64 + lane * 4 + j];
      const int code = (column / 4) % 2 == 0 ? both & 15 : both >> 4;
      const uint16_t* scales = static_cast<const uint16_t*>(m.scales) +
                               (block * (m.columns / m.group) + column / m.group) * kLanes;
      row[column] = static_cast<float>(code - 8) * FromHalf(scales)[lane];
    }
  }
}

// Parts of the scale at which the largest value of a group is met exactly.
constexpr float kTried[] = {1.0f, 0.96f, 0.92f, 0.88f, 0.84f, 0.8f, 0.75f, 0.7f};

inline F32 Code(F32 x, float inverse) {
  return Round(Min(Max(x * inverse, Splat(-8.0f)), Splat(7.0f)));
}

uint16_t BestScale(const float* x, const float* importance, int group) {
  F32 most{};
  for (int i = 0; i < group; i += kLanes) most = Max(most, Abs(Load<F32>(x + i)));
  const float size = LargestLane(most);
  if (!(size > 0)) return 0;
  float signed_size = size;
  for (int i = 0; i < group; ++i) {
    if (x[i] == size || x[i] == -size) {
      signed_size = x[i];
      break;
    }
  }
  float best_error = 3e38f, best = 0;
  for (const float part : kTried) {
    const float inverse = -8.0f / (signed_size * part);
    F32 squares{}, products{};
    for (int i = 0; i < group; i += kLanes) {
      const F32 value = Load<F32>(x + i), code = Code(value, inverse);
      const F32 weight = importance == nullptr ? Splat(1.0f) : Load<F32>(importance + i);
      squares += weight * code * code;
      products += weight * code * value;
    }
    const float square = Sum(squares), product = Sum(products);
    if (!(square > 0)) continue;
    // the error is constant - product^2 / square at the scale of least squares
    const float error = -product * product / square;
    if (error < best_error) {
      best_error = error;
      best = product / square;
    }
  }
  return ToHalf(best);
}

void QuantizeGroups(Pool& pool, const float* matrix, int64_t rows, int32_t columns, int32_t group,
                    const float* importance, int8_t* codes, uint16_t* scales) {
  const int groups = columns / group;
  pool.For(rows, [&](int64_t row) {
    for (int g = 0; g < groups; ++g) {
      const size_t at = static_cast<size_t>(row) * columns + static_cast<size_t>(g) * group;
      const float* weights = importance == nullptr ? nullptr : importance + g * group;
      uint16_t halves[kLanes] = {BestScale(matrix + at, weights, group)};
      const float scale = FromHalf(halves)[0];
      scales[row * groups + g] = halves[0];
      for (int i = 0; i < group; i += kLanes) {
        const F32 code = scale == 0 ? F32{} : Code(Load<F32>(matrix + at + i), 1.0f / scale);
        Store(__builtin_convertvector(__builtin_convertvector(code, I32), I8), codes + at + i);
      }
    }
  });
}

}  // namespace

extern const DecoderFunctions kDecoder;
const DecoderFunctions kDecoder = {kSetName, RunLayer, RunMatrix, RunRows, QuantizeGroups, RmsNorm};

}  // namespace VERA_SET
}  // namespace vera
