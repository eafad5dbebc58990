// The vision tower's layers on every instruction set of this machine against plain double precision,
// and each set against the others byte for byte.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "ops/vision/vision.h"
#include "ops/vision/vision_ref.h"

namespace vera {
namespace {

std::vector<float> Randoms(size_t count, float size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = size * (static_cast<float>(random()) / 2147483648.0f - 1.0f);
  return values;
}

// Half floats of sizes from 2^-5 to 2 (bits only, so that every machine has the same ones).
std::vector<uint16_t> Halves(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> values(count);
  for (uint16_t& v : values) {
    const uint32_t bits = random();
    v = static_cast<uint16_t>((bits & 0x8000u) | (0x2800u + bits % 0x1800u));
  }
  return values;
}

struct Product {
  std::vector<uint8_t> weights;
  std::vector<float> inverses, multipliers, biases;
  vera_vision_product c;

  Product(int rows, int columns, int bits, uint32_t seed)
      : inverses(Randoms(columns, 0.5f, seed)),
        multipliers(Randoms(rows, 0.02f / std::sqrt(static_cast<float>(columns)), seed + 1)),
        biases(Randoms(rows, 0.5f, seed + 2)) {
    const int bytes = bits == 8 ? 512 : bits == 6 ? 400 : 272, groups = (columns + 31) / 32;
    weights.resize(static_cast<size_t>(rows / 16) * groups * bytes);
    std::mt19937 random(seed + 3);
    for (uint8_t& w : weights) w = static_cast<uint8_t>(random() >> 24);
    for (float& v : inverses) v += 1.0f;
    c = {{weights.data(), rows, columns, bits}, inverses.data(), 0, multipliers.data(),
         biases.data()};
    for (int row = 0; columns % 32 != 0 && row < rows; ++row) ClearPadding(row, groups, bytes);
  }

  // Columns past the last are zeros, which fewer than 8 bits mean by a multiplier of 0.
  void ClearPadding(int row, int groups, int bytes) {
    uint8_t* group = &weights[(static_cast<size_t>(row / 16) * groups + groups - 1) * bytes];
    if (bytes != 512) {
      group[bytes - 16 + row % 16] = 0;
      return;
    }
    for (int column = c.matrix.columns % 32; column < 32; ++column) {
      group[column / 4 * 64 + row % 16 * 4 + column % 4] = 0;
    }
  }
};

struct Depthwise {
  std::vector<float> weights, biases;
  vera_vision_depthwise c;

  Depthwise(int channels, int kernel, int stride, int parts, uint32_t seed)
      : weights(Randoms(static_cast<size_t>(parts) * kernel * kernel * channels, 1.0f / kernel, seed)),
        biases(Randoms(static_cast<size_t>(parts) * channels, 0.3f, seed + 1)) {
    c = {weights.data(), biases.data(), kernel, stride, parts};
  }
};

// One of each layer for an image of `channels` channels.
struct Layers {
  int channels, bits;
  Depthwise mixer{channels, 3, 1, 1, 1}, position{channels, 7, 1, 1, 3};
  Depthwise spatial{channels, 7, 2, 2, 5}, stem_depthwise{channels, 3, 2, 1, 7};
  Depthwise feature{channels, 3, 1, 2, 9};
  Product pointwise{32, 2 * channels, bits, 11}, stem_pointwise{channels, channels, bits, 21};
  Product expand{3 * channels, channels, bits, 31}, reduce{channels, 3 * channels, bits, 41};
  Product qkv{3 * channels, channels, bits, 51}, mix{channels, channels, bits, 61};
  Product squeeze{16, 2 * channels, bits, 71}, excite{2 * channels, 16, bits, 81};
  Product up{64, 2 * channels, bits, 91}, last{48, 64, bits, 101};
  std::vector<float> stem_weights = Randoms(27 * channels, 0.5f, 111);
  std::vector<float> vector = Randoms(channels, 0.4f, 113), norm = Randoms(channels, 2.0f, 115);
  std::vector<float> inverses = Randoms(channels, 2000.0f, 117);
  std::vector<float> tap_multipliers = Randoms(channels, 1e-7f, 119);
  std::vector<int16_t> taps;
  vera_vision_stem stem;
  vera_vision_down down;
  vera_vision_block block, plain_block;
  vera_vision_attention attention;
  vera_vision_tokens tokens;

