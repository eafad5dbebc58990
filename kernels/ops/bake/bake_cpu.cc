// The bake operator in Highway SIMD: all layers of one tile of colours, which stays in the cache.
//
// A panel is three vectors of colours. Features of a panel lie one after the other, so the products
// need no shuffles: a weight meets three vectors of one input feature, and 8 features x 3 vectors
// of sums stay in registers.
#include <algorithm>
#include <cstring>
#include <vector>

// The instruction that adds four byte products; Highway leaves it out unless asked.
#define HWY_WANT_AVX3_DL
// Registers of unknown size cannot be kept in arrays. Machines with SVE have NEON too.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#include "ops/bake/bake.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/bake/bake_cpu.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "ops/bake/dot-inl.h"

// The trip counts are constants: the arrays of sums below become registers.
#define VERA_UNROLL _Pragma("GCC unroll 8")

HWY_BEFORE_NAMESPACE();
#if VERA_NAME_VNNI
#pragma GCC target("avx512vnni")
#endif
namespace vera {
namespace HWY_NAMESPACE {

constexpr size_t kPanel = kVectors * kLanes;
constexpr size_t kPanels = kTilePoints / kPanel;
constexpr size_t kFloatRows = HWY_ARCH_ARM_A64 || HWY_TARGET <= HWY_AVX3 ? 8 : 4;
constexpr float kTinyRange = 1e-30f;

// Per colour: of the features of one layer, before LayerNorm.
struct Statistics {
  alignas(64) float sum[kTilePoints];
  alignas(64) float low[kTilePoints];
  alignas(64) float high[kTilePoints];
};

// Per colour: (feature - mean) / deviation = code * step + base.
struct Codes {
  alignas(64) float step[kTilePoints];
  alignas(64) float base[kTilePoints];
};

void ResetStatistics(Statistics& statistics) {
  std::memset(&statistics, 0, sizeof(statistics));
  std::fill(statistics.low, statistics.low + kTilePoints, 3e38f);
}

// relu of one feature of a panel, stored and counted. `low` and `high` are used by int8 alone.
template <bool kInt8>
HWY_INLINE void StoreFeature(const V* sums, float* out, size_t first, Statistics& statistics) {
  const D d;
  VERA_UNROLL
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t at = first + v * kLanes;
    const V value = hn::Max(sums[v], hn::Zero(d));
    hn::Store(value, d, out + v * kLanes);
    hn::Store(hn::Add(hn::Load(d, statistics.sum + at), value), d, statistics.sum + at);
    if (kInt8) {
      hn::Store(hn::Min(hn::Load(d, statistics.low + at), value), d, statistics.low + at);
      hn::Store(hn::Max(hn::Load(d, statistics.high + at), value), d, statistics.high + at);
    }
  }
}

template <bool kInt8>
void FirstLayer(const PackedLayer& layer, const float* bias, const Tile& tile, size_t panel,
                float* out, Statistics& statistics) {
  const D d;
  const size_t first = panel * kPanel, padded = layer.padded_width;
  const float* weights = layer.weights.get();
  V in[3][kVectors], sums[kVectors];
  for (size_t c = 0; c < 3; ++c) {
    for (size_t v = 0; v < kVectors; ++v) {
      const V value = hn::Load(d, tile.rgb[c] + first + v * kLanes);
      in[c][v] = hn::Sub(hn::Add(value, value), hn::Set(d, 1.0f));
    }
  }
  for (size_t i = 0; i < padded; ++i, out += kPanel) {
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      sums[v] = hn::Add(hn::Set(d, bias[i]), hn::Mul(hn::Set(d, weights[i]), in[0][v]));
      sums[v] = hn::Add(sums[v], hn::Mul(hn::Set(d, weights[padded + i]), in[1][v]));
      sums[v] = hn::Add(sums[v], hn::Mul(hn::Set(d, weights[2 * padded + i]), in[2][v]));
    }
    StoreFeature<kInt8>(sums, out, first, statistics);
  }
}

HWY_INLINE V Mean(const PackedLayer& layer, const Statistics& statistics, size_t at) {
  const D d;
  return hn::Div(hn::Load(d, statistics.sum + at), hn::Set(d, static_cast<float>(layer.width)));
}

