// The decoder on every instruction set of this machine against plain double precision, and each set
// against the others byte for byte.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "ops/decoder/decoder.h"

namespace vera {
namespace {

std::vector<float> Randoms(size_t count, float size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) {
    v = size * (static_cast<float>(random()) / 2147483648.0f - 1.0f);
  }
  return values;
}

float HalfToFloat(uint16_t half) {
  const int exponent = (half >> 10) & 31, fraction = half & 1023;
  const double size = exponent == 0 ? std::ldexp(fraction, -24)
                                    : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(half & 0x8000 ? -size : size);
}

// A packed matrix and the numbers that it stands for.
struct Packed {
  std::vector<uint8_t> weights;
  std::vector<uint16_t> halves;
  std::vector<float> floats;
  std::vector<double> values;
  vera_matrix matrix;

  Packed(int rows, int columns, int bits, int group, uint32_t seed) {
    const std::vector<float> source = Randoms(static_cast<size_t>(rows) * columns, 0.1f, seed);
    const int blocks = (rows + 15) / 16;
    values.resize(source.size());
    if (bits == 4) {
      Pack4(source, rows, columns, group, blocks);
    } else {
      Pack8(source, rows, columns, blocks);
    }
    const void* scales = bits == 4 ? static_cast<const void*>(halves.data()) : floats.data();
    matrix = {weights.data(), scales, rows, columns, bits, bits == 4 ? group : 0};
  }

  void Pack4(const std::vector<float>& source, int rows, int columns, int group, int blocks) {
    std::vector<int8_t> codes(source.size());
    const int groups = columns / group;
    std::vector<uint16_t> scales(static_cast<size_t>(rows) * groups);
    EXPECT_EQ(vera_quantize_groups(source.data(), rows, columns, group, nullptr, codes.data(),
                                   scales.data()),
              VERA_STATUS_OK);
    weights.assign(static_cast<size_t>(blocks) * columns * 8, 0);
    halves.assign(static_cast<size_t>(blocks) * groups * 16, 0);
    for (int r = 0; r < rows; ++r) {
      const size_t block = r / 16, lane = r % 16;
      for (int c = 0; c < columns; ++c) {
        const int code = codes[static_cast<size_t>(r) * columns + c];
        uint8_t& at = weights[block * columns * 8 + (c / 8) * 64 + lane * 4 + c % 4];
        at = static_cast<uint8_t>(at | (code + 8) << (c / 4 % 2 * 4));
        const uint16_t scale = scales[static_cast<size_t>(r) * groups + c / group];
        halves[(block * groups + c / group) * 16 + lane] = scale;
        values[static_cast<size_t>(r) * columns + c] = code * static_cast<double>(HalfToFloat(scale));
      }
    }
  }

