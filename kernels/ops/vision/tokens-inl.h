// The end of the tower: convolution to features, squeeze-and-excite, GELU, projector.
#ifndef VERA_OPS_VISION_TOKENS_INL_H_
#define VERA_OPS_VISION_TOKENS_INL_H_

#include "ops/vision/attention-inl.h"
#include "ops/vision/depthwise-inl.h"

namespace vera {
namespace VERA_SET {

struct TokensMemory {
  float* features;  // (positions, features), then (positions, hidden)
  float* up;
  float* pooled;
  float* gates;
  CodeRows codes;
};

// out (count, rows) = float rows times the matrix, then `after`; the rows become codes on the way.
template <class After>
void MultiplyRows(Pool& pool, const Workplace& place, const vera_vision_product& p, const float* x,
                  int count, const TokensMemory& memory, float* out, const After& after) {
  CodeRows codes = memory.codes;
  codes.count = count;
  codes.stride = Padded(p.matrix.columns);
  ForTiles(pool, count, [&](int64_t row, int64_t) {
    QuantizeRow(x + row * p.matrix.columns, p.matrix.columns, codes, row);
  });
  MultiplyShared(pool, place, p.matrix, codes, [&](int row, int block, F32 sums) {
    Store(after(Scaled(p, block, sums)),
          out + static_cast<size_t>(row) * p.matrix.rows + block * kLanes);
  });
}

inline F32 Relu(F32 v) { return Larger(v, F32{}); }
inline F32 Sigmoid(F32 v) { return 1.0f / (Exp(-v) + 1.0f); }

inline void Pool16(const float* features, int positions, int count, int at, float* pooled) {
  F32 sum{};
  for (int p = 0; p < positions; ++p) {
    sum += Load<F32>(features + static_cast<size_t>(p) * count + at);
  }
  Store(sum / static_cast<float>(positions), pooled + at);
}

inline bool ReserveTokens(Pool& pool, const vera_vision_tokens& t, size_t positions,
                          Workplace& place, TokensMemory& memory) {
  const size_t features = t.up.matrix.columns, hidden = t.out.matrix.columns;
  const size_t widest = features > hidden ? features : hidden;
  const auto shared = [&](char* at) {
    memory.features = Carve<float>(at, positions * features);
    memory.up = Carve<float>(at, positions * hidden);
    memory.pooled = Carve<float>(at, features);
    memory.gates = Carve<float>(at, features + t.squeeze.matrix.rows);
    memory.codes = CarveCodes(at, static_cast<int>(widest), positions);
    return at;
  };
  const auto own = [&](char* at) {
    size_t most = 1;
    for (const vera_vision_product* p : {&t.squeeze, &t.excite, &t.up, &t.out}) {
      const size_t bytes = UnpackedBytes(p->matrix);
      most = bytes > most ? bytes : most;
    }
    Carve<char>(at, most);
    return at;
  };
  return place.Reserve(pool, shared, own);
}

inline bool RunTokens(Pool& pool, const vera_vision_tokens& t, const uint16_t* x,
                      const ImageShape& shape, float* out) {
  Workplace place;
  TokensMemory memory;
  const int positions = shape.height * shape.width, features = t.up.matrix.columns;
  if (!ReserveTokens(pool, t, positions, place, memory)) return false;
  ForTiles(pool, shape.height, [&](int64_t y, int64_t) {
    float* row = memory.features + static_cast<size_t>(y) * shape.width * features;
    DepthwiseRow(t.expand, x, shape.height, shape.width, shape.channels, static_cast<int>(y), 0,
                 shape.width, [&](int column, int c, F32 v) {
                   Store(v, row + static_cast<size_t>(column) * features + c);
                 });
  });
  ForTiles(pool, features / kLanes, [&](int64_t block, int64_t) {
    Pool16(memory.features, positions, features, static_cast<int>(block) * kLanes, memory.pooled);
  });
  float* squeezed = memory.gates + features;
  MultiplyRows(pool, place, t.squeeze, memory.pooled, 1, memory, squeezed, Relu);
  MultiplyRows(pool, place, t.excite, squeezed, 1, memory, memory.gates, Sigmoid);
  ForTiles(pool, positions, [&](int64_t p, int64_t) {
    float* row = memory.features + p * features;
    for (int i = 0; i < features; i += kLanes) {
      const F32 v = Gelu(Load<F32>(row + i) * Load<F32>(memory.gates + i));
      Store(v * Load<F32>(t.up.inverses + i), row + i);
    }
  });
  MultiplyRows(pool, place, t.up, memory.features, positions, memory, memory.up, Gelu);
  MultiplyRows(pool, place, t.out, memory.up, positions, memory, out, [](F32 v) { return v; });
  return true;
}

}  // namespace VERA_SET
}  // namespace vera

#endif  // VERA_OPS_VISION_TOKENS_INL_H_