// 1 / deviation, from the sum of squared differences from the mean.
HWY_INLINE V InverseDeviation(V squares, size_t width, float epsilon) {
  const D d;
  const V variance = hn::Div(squares, hn::Set(d, static_cast<float>(width)));
  return hn::Div(hn::Set(d, 1.0f), hn::Sqrt(hn::Add(variance, hn::Set(d, epsilon))));
}

// LayerNorm without weight and bias, in place.
void Normalize(const PackedLayer& layer, float epsilon, const Statistics& statistics, size_t panel,
               float* features) {
  const D d;
  V mean[kVectors], squares[kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    mean[v] = Mean(layer, statistics, panel * kPanel + v * kLanes);
    squares[v] = hn::Zero(d);
  }
  for (size_t i = 0; i < layer.width; ++i) {
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      const V delta = hn::Sub(hn::Load(d, features + i * kPanel + v * kLanes), mean[v]);
      squares[v] = hn::Add(squares[v], hn::Mul(delta, delta));
    }
  }
  for (size_t v = 0; v < kVectors; ++v) {
    squares[v] = InverseDeviation(squares[v], layer.width, epsilon);
  }
  for (size_t i = 0; i < layer.width; ++i) {
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      float* at = features + i * kPanel + v * kLanes;
      hn::Store(hn::Mul(hn::Sub(hn::Load(d, at), mean[v]), squares[v]), d, at);
    }
  }
}

// Features of a panel to codes 0..255 between the colour's lowest and highest, four in a word.
void Quantize(const PackedLayer& layer, float epsilon, const Statistics& statistics, size_t panel,
              const float* features, uint32_t* words, Codes& codes) {
  const D d;
  const DI di;
  const V half = hn::Set(d, 0.5f);
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t at = panel * kPanel + v * kLanes;
    const V mean = Mean(layer, statistics, at), low = hn::Load(d, statistics.low + at);
    const V range = hn::Sub(hn::Load(d, statistics.high + at), low);
    const V factor = hn::IfThenElseZero(hn::Gt(range, hn::Set(d, kTinyRange)),
                                        hn::Div(hn::Set(d, kRangeMax), range));
    V squares = hn::Zero(d);
    const float* in = features + v * kLanes;
    uint32_t* out = words + v * kLanes;
    const auto code_of = [&](V value) HWY_ATTR {
      const V delta = hn::Sub(value, mean);
      squares = hn::Add(squares, hn::Mul(delta, delta));
      return hn::ConvertTo(di, hn::Add(hn::Mul(hn::Sub(value, low), factor), half));
    };
    size_t i = 0;
    for (; i + 4 <= layer.width; i += 4, in += 4 * kPanel, out += kPanel) {
      VI word = code_of(hn::Load(d, in));
      word = hn::Or(word, hn::ShiftLeft<8>(code_of(hn::Load(d, in + kPanel))));
      word = hn::Or(word, hn::ShiftLeft<16>(code_of(hn::Load(d, in + 2 * kPanel))));
      word = hn::Or(word, hn::ShiftLeft<24>(code_of(hn::Load(d, in + 3 * kPanel))));
      hn::Store(hn::Xor(word, hn::BitCast(di, hn::Set(DU(), Dot::kFlip))), di,
                reinterpret_cast<int32_t*>(out));
    }
    if (i < layer.width) {
      VI word = hn::Zero(di);
      for (int shift = 0; i < layer.width; ++i, shift += 8, in += kPanel) {
        word = hn::Or(word, hn::ShiftLeftSame(code_of(hn::Load(d, in)), shift));
      }
      hn::Store(hn::Xor(word, hn::BitCast(di, hn::Set(DU(), Dot::kFlip))), di,
                reinterpret_cast<int32_t*>(out));
    }
    const V inverse = InverseDeviation(squares, layer.width, epsilon);
    hn::Store(hn::Mul(inverse, hn::Div(range, hn::Set(d, kRangeMax))), d, codes.step + at);
    hn::Store(hn::Mul(inverse, hn::Sub(low, mean)), d, codes.base + at);
  }
}

// What LayerNorm needs of one panel of the features before, and which of them are not all 0.
struct Normal {
  alignas(64) float mean[kPanel];
  alignas(64) float inverse[kPanel];
  const uint32_t* live;
  size_t count;
};