  void Pack8(const std::vector<float>& source, int rows, int columns, int blocks) {
    weights.assign(static_cast<size_t>(blocks) * columns * 16, 128);
    floats.assign(static_cast<size_t>(blocks) * 16, 0.0f);
    for (int r = 0; r < rows; ++r) {
      const float scale = 0.1f / 127;
      const size_t block = r / 16, lane = r % 16;
      floats[block * 16 + lane] = scale;
      for (int c = 0; c < columns; ++c) {
        const int code = static_cast<int>(std::lround(source[static_cast<size_t>(r) * columns + c] / scale));
        weights[block * columns * 16 + (c / 4) * 64 + lane * 4 + c % 4] =
            static_cast<uint8_t>(code + 128);
        values[static_cast<size_t>(r) * columns + c] = code * static_cast<double>(scale);
      }
    }
  }
};

// Codes of 8 bits as the kernel makes them, as numbers.
std::vector<double> Rounded(const float* x, int count) {
  float most = 0;
  for (int i = 0; i < count; ++i) most = std::max(most, std::fabs(x[i]));
  const float inverse = most > 0 ? 127.0f / most : 0.0f, scale = most / 127.0f;
  std::vector<double> rounded(count);
  for (int i = 0; i < count; ++i) rounded[i] = std::nearbyint(x[i] * inverse) * double{scale};
  return rounded;
}

std::vector<const DecoderFunctions*> Sets() {
  int count = 0;
  const DecoderFunctions* const* all = AllDecoders(&count);
  return {all, all + count};
}

struct MatrixCase {
  int rows, columns, bits, group;
};

TEST(DecoderTest, MatrixIsRightAndTheSameOnEverySet) {
  Pool pool;
  pool.SetThreads(2);
  const MatrixCase cases[] = {{64, 128, 4, 32}, {33, 192, 4, 64}, {1, 32, 4, 32},
                              {160, 896, 8, 0}, {17, 64, 8, 0},   {16, 4864, 4, 128}};
  for (const MatrixCase& one : cases) {
    const Packed packed(one.rows, one.columns, one.bits, one.group, 7);
    for (const int tokens : {1, 3, 4, 9, 70}) {
      const auto x = Randoms(static_cast<size_t>(tokens) * one.columns, 2.0f, tokens);
      std::vector<float> first;
      for (const DecoderFunctions* set : Sets()) {
        std::vector<float> out(static_cast<size_t>(tokens) * one.rows);
        ASSERT_TRUE(set->matrix(pool, packed.matrix, x.data(), tokens, nullptr, 0, out.data()));
        for (int t = 0; t < tokens; ++t) {
          const auto codes = Rounded(&x[static_cast<size_t>(t) * one.columns], one.columns);
          for (int r = 0; r < one.rows; ++r) {
            double sum = 0;
            for (int c = 0; c < one.columns; ++c) {
              sum += codes[c] * packed.values[static_cast<size_t>(r) * one.columns + c];
            }
            ASSERT_NEAR(out[static_cast<size_t>(t) * one.rows + r], sum, 2e-5 * std::sqrt(one.columns))
                << set->name << " rows " << one.rows << " row " << r << " token " << t;
          }
        }
        if (first.empty()) first = out;
        ASSERT_EQ(std::memcmp(first.data(), out.data(), out.size() * sizeof(float)), 0) << set->name;
      }
    }
  }
}

TEST(DecoderTest, RowsAreTheNumbersOfTheTable) {
  for (const int bits : {4, 8}) {
    const Packed packed(50, 96, bits, 32, 3);
    const int64_t ids[] = {0, 49, 16, 15};
    for (const DecoderFunctions* set : Sets()) {
      std::vector<float> out(4 * 96);
      set->rows(packed.matrix, ids, 4, out.data());
      for (int i = 0; i < 4; ++i) {
        for (int c = 0; c < 96; ++c) {
          ASSERT_NEAR(out[i * 96 + c], packed.values[ids[i] * 96 + c], 1e-7) << set->name;
        }
      }
    }
  }
}

TEST(DecoderTest, BlocksLeaveOtherRowsAlone) {
  const Packed packed(64, 64, 4, 32, 5);
  const auto x = Randoms(64, 1.0f, 1);
  std::vector<float> all(64), some(64, -7.0f);
  const int32_t blocks[] = {3, 1};
  ASSERT_EQ(vera_matrix_run(&packed.matrix, x.data(), 1, nullptr, 0, all.data()), VERA_STATUS_OK);
  ASSERT_EQ(vera_matrix_run(&packed.matrix, x.data(), 1, blocks, 2, some.data()), VERA_STATUS_OK);
  for (int i = 0; i < 64; ++i) {
    const bool worked_out = i / 16 == 1 || i / 16 == 3;
    ASSERT_EQ(some[i], worked_out ? all[i] : -7.0f) << i;
  }
}

TEST(DecoderTest, FourBitScalesAreNoWorseThanTheLargestValueOverSeven) {
  const auto x = Randoms(32 * 64, 1.0f, 11);
  std::vector<int8_t> codes(x.size());
  std::vector<uint16_t> scales(64);
  ASSERT_EQ(vera_quantize_groups(x.data(), 64, 32, 32, nullptr, codes.data(), scales.data()),
            VERA_STATUS_OK);
  double searched = 0, plain = 0;
  for (int r = 0; r < 64; ++r) {
    float most = 0;
    for (int c = 0; c < 32; ++c) most = std::max(most, std::fabs(x[r * 32 + c]));
    for (int c = 0; c < 32; ++c) {
      const float v = x[r * 32 + c];
      ASSERT_GE(codes[r * 32 + c], -8);
      ASSERT_LE(codes[r * 32 + c], 7);
      searched += std::pow(v - codes[r * 32 + c] * double{HalfToFloat(scales[r])}, 2);
      plain += std::pow(v - std::nearbyint(v / (most / 7)) * double{most / 7}, 2);
    }
  }
  EXPECT_LT(searched, plain);
}

// One layer with its cache.
struct LayerFixture {
  static constexpr int kHidden = 64, kHeads = 6, kKv = 2, kSize = 32, kInner = 96, kLength = 160;
  Packed qkv{(kHeads + 2 * kKv) * kSize, kHidden, 4, 32, 1};
  Packed output{kHidden, kHeads * kSize, 4, 64, 2};
  Packed gate_up{2 * kInner, kHidden, 8, 0, 3};
  Packed down{kHidden, kInner, 4, 32, 4};
  std::vector<float> norm = Randoms(kHidden, 1.0f, 5), bias = Randoms(320, 0.3f, 6);
  std::vector<float> cosines, sines;
  std::vector<uint16_t> keys = std::vector<uint16_t>(kKv * kLength * kSize);
  std::vector<uint16_t> values = keys;
  vera_decoder_shape shape;
  vera_decoder_layer layer;