  Layers(int new_channels, int new_bits) : channels(new_channels), bits(new_bits) {
    std::mt19937 random(121);
    taps.resize(static_cast<size_t>(channels) / 16 * 28 * 32);
    for (size_t i = 0; i < taps.size(); ++i) {
      const bool eighth = i / 32 % 4 == 3 && i % 2 == 1;
      taps[i] = eighth ? int16_t{0} : static_cast<int16_t>(static_cast<int>(random() % 2601) - 1300);
    }
    for (float& v : inverses) v += 6000.0f;
    for (float& v : reduce.inverses) v *= 60.0f;
    reduce.c.zero = 12;
    stem = {channels, stem_weights.data(), vector.data(), stem_depthwise.c, stem_pointwise.c};
    down = {spatial.c, pointwise.c};
    block = {mixer.c, inverses.data(), taps.data(), tap_multipliers.data(), vector.data(),
             expand.c, reduce.c};
    plain_block = block;
    plain_block.mixer.weights = nullptr;
    attention = {norm.data(), vector.data(), 1e-5f, 16, qkv.c, mix.c};
    tokens = {feature.c, squeeze.c, excite.c, up.c, last.c};
  }
};

std::vector<const VisionFunctions*> Sets() {
  int count = 0;
  const VisionFunctions* const* all = AllVisions(&count);
  return {all, all + count};
}

// Root mean square of the difference, in that of the right values.
double Error(const vision_ref::Image& right, const std::vector<double>& got) {
  double wrong = 0, size = 0;
  EXPECT_EQ(right.values.size(), got.size());
  for (size_t i = 0; i < got.size(); ++i) {
    wrong += std::pow(right.values[i] - got[i], 2);
    size += std::pow(right.values[i], 2);
  }
  EXPECT_GT(size, 0);
  return std::sqrt(wrong / size);
}

std::vector<double> Doubles(const std::vector<uint16_t>& halves) {
  std::vector<double> out;
  for (const uint16_t half : halves) out.push_back(vision_ref::FromHalf(half));
  return out;
}

// Half floats are exact to 2^-12 of a value: 1.4e-4 in root mean square. Met: 1.8e-4 to 9e-4, the
// more the more values on the edge of two codes fell to the other side than in double precision.
constexpr double kTolerance = 1e-3;

struct Case {
  int channels, height, width, bits;
};
const Case kCases[] = {{16, 7, 5, 8},  {48, 9, 18, 6}, {32, 1, 1, 4},
                       {80, 3, 33, 8}, {16, 2, 70, 4}, {64, 16, 12, 6}};

TEST(VisionTest, DepthwiseIsRight) {
  for (const Case& one : kCases) {
    const Layers layers(one.channels, one.bits);
    const ImageShape shape = {one.height, one.width, one.channels};
    const auto x = Halves(static_cast<size_t>(one.height) * one.width * one.channels, 5);
    const auto image = vision_ref::FromHalves(x, one.height, one.width, one.channels);
    for (const VisionFunctions* set : Sets()) {
      Pool pool;
      for (const Depthwise* d : {&layers.mixer, &layers.position}) {
        std::vector<uint16_t> out(x.size());
        ASSERT_TRUE(set->depthwise(pool, d->c, x.data(), shape, out.data()));
        EXPECT_LT(Error(vision_ref::Depthwise(d->c, image), Doubles(out)), 3e-4) << set->name;
      }
    }
  }
}

TEST(VisionTest, BlockIsRight) {
  for (const Case& one : kCases) {
    const Layers layers(one.channels, one.bits);
    const ImageShape shape = {one.height, one.width, one.channels};
    const auto x = Halves(static_cast<size_t>(one.height) * one.width * one.channels, 6);
    const auto image = vision_ref::FromHalves(x, one.height, one.width, one.channels);
    for (const VisionFunctions* set : Sets()) {
      Pool pool;
      for (const vera_vision_block* b : {&layers.block, &layers.plain_block}) {
        std::vector<uint16_t> out(x.size());
        ASSERT_TRUE(set->block(pool, *b, x.data(), shape, out.data()));
        EXPECT_LT(Error(vision_ref::Block(*b, image), Doubles(out)), kTolerance)
            << set->name << " " << one.channels << " channels";
      }
    }
  }
}

TEST(VisionTest, DownAndAttentionAreRight) {
  for (const Case& one : kCases) {
    const Layers layers(one.channels, one.bits);
    const int height = one.height + one.height % 2, width = one.width + one.width % 2;
    const auto x = Halves(static_cast<size_t>(height) * width * one.channels, 7);
    const auto image = vision_ref::FromHalves(x, height, width, one.channels);
    for (const VisionFunctions* set : Sets()) {
      Pool pool;
      std::vector<uint16_t> small(static_cast<size_t>(height) * width / 4 * 32), out(x.size());
      ASSERT_TRUE(set->down(pool, layers.down, x.data(), {height, width, one.channels},
                            small.data()));
      EXPECT_LT(Error(vision_ref::Down(layers.down, image), Doubles(small)), kTolerance)
          << set->name;
      ASSERT_TRUE(set->attention(pool, layers.attention, x.data(), height * width, one.channels,
                                 out.data()));
      EXPECT_LT(Error(vision_ref::Attention(layers.attention, image), Doubles(out)), kTolerance)
          << set->name;
    }
  }
}

TEST(VisionTest, StemIsRight) {
  for (const int size : {4, 20, 148}) {
    const Layers layers(32, 8);
    auto pixels = Randoms(static_cast<size_t>(3) * size * size, 0.7f, 8);
    for (float& v : pixels) v += 0.5f;
    for (const VisionFunctions* set : Sets()) {
      Pool pool;
      std::vector<uint16_t> out(static_cast<size_t>(size) * size / 16 * 32);
      ASSERT_TRUE(set->stem(pool, layers.stem, pixels.data(), size, out.data()));
      EXPECT_LT(Error(vision_ref::Stem(layers.stem, pixels, size), Doubles(out)), kTolerance)
          << set->name << " size " << size;
    }
  }
}

TEST(VisionTest, TokensAreRight) {
  for (const Case& one : kCases) {
    const Layers layers(one.channels, one.bits);
    const auto x = Halves(static_cast<size_t>(one.height) * one.width * one.channels, 9);
    const auto image = vision_ref::FromHalves(x, one.height, one.width, one.channels);
    for (const VisionFunctions* set : Sets()) {
      Pool pool;
      std::vector<float> out(static_cast<size_t>(one.height) * one.width * 48);
      ASSERT_TRUE(set->tokens(pool, layers.tokens, x.data(), {one.height, one.width, one.channels},
                              out.data()));
      const std::vector<double> got(out.begin(), out.end());
      EXPECT_LT(Error(vision_ref::Tokens(layers.tokens, image), got), kTolerance) << set->name;
    }
  }
}

uint64_t Hash(uint64_t hash, const void* data, size_t bytes) {
  const uint8_t* at = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ at[i]) * 1099511628211ull;
  return hash;
}

// A small tower's bytes.
uint64_t TowerHash(const VisionFunctions& set, Pool& pool, int bits) {
  const Layers layers(48, bits), late(32, bits);
  const int size = 88, side = size / 4;
  const auto pixels = Randoms(static_cast<size_t>(3) * size * size, 1.0f, 10);
  std::vector<uint16_t> a(static_cast<size_t>(side) * side * 48), b(a.size());
  EXPECT_TRUE(set.stem(pool, layers.stem, pixels.data(), size, a.data()));
  EXPECT_TRUE(set.block(pool, layers.block, a.data(), {side, side, 48}, b.data()));
  EXPECT_TRUE(set.down(pool, layers.down, b.data(), {side, side, 48}, a.data()));
  const int half = side / 2;
  EXPECT_TRUE(set.depthwise(pool, late.position.c, a.data(), {half, half, 32}, b.data()));
  EXPECT_TRUE(set.attention(pool, late.attention, b.data(), half * half, 32, b.data()));
  EXPECT_TRUE(set.block(pool, late.plain_block, b.data(), {half, half, 32}, a.data()));
  std::vector<float> tokens(static_cast<size_t>(half) * half * 48);
  EXPECT_TRUE(set.tokens(pool, late.tokens, a.data(), {half, half, 32}, tokens.data()));
  const size_t pixels_left = static_cast<size_t>(half) * half;
  uint64_t hash = Hash(14695981039346656037ull, a.data(), pixels_left * 32 * 2);
  return Hash(hash, tokens.data(), tokens.size() * sizeof(float));
}

TEST(VisionTest, BytesDoNotDependOnThreadsOrSet) {
  for (const int bits : {8, 6, 4}) {
    Pool one;
    one.SetThreads(1);
    const uint64_t first = TowerHash(*Sets()[0], one, bits);
    for (const int threads : {1, 2, 5}) {
      Pool pool;
      pool.SetThreads(threads);
      for (const VisionFunctions* set : Sets()) {
        EXPECT_EQ(TowerHash(*set, pool, bits), first) << set->name << " " << threads << " threads";
      }
    }
  }
}

// One number for all machines.
TEST(VisionTest, SameBytesOnEveryMachine) {
  Pool pool;
  EXPECT_EQ(TowerHash(Vision(), pool, 8), 6108122569909214177ull);
}

TEST(VisionTest, NumbersThatAreNoneComeOutFinite) {
  const Layers layers(16, 8);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> pixels(3 * 8 * 8, nan);
  std::vector<uint16_t> out(4 * 16), x(36 * 16, 0x7e00), y(36 * 16);  // 0x7e00: not a number
  x[20] = 0x7c00;  // infinity
  for (const VisionFunctions* set : Sets()) {
    Pool pool;
    ASSERT_TRUE(set->stem(pool, layers.stem, pixels.data(), 8, out.data()));
    for (const uint16_t v : out) EXPECT_LT(v & 0x7fff, 0x7c00) << set->name;
    ASSERT_TRUE(set->block(pool, layers.block, x.data(), {6, 6, 16}, y.data()));
    for (const uint16_t v : y) EXPECT_LT(v & 0x7fff, 0x7c00) << set->name;
    ASSERT_TRUE(set->attention(pool, layers.attention, x.data(), 36, 16, y.data()));
    for (const uint16_t v : y) EXPECT_LT(v & 0x7fff, 0x7c00) << set->name;
  }
}

TEST(VisionTest, BadArgumentsAreRefused) {
  Layers f(16, 8);
  std::vector<uint16_t> x(64 * 32), out(64 * 32);
  std::vector<float> pixels(3 * 8 * 8), tokens(64 * 48);
  const auto block = [&](int height, int channels) {
    return vera_vision_block_run(&f.block, x.data(), height, 4, channels, out.data());
  };
  EXPECT_EQ(block(4, 16), VERA_STATUS_OK);
  EXPECT_EQ(block(0, 16), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(block(4, 8), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(block(4, 32), VERA_STATUS_INVALID_ARGUMENT);
  f.block.reduce.zero = 1.5f;
  EXPECT_EQ(block(4, 16), VERA_STATUS_INVALID_ARGUMENT);
  f.block.reduce.zero = 0;
  f.block.expand.matrix.bits = 5;
  EXPECT_EQ(block(4, 16), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(vera_vision_stem_run(&f.stem, pixels.data(), 8, out.data()), VERA_STATUS_OK);
  EXPECT_EQ(vera_vision_stem_run(&f.stem, pixels.data(), 6, out.data()),
            VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(vera_vision_stem_run(nullptr, pixels.data(), 8, out.data()),
            VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(vera_vision_down_run(&f.down, x.data(), 5, 4, 16, out.data()),
            VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(vera_vision_depthwise_run(&f.spatial.c, x.data(), 4, 4, 16, out.data()),
            VERA_STATUS_INVALID_ARGUMENT);
  f.attention.head_dim = 24;
  EXPECT_EQ(vera_vision_attention_run(&f.attention, x.data(), 4, 16, out.data()),
            VERA_STATUS_INVALID_ARGUMENT);
  f.tokens.up.matrix.columns = 16;
  EXPECT_EQ(vera_vision_tokens_run(&f.tokens, x.data(), 2, 2, 16, tokens.data()),
            VERA_STATUS_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace vera