void Measure(const PackedLayer& layer, float epsilon, const Statistics& statistics, size_t panel,
             const float* features, uint32_t* live, Normal& normal) {
  const D d;
  V mean[kVectors], squares[kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    mean[v] = Mean(layer, statistics, panel * kPanel + v * kLanes);
    squares[v] = hn::Zero(d);
  }
  size_t count = 0;
  for (size_t i = 0; i < layer.width; ++i, features += kPanel) {
    V largest = hn::Zero(d);
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      const V value = hn::Load(d, features + v * kLanes);
      const V delta = hn::Sub(value, mean[v]);
      squares[v] = hn::Add(squares[v], hn::Mul(delta, delta));
      largest = hn::Max(largest, value);
    }
    live[count] = static_cast<uint32_t>(i);
    count += hn::AllFalse(d, hn::Gt(largest, hn::Zero(d))) ? 0 : 1;
  }
  for (size_t v = 0; v < kVectors; ++v) {
    const V inverse = InverseDeviation(squares[v], layer.width, epsilon);
    hn::Store(mean[v], d, normal.mean + v * kLanes);
    hn::Store(inverse, d, normal.inverse + v * kLanes);
  }
  normal.live = live;
  normal.count = count;
}

// kFloatRows features, beginning at `feature`, of a panel.
HWY_INLINE void MultiplyFloat(const PackedLayer& layer, const float* bias, const float* in,
                              const Normal& normal, size_t feature, float* out, size_t first,
                              Statistics& statistics) {
  const D d;
  const float* weights =
      &layer.weights[feature / kRowBlock * layer.inputs * kRowBlock + feature % kRowBlock];
  V sums[kFloatRows][kVectors];
  VERA_UNROLL
  for (size_t r = 0; r < kFloatRows; ++r) {
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  for (size_t i = 0; i < normal.count; ++i) {
    const size_t k = normal.live[i];
    V x[kVectors];
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) x[v] = hn::Load(d, in + k * kPanel + v * kLanes);
    VERA_UNROLL
    for (size_t r = 0; r < kFloatRows; ++r) {
      const V weight = hn::Set(d, weights[k * kRowBlock + r]);
      VERA_UNROLL
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(weight, x[v], sums[r][v]);
    }
  }
  VERA_UNROLL
  for (size_t r = 0; r < kFloatRows; ++r) {
    const V all = hn::Set(d, layer.weight_sums[feature + r]);
    const V offset = hn::Set(d, bias[feature + r]);
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      const V mean = hn::Load(d, normal.mean + v * kLanes);
      const V inverse = hn::Load(d, normal.inverse + v * kLanes);
      const V centred = hn::Sub(sums[r][v], hn::Mul(mean, all));
      sums[r][v] = hn::Add(hn::Mul(centred, inverse), offset);
    }
    StoreFeature<false>(sums[r], out + (feature + r) * kPanel, first, statistics);
  }
}

// Adds products with the codes of four inputs; the first time to nothing. (A loop that sets the
// sums to zero would become a memset, and they would stay in memory.)
template <bool kFirst>
HWY_INLINE void AddFourInputs(const uint32_t* words, const uint32_t* weights,
                              Dot::Sum (&sums)[Dot::kRows][kVectors]) {
  Dot::Codes x[kVectors];
  VERA_UNROLL
  for (size_t v = 0; v < kVectors; ++v) x[v] = Dot::LoadCodes(words + v * kLanes);
  VERA_UNROLL
  for (size_t r = 0; r < Dot::kRows; ++r) {
    const Dot::Weights weight = Dot::LoadWeights(weights + r);
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      sums[r][v] = Dot::Add(x[v], weight, kFirst ? Dot::Start() : sums[r][v]);
    }
  }
}

// Sums of products of codes: Dot::kRows features, beginning at `feature`, of a panel.
HWY_INLINE void MultiplyCodes(const PackedLayer& layer, const uint32_t* words, size_t feature,
                              float* totals) {
  const size_t count = (layer.inputs + 3) / 4;
  const uint32_t* weights =
      &layer.codes[feature / kRowBlock * count * kRowBlock + feature % kRowBlock];
  Dot::Sum sums[Dot::kRows][kVectors];
  AddFourInputs<true>(words, weights, sums);
  for (size_t k = 1; k < count; ++k) {
    AddFourInputs<false>(words + k * kPanel, weights + k * kRowBlock, sums);
  }
  VERA_UNROLL
  for (size_t r = 0; r < Dot::kRows; ++r) {
    const VI lacking = hn::Set(DI(), Dot::kOffset * layer.code_sums[feature + r]);
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      const VI total = hn::Add(Dot::Total(sums[r][v]), lacking);
      hn::Store(hn::ConvertTo(D(), total), D(), totals + r * kPanel + v * kLanes);
    }
  }
}