  LayerFixture() {
    for (int p = 0; p < kLength; ++p) {
      for (int i = 0; i < kSize; ++i) {
        // a point of the circle from products and quotients, which every machine rounds alike
        const double t = p * (i % (kSize / 2) + 1) / 512.0;
        cosines.push_back(static_cast<float>((1 - t * t) / (1 + t * t)));
        sines.push_back(static_cast<float>(2 * t / (1 + t * t)));
      }
    }
    shape = {kHidden, kHeads, kKv, kSize, kInner, kLength, 1e-6f, cosines.data(), sines.data()};
    layer = {norm.data(), qkv.matrix, bias.data(), output.matrix, norm.data(),
             gate_up.matrix, down.matrix, keys.data(), values.data()};
  }

  std::vector<double> Times(const Packed& m, const std::vector<double>& x) const {
    std::vector<float> narrow(x.begin(), x.end());
    const auto codes = Rounded(narrow.data(), static_cast<int>(narrow.size()));
    std::vector<double> out(m.matrix.rows);
    for (size_t r = 0; r < out.size(); ++r) {
      for (size_t c = 0; c < codes.size(); ++c) out[r] += codes[c] * m.values[r * codes.size() + c];
    }
    return out;
  }

  std::vector<double> Normed(const std::vector<double>& x) const {
    double squares = 0;
    for (const double v : x) squares += v * v;
    std::vector<double> out(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      out[i] = x[i] / std::sqrt(squares / static_cast<double>(x.size()) + 1e-6) * norm[i];
    }
    return out;
  }
};

// The first token attends to itself only: softmax of one score is 1.
TEST(DecoderTest, LayerOfOneTokenIsRight) {
  LayerFixture f;
  const auto x = Randoms(f.kHidden, 1.0f, 9);
  std::vector<float> got = x;
  ASSERT_EQ(vera_decoder_layer_run(&f.shape, &f.layer, got.data(), 1, 0), VERA_STATUS_OK);
  std::vector<double> now(x.begin(), x.end());
  std::vector<double> projected = f.Times(f.qkv, f.Normed(now));
  std::vector<double> mixed;
  for (int h = 0; h < f.kHeads; ++h) {
    for (int i = 0; i < f.kSize; ++i) {
      const int row = (f.kHeads + f.kKv + h / (f.kHeads / f.kKv)) * f.kSize + i;
      mixed.push_back(projected[row] + f.bias[row]);
    }
  }
  std::vector<double> add = f.Times(f.output, mixed);
  for (int i = 0; i < f.kHidden; ++i) now[i] += add[i];
  const std::vector<double> both = f.Times(f.gate_up, f.Normed(now));
  std::vector<double> gated(f.kInner);
  for (int i = 0; i < f.kInner; ++i) {
    gated[i] = both[i] / (1 + std::exp(-both[i])) * both[f.kInner + i];
  }
  add = f.Times(f.down, gated);
  // a value on the edge of two 8-bit codes may fall to either side, the cache is in half floats
  for (int i = 0; i < f.kHidden; ++i) EXPECT_NEAR(got[i], now[i] + add[i], 2e-3) << i;
}

TEST(DecoderTest, LayerDoesNotDependOnChunksThreadsOrSet) {
  constexpr int kTokens = 150;
  const auto x = Randoms(kTokens * LayerFixture::kHidden, 1.0f, 21);
  const std::vector<std::vector<int>> plans = {{150}, {7, 64, 16, 63}, {149, 1}, {64, 86}};
  std::vector<float> first;
  for (const int threads : {1, 2, 5}) {
    Pool pool;
    pool.SetThreads(threads);
    for (const DecoderFunctions* set : Sets()) {
      for (const std::vector<int>& plan : plans) {
        LayerFixture f;
        std::vector<float> y = x;
        int position = 0;
        for (const int tokens : plan) {
          float* at = y.data() + position * f.kHidden;
          ASSERT_TRUE(set->layer(pool, f.shape, f.layer, at, tokens, position));
          position += tokens;
        }
        if (first.empty()) first = y;
        ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * sizeof(float)), 0)
            << set->name << " with " << threads << " threads";
      }
    }
  }
}

// One number for all machines.
TEST(DecoderTest, SameBytesOnEveryMachine) {
  LayerFixture f;
  std::vector<float> x = Randoms(static_cast<size_t>(f.kHidden) * 40, 1.0f, 33);
  ASSERT_EQ(vera_decoder_layer_run(&f.shape, &f.layer, x.data(), 40, 0), VERA_STATUS_OK);
  uint64_t hash = 14695981039346656037ull;
  for (const float value : x) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    hash = (hash ^ bits) * 1099511628211ull;
  }
  EXPECT_EQ(hash, 11219442238536373567ull);
}

TEST(DecoderTest, WhatLiesPastThePositionIsNotSeen) {
  LayerFixture clean, dirty;
  for (size_t i = 0; i < dirty.keys.size(); ++i) dirty.keys[i] = dirty.values[i] = 0x7bff;
  const auto x = Randoms(clean.kHidden * 20, 1.0f, 2);
  std::vector<float> a = x, b = x;
  ASSERT_EQ(vera_decoder_layer_run(&clean.shape, &clean.layer, a.data(), 20, 0), VERA_STATUS_OK);
  ASSERT_EQ(vera_decoder_layer_run(&dirty.shape, &dirty.layer, b.data(), 20, 0), VERA_STATUS_OK);
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
}

TEST(DecoderTest, CallersAtOnceAreServedOneByOne) {
  const auto x = Randoms(LayerFixture::kHidden * 8, 1.0f, 2);
  std::vector<std::vector<float>> results(4, x);
  std::vector<LayerFixture> fixtures(4);
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&, i] {
      vera_decoder_layer_run(&fixtures[i].shape, &fixtures[i].layer, results[i].data(), 8, 0);
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (int i = 1; i < 4; ++i) EXPECT_EQ(results[i], results[0]);
}

TEST(DecoderTest, BadArgumentsAreRefused) {
  LayerFixture f;
  std::vector<float> x(f.kHidden * 4, 0.5f);
  const auto run = [&](int tokens, int start) {
    return vera_decoder_layer_run(&f.shape, &f.layer, x.data(), tokens, start);
  };
  EXPECT_EQ(run(0, 0), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(run(4, f.kLength - 3), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(run(4, -1), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(run(4, 2147483647), VERA_STATUS_INVALID_ARGUMENT);
  x[3] = std::nanf("");
  EXPECT_EQ(run(4, 0), VERA_STATUS_INVALID_ARGUMENT);
  x[3] = 0;
  f.layer.down.columns = 64;
  EXPECT_EQ(run(4, 0), VERA_STATUS_INVALID_ARGUMENT);
  f.layer.down.columns = f.kInner;
  f.layer.qkv.group = 48;
  EXPECT_EQ(run(4, 0), VERA_STATUS_INVALID_ARGUMENT);
  f.layer.qkv.group = 32;
  EXPECT_EQ(run(4, 0), VERA_STATUS_OK);
  const int32_t blocks[] = {4};
  std::vector<float> out(64);
  EXPECT_EQ(vera_matrix_run(&f.output.matrix, x.data(), 1, blocks, 1, out.data()),
            VERA_STATUS_INVALID_ARGUMENT);
  const int64_t id = 64;
  EXPECT_EQ(vera_matrix_rows(&f.output.matrix, &id, 1, out.data()), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(vera_set_decoder_threads(-1), VERA_STATUS_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace vera