// Dot::kRows features, beginning at `feature`, of a panel.
HWY_INLINE void MultiplyInt8(const PackedLayer& layer, const float* bias, const uint32_t* words,
                             const float* slopes, const Codes& codes, const Tile& tile,
                             size_t feature, float* out, size_t first, Statistics& statistics) {
  const D d;
  alignas(64) float totals[Dot::kRows * kPanel];
  MultiplyCodes(layer, words, feature, totals);
  // One vector of colours after the other: what belongs to a colour stays in registers.
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t at = first + v * kLanes;
    const V step = hn::Load(d, codes.step + at), base = hn::Load(d, codes.base + at);
    const V red = hn::Load(d, tile.rgb[0] + at), green = hn::Load(d, tile.rgb[1] + at);
    const V blue = hn::Load(d, tile.rgb[2] + at);
    V sum = hn::Load(d, statistics.sum + at), low = hn::Load(d, statistics.low + at);
    V high = hn::Load(d, statistics.high + at);
    VERA_UNROLL
    for (size_t r = 0; r < Dot::kRows; ++r) {
      const size_t i = feature + r;
      const float* slope = slopes + i;
      const float scale = layer.scales[i];
      const V all = hn::Set(d, scale * static_cast<float>(layer.code_sums[i]));
      const V total = hn::Load(d, totals + r * kPanel + v * kLanes);
      V value = hn::Add(hn::Mul(total, hn::Mul(step, hn::Set(d, scale))),
                        hn::Add(hn::Mul(base, all), hn::Set(d, bias[i])));
      value = hn::Add(value, hn::Mul(hn::Set(d, slope[0]), red));
      value = hn::Add(value, hn::Mul(hn::Set(d, slope[layer.padded_width]), green));
      value = hn::Add(value, hn::Mul(hn::Set(d, slope[2 * layer.padded_width]), blue));
      value = hn::Max(value, hn::Zero(d));
      hn::Store(value, d, out + i * kPanel + v * kLanes);
      sum = hn::Add(sum, value);
      low = hn::Min(low, value);
      high = hn::Max(high, value);
    }
    hn::Store(sum, d, statistics.sum + at);
    hn::Store(low, d, statistics.low + at);
    hn::Store(high, d, statistics.high + at);
  }
}

// e^x for x in [-87, 87], within 3e-7 of it: 2^n times the series of the rest, |rest| <= ln(2) / 2.
HWY_INLINE V Exp(V x) {
  const D d;
  const DI di;
  const V turns = hn::Mul(x, hn::Set(d, 1.44269504f));
  const VI n = hn::ConvertTo(di, hn::Add(turns, hn::CopySign(hn::Set(d, 0.5f), turns)));
  const V whole = hn::ConvertTo(d, n);
  V rest = hn::Sub(x, hn::Mul(whole, hn::Set(d, 0.693359375f)));  // ln(2) in two parts
  rest = hn::Add(rest, hn::Mul(whole, hn::Set(d, 2.12194440e-4f)));
  V sum = hn::Set(d, 1.0f / 5040.0f);
  for (const float factor : {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f,
                             1.0f}) {
    sum = hn::Add(hn::Mul(sum, rest), hn::Set(d, factor));
  }
  return hn::Mul(sum, hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127)))));
}

HWY_INLINE V Activate(bool residual, V in, V value) {
  const D d;
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f), most = hn::Set(d, 87.0f);
  if (residual) return hn::Min(hn::Max(hn::Add(in, value), zero), one);
  const V bounded = hn::Min(hn::Max(value, hn::Neg(most)), most);
  return hn::Div(one, hn::Add(one, Exp(hn::Neg(bounded))));
}

// LayerNorm of the last layer and the three sums over it, in one pass.
void Output(const PackedRenderer& renderer, const Biases& biases, const Statistics& statistics,
            size_t panel, const float* features, Tile& tile) {
  const D d;
  const PackedLayer& layer = renderer.layers.back();
  const size_t first = panel * kPanel;
  V mean[kVectors], squares[kVectors], sums[3][kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    mean[v] = Mean(layer, statistics, first + v * kLanes);
    squares[v] = sums[0][v] = sums[1][v] = sums[2][v] = hn::Zero(d);
  }
  const float* weights = renderer.out_weights.get();
  for (size_t i = 0; i < layer.width; ++i, features += kPanel, weights += 4) {
    VERA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      const V delta = hn::Sub(hn::Load(d, features + v * kLanes), mean[v]);
      squares[v] = hn::Add(squares[v], hn::Mul(delta, delta));
      sums[0][v] = hn::Add(sums[0][v], hn::Mul(hn::Set(d, weights[0]), delta));
      sums[1][v] = hn::Add(sums[1][v], hn::Mul(hn::Set(d, weights[1]), delta));
      sums[2][v] = hn::Add(sums[2][v], hn::Mul(hn::Set(d, weights[2]), delta));
    }
  }
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t at = first + v * kLanes;
    const V inverse = InverseDeviation(squares[v], layer.width, renderer.norm_epsilon);
    V rgb[3];
    for (size_t c = 0; c < 3; ++c) {
      const V value = hn::Add(hn::Mul(sums[c][v], inverse), hn::Set(d, biases.out[c]));
      rgb[c] = Activate(renderer.residual, hn::Load(d, tile.rgb[c] + at), value);
    }
    hn::StoreInterleaved3(rgb[0], rgb[1], rgb[2], d, tile.out + 3 * at);
  }
}

void AddProductSimd(const float* matrix, const float* x, size_t size, size_t columns,
                    float* sums) {
  const D d;
  for (size_t k = 0; k < size; ++k, matrix += columns) {
    if (x[k] == 0.0f) continue;  // half of the latents, after their ReLU
    const V factor = hn::Set(d, x[k]);
    for (size_t i = 0; i < columns; i += kLanes) {
      const V product = hn::Mul(factor, hn::Load(d, matrix + i));
      hn::Store(hn::Add(hn::Load(d, sums + i), product), d, sums + i);
    }
  }
}

// Sets tile.rgb to 4 x 4 x 3 even steps: the three channels are then uncorrelated.
void FillSamples(Tile& tile) {
  for (size_t i = 0; i < kTilePoints; ++i) {
    tile.rgb[0][i] = static_cast<float>(i % 4) / 3.0f;
    tile.rgb[1][i] = static_cast<float>(i / 4 % 4) / 3.0f;
    tile.rgb[2][i] = static_cast<float>(i / 16) / 2.0f;
  }
}

// Fits normalized inputs of a layer (`stride` a panel) on the sample colours; adds the correction.
void CorrectLayer(const PackedLayer& layer, size_t stride, const Tile& tile, const float* features,
                  float* bias, float* slopes) {
  const size_t padded = layer.padded_width;
  float squares[3] = {}, centred[3][kTilePoints];
  for (size_t c = 0; c < 3; ++c) {
    for (size_t i = 0; i < kTilePoints; ++i) {
      centred[c][i] = tile.rgb[c][i] - 0.5f;
      squares[c] += centred[c][i] * centred[c][i];
    }
  }
  std::vector<float> mean(layer.inputs), slope[3];
  for (std::vector<float>& one : slope) one.resize(layer.inputs);
  for (size_t k = 0; k < layer.inputs; ++k) {
    float sums[4] = {};
    for (size_t i = 0; i < kTilePoints; ++i) {
      const size_t panel = i / kPanel;
      const float x = features[(panel * stride + k) * kPanel + i % kPanel];
      sums[3] += x;
      for (size_t c = 0; c < 3; ++c) sums[c] += centred[c][i] * x;
    }
    mean[k] = sums[3] / static_cast<float>(kTilePoints);
    for (size_t c = 0; c < 3; ++c) {
      slope[c][k] = sums[c] / squares[c];
      mean[k] -= 0.5f * slope[c][k];  // slopes meet rgb, not rgb - 1/2
    }
  }
  AddProductSimd(layer.errors.get(), mean.data(), layer.inputs, padded, bias);
  for (size_t c = 0; c < 3; ++c) {
    AddProductSimd(layer.errors.get(), slope[c].data(), layer.inputs, padded, slopes + c * padded);
  }
}

// correct: null, or &biases, to be corrected on the way; the tile then holds the sample colours.
template <bool kInt8>
void EvaluateLayers(const PackedRenderer& renderer, const Biases& biases, TileMemory& memory,
                    Tile& tile, Biases* correct) {
  float* features = memory.features[0].get();
  float* other = memory.features[1].get();
  Statistics statistics;
  Codes codes;
  ResetStatistics(statistics);
  const PackedLayer* layer = renderer.layers.data();
  for (size_t p = 0; p < kPanels; ++p) {
    FirstLayer<kInt8>(*layer, biases.layers[0].get(), tile, p,
                      features + p * kPanel * layer->padded_width, statistics);
  }
  for (size_t l = 1; l < renderer.layers.size(); ++l) {
    const PackedLayer& before = *layer++;
    const float* bias = biases.layers[l].get();
    const size_t stride = kPanel * before.padded_width;
    uint32_t* words = reinterpret_cast<uint32_t*>(other);
    Normal normals[kPanels];
    for (size_t p = 0; p < kPanels; ++p) {
      if (!kInt8) {
        Measure(before, renderer.norm_epsilon, statistics, p, features + p * stride,
                memory.live.data() + p * before.padded_width, normals[p]);
      } else {
        Quantize(before, renderer.norm_epsilon, statistics, p, features + p * stride,
                 words + p * stride, codes);
      }
      if (correct != nullptr) {
        Normalize(before, renderer.norm_epsilon, statistics, p, features + p * stride);
      }
    }
    if (correct != nullptr) {
      CorrectLayer(*layer, before.padded_width, tile, features, correct->layers[l].get(),
                   correct->slopes[l].get());
    }
    ResetStatistics(statistics);
    float* out = kInt8 ? features : other;
    constexpr size_t kRows = kInt8 ? Dot::kRows : kFloatRows;
    for (size_t i = 0; i < layer->padded_width; i += kRows) {
      for (size_t p = 0; p < kPanels; ++p) {
        float* to = out + p * kPanel * layer->padded_width;
        if (kInt8) {
          MultiplyInt8(*layer, bias, words + p * stride, biases.slopes[l].get(), codes, tile, i, to,
                       p * kPanel, statistics);
        } else {
          MultiplyFloat(*layer, bias, features + p * stride, normals[p], i, to, p * kPanel,
                        statistics);
        }
      }
    }
    if (!kInt8) std::swap(features, other);
  }
  for (size_t p = 0; p < kPanels; ++p) {
    Output(renderer, biases, statistics, p, features + p * kPanel * layer->padded_width, tile);
  }
}

void EvaluateTileSimd(const PackedRenderer& renderer, const Biases& biases, TileMemory& memory,
                      Tile& tile) {
  renderer.int8 ? EvaluateLayers<true>(renderer, biases, memory, tile, nullptr)
                : EvaluateLayers<false>(renderer, biases, memory, tile, nullptr);
}

void CorrectErrorsSimd(const PackedRenderer& renderer, TileMemory& memory, Biases* biases) {
  Tile samples;
  FillSamples(samples);
  EvaluateLayers<true>(renderer, *biases, memory, samples, biases);
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vera {

HWY_EXPORT(EvaluateTileSimd);
HWY_EXPORT(CorrectErrorsSimd);
HWY_EXPORT(AddProductSimd);

void EvaluateTile(const PackedRenderer& renderer, const Biases& biases, TileMemory& memory,
                  Tile& tile) {
  HWY_DYNAMIC_DISPATCH(EvaluateTileSimd)(renderer, biases, memory, tile);
}

void CorrectErrors(const PackedRenderer& renderer, TileMemory& memory, Biases* biases) {
  HWY_DYNAMIC_DISPATCH(CorrectErrorsSimd)(renderer, memory, biases);
}

void AddProduct(const float* matrix, const float* x, size_t size, size_t columns, float* sums) {
  HWY_DYNAMIC_DISPATCH(AddProductSimd)(matrix, x, size, columns, sums);
}

}  // namespace vera
#endif  // HWY_ONCE
