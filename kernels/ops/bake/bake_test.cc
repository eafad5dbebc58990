// The bake against its double-precision reference, on every instruction set of the machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#define HWY_WANT_AVX3_DL  // as bake_cpu.cc: one more target to try
#include "hwy/targets.h"
#include "ops/bake/bake.h"
#include "ops/bake/bake_test_util.h"
#include "ops/render/render_test_util.h"
#include "vera/vera.h"

namespace vera {
namespace {

constexpr float kFull[3] = {1.0f, 1.0f, 1.0f};
constexpr float kMixed[3] = {1.5f, 0.0f, 0.6f};

class Handle {
 public:
  explicit Handle(const Network& network) {
    EXPECT_EQ(VERA_STATUS_OK, vera_renderer_create(&network.weights, &renderer_));
  }
  ~Handle() { vera_renderer_destroy(renderer_); }
  Handle(const Handle&) = delete;
  operator const vera_renderer*() const { return renderer_; }

 private:
  vera_renderer* renderer_ = nullptr;
};

std::vector<float> RandomColours(size_t count) {
  Random random;
  std::vector<float> rgb(3 * count);
  for (float& value : rgb) value = random.Unit();
  return rgb;
}

std::vector<float> Evaluate(const Network& network, const float* strengths,
                            const std::vector<float>& rgb, int threads = 1) {
  std::vector<float> out(rgb.size(), -1.0f);
  const vera_bake_options options = BakeOptions(threads);
  const Handle renderer(network);
  EXPECT_EQ(VERA_STATUS_OK,
            vera_bake_points(renderer, network.latents.data(), strengths, rgb.data(),
                             static_cast<int64_t>(rgb.size() / 3), out.data(), &options));
  return out;
}

struct Errors {
  double max = 0.0, mean = 0.0;
};

Errors ErrorsOf(const Network& network, const float* strengths, const std::vector<float>& rgb) {
  std::vector<double> expected(rgb.size());
  EvaluateReference(network.weights, network.latents.data(), strengths, rgb.data(), rgb.size() / 3,
                    expected.data());
  const std::vector<float> actual = Evaluate(network, strengths, rgb);
  Errors errors;
  for (size_t i = 0; i < rgb.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    // Written so that NaN is the largest error.
    if (!(error <= errors.max)) errors.max = error;
    errors.mean += error / static_cast<double>(rgb.size());
  }
  return errors;
}

const std::vector<std::vector<int>> kShapes = {
    {64, 128, 256}, {128, 256, 512}, {5, 19, 33}, {1}, {3, 1, 17, 2}, {16, 16, 16, 16}};

TEST(BakeTest, Float32MatchesReference) {
  const std::vector<float> rgb = RandomColours(101);
  OnEveryTarget([&] {
    for (const bool residual : {false, true}) {
      for (const std::vector<int>& widths : kShapes) {
        const Network network(widths, 7, residual, VERA_PRECISION_FLOAT32);
        // Measured: 2.9e-6.
        EXPECT_LE(ErrorsOf(network, kMixed, rgb).max, 1e-5)
            << "first width " << widths[0] << " residual " << residual;
      }
    }
  });
}

TEST(BakeTest, Int8IsNearReference) {
  const std::vector<float> rgb = RandomColours(1001);
  OnEveryTarget([&] {
    for (const std::vector<int>& widths : {kShapes[0], kShapes[1]}) {
      const Network network(widths, 7, false, VERA_PRECISION_INT8);
      const Errors errors = ErrorsOf(network, kFull, rgb);
      // Of values in [0, 1]; measured 0.0065 and 0.0011. A wrong code, sum or scale gives 0.1.
      EXPECT_LE(errors.max, 0.008);
      EXPECT_LE(errors.mean, 0.0015);
      EXPECT_GT(errors.max, 1e-5) << "products were not in 8 bits";
    }
  });
}

uint64_t Hash(const std::vector<float>& values) {
  uint64_t hash = 14695981039346656037ull;
  for (const float value : values) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    hash = (hash ^ bits) * 1099511628211ull;
  }
  return hash;
}

// One number for all machines.
TEST(BakeTest, Int8GivesSameBytesOnEveryTarget) {
  const std::vector<float> rgb = RandomColours(499);
  OnEveryTarget([&] {
    for (const bool residual : {false, true}) {
      const Network network({35, 70, 130}, 7, residual, VERA_PRECISION_INT8);
      const uint64_t hash = Hash(Evaluate(network, kMixed, rgb));
      EXPECT_EQ(residual ? 14089635288990954343ull : 558744999525933421ull, hash);
    }
  });
}

bool HasFusedMultiplyAdd() {
#if HWY_ARCH_X86
  return (hwy::SupportedTargets() & (HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL)) != 0;
#else
  // a machine with SVE runs the NEON code: bake_cpu.cc is not built for SVE
  constexpr int64_t kArm = HWY_NEON | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128;
  return HWY_ARCH_ARM_A64 && (hwy::SupportedTargets() & kArm) != 0;
#endif
}

// One number for the machines with fused multiply-add, another for those without.
TEST(BakeTest, Float32GivesSameBytesWhereFused) {
  const std::vector<float> rgb = RandomColours(499);
  OnEveryTarget([&] {
    const Network network({35, 70, 130}, 7, false, VERA_PRECISION_FLOAT32);
    const uint64_t hash = Hash(Evaluate(network, kMixed, rgb));
    EXPECT_EQ(HasFusedMultiplyAdd() ? 4927895961027340340ull : 17082749266544788952ull, hash);
  });
}

TEST(BakeTest, LatticeIsThePointsInOrder) {
  for (const vera_precision precision : {VERA_PRECISION_FLOAT32, VERA_PRECISION_INT8}) {
    const Network network({16, 16}, 5, true, precision);
    const Handle renderer(network);
    const vera_bake_options options = BakeOptions(2);
    for (const int size : {2, 3, 4, 5, 6, 7, 17, 33, 65}) {
      std::vector<float> rgb, axes(3 * static_cast<size_t>(size));
      for (size_t i = 0; i < axes.size(); ++i) {
        const float x = static_cast<float>(i % size) / static_cast<float>(size - 1);
        axes[i] = i < static_cast<size_t>(size) ? x * x : x;
      }
      for (int node = 0; node < size * size * size; ++node) {
        rgb.push_back(axes[node % size]);
        rgb.push_back(axes[size + node / size % size]);
        rgb.push_back(axes[2 * size + node / size / size]);
      }
      std::vector<float> lut(rgb.size());
      ASSERT_EQ(VERA_STATUS_OK, vera_bake(renderer, network.latents.data(), kFull, axes.data(),
                                          size, lut.data(), &options));
      EXPECT_EQ(Evaluate(network, kFull, rgb), lut);
      for (size_t i = 0; i < rgb.size(); i += 3) rgb[i] = std::sqrt(rgb[i]);
      ASSERT_EQ(VERA_STATUS_OK, vera_bake(renderer, network.latents.data(), kFull, nullptr, size,
                                          lut.data(), &options));
      const std::vector<float> even = Evaluate(network, kFull, rgb);
      for (size_t i = 0; i < lut.size(); ++i) ASSERT_NEAR(even[i], lut[i], 0.01) << i;
    }
  }
}

TEST(BakeTest, ThreadsAndPositionDoNotChangeBytes) {
  const std::vector<float> rgb = RandomColours(1000);
  for (const vera_precision precision : {VERA_PRECISION_FLOAT32, VERA_PRECISION_INT8}) {
    const Network network({32, 48}, 5, false, precision);
    const std::vector<float> whole = Evaluate(network, kFull, rgb);
    for (const int threads : {0, 2, 5, 64}) {
      EXPECT_EQ(whole, Evaluate(network, kFull, rgb, threads));
    }
    for (const size_t begin : {1, 47, 999}) {
      const std::vector<float> part(rgb.begin() + 3 * static_cast<int64_t>(begin), rgb.end());
      const std::vector<float> out = Evaluate(network, kFull, part);
      const auto same = whole.begin() + 3 * static_cast<int64_t>(begin);
      EXPECT_TRUE(std::equal(out.begin(), out.end(), same));
    }
  }
}

TEST(BakeTest, PointsInPlace) {
  const Network network({32, 48}, 5, true, VERA_PRECISION_FLOAT32);
  std::vector<float> rgb = RandomColours(500);
  const std::vector<float> expected = Evaluate(network, kFull, rgb);
  const Handle renderer(network);
  const vera_bake_options options = BakeOptions(3);
  ASSERT_EQ(VERA_STATUS_OK, vera_bake_points(renderer, network.latents.data(), kFull, rgb.data(),
                                             500, rgb.data(), &options));
  EXPECT_EQ(expected, rgb);
}

TEST(BakeTest, StrengthZeroIsLatentZero) {
  const std::vector<float> rgb = RandomColours(60);
  Network network({32, 48}, 5, false, VERA_PRECISION_FLOAT32);
  const std::vector<float> switched_off = Evaluate(network, kMixed, rgb);
  const std::vector<float> full = Evaluate(network, kFull, rgb);
  for (size_t i = 0; i < 15; ++i) network.latents[i] *= kMixed[i / 5];
  EXPECT_EQ(switched_off, Evaluate(network, kFull, rgb));
  EXPECT_NE(switched_off, full);
}

// Features that are all equal have no deviation, and all-zero weights no scale.
TEST(BakeTest, EqualFeaturesAndLargestValuesStayFinite) {
  const std::vector<float> rgb = RandomColours(60);
  for (const vera_precision precision : {VERA_PRECISION_FLOAT32, VERA_PRECISION_INT8}) {
    for (const float value : {0.0f, 0.25f, 65504.0f, -65504.0f}) {
      Network network({20, 20, 20}, 5, true, precision);
      for (std::vector<float>& numbers : network.values) {
        std::fill(numbers.begin(), numbers.end(), value);
      }
      network.latents.assign(15, std::abs(value));
      for (const float out : Evaluate(network, kFull, rgb)) {
        EXPECT_TRUE(out >= 0.0f && out <= 1.0f) << out << " from " << value;
      }
    }
  }
}

TEST(BakeTest, CancelAndProgress) {
  struct Seen {
    int64_t last = 0, calls = 0;
    int32_t cancel = 0, cancel_at = -1;
  };
  const Network network({8}, 2, false, VERA_PRECISION_FLOAT32);
  const Handle renderer(network);
  std::vector<float> lut(17 * 17 * 17 * 3);
  Seen seen;
  vera_bake_options options = BakeOptions(1);
  options.cancel = &seen.cancel;
  options.user = &seen;
  options.progress = [](void* user, int64_t done, int64_t total) {
    Seen& all = *static_cast<Seen*>(user);
    EXPECT_GT(done, all.last);
    EXPECT_EQ(17 * 17 * 17, total);
    all.last = done;
    if (++all.calls == all.cancel_at) all.cancel = 1;
  };
  const auto bake = [&] {
    return vera_bake(renderer, network.latents.data(), kFull, nullptr, 17, lut.data(), &options);
  };
  EXPECT_EQ(VERA_STATUS_OK, bake());
  EXPECT_EQ(17 * 17 * 17, seen.last);
  EXPECT_EQ((17 * 17 * 17 + 191) / 192, seen.calls);
  seen = Seen();
  seen.cancel_at = 3;
  EXPECT_EQ(VERA_STATUS_CANCELLED, bake());
  EXPECT_EQ(3, seen.calls);
}

TEST(BakeTest, RefusesBadWeights) {
  Network network({8, 4}, 2, false, VERA_PRECISION_FLOAT32);
  vera_renderer* renderer = nullptr;
  const vera_renderer_weights good = network.weights;
  const std::vector<vera_renderer_layer> good_layers = network.layers;
  EXPECT_EQ(1, vera_renderer_create(&good, nullptr));
  EXPECT_EQ(1, vera_renderer_create(nullptr, &renderer));
  for (const auto change : std::vector<void (*)(vera_renderer_weights&)>{
           [](vera_renderer_weights& w) { w.struct_size = 8; },
           [](vera_renderer_weights& w) { w.layers = nullptr; },
           [](vera_renderer_weights& w) { w.out_weight = nullptr; },
           [](vera_renderer_weights& w) { w.out_bias = nullptr; },
           [](vera_renderer_weights& w) { w.layer_count = 0; },
           [](vera_renderer_weights& w) { w.layer_count = 9; },
           [](vera_renderer_weights& w) { w.latent_size = 0; },
           [](vera_renderer_weights& w) { w.latent_size = 65537; },
           [](vera_renderer_weights& w) { w.output = 2; },
           [](vera_renderer_weights& w) { w.precision = -1; },
           [](vera_renderer_weights& w) { w.norm_epsilon = 0.0f; },
           [](vera_renderer_weights& w) { w.norm_epsilon = NAN; },
           [](vera_renderer_weights& w) { w.reserved = 1; }}) {
    vera_renderer_weights bad = good;
    change(bad);
    EXPECT_EQ(1, vera_renderer_create(&bad, &renderer));
    EXPECT_EQ(nullptr, renderer);
  }
  for (const auto change : std::vector<void (*)(vera_renderer_layer&)>{
           [](vera_renderer_layer& l) { l.weight = nullptr; },
           [](vera_renderer_layer& l) { l.bias = nullptr; },
           [](vera_renderer_layer& l) { l.norm_weight = nullptr; },
           [](vera_renderer_layer& l) { l.norm_bias = nullptr; },
           [](vera_renderer_layer& l) { l.latent_weight = nullptr; },
           [](vera_renderer_layer& l) { l.latent_bias = nullptr; },
           [](vera_renderer_layer& l) { l.width = 0; },
           [](vera_renderer_layer& l) { l.width = 4097; },
           [](vera_renderer_layer& l) { l.reserved = 1; }}) {
    network.layers[1] = good_layers[1];
    change(network.layers[1]);
    EXPECT_EQ(1, vera_renderer_create(&good, &renderer));
  }
  network.layers[1] = good_layers[1];
  for (std::vector<float>& numbers : network.values) {
    if (numbers.size() == network.latents.size() && numbers == network.latents) continue;
    for (const float bad : {NAN, -HUGE_VALF, 65536.0f}) {
      const float kept = numbers.back();
      numbers.back() = bad;
      EXPECT_EQ(1, vera_renderer_create(&good, &renderer));
      numbers.back() = kept;
    }
  }
  EXPECT_EQ(0, vera_renderer_create(&good, &renderer));
  vera_renderer_destroy(renderer);
  vera_renderer_destroy(nullptr);
}

TEST(BakeTest, RefusesBadArguments) {
  const Network network({8}, 2, false, VERA_PRECISION_FLOAT32);
  const Handle renderer(network);
  const std::vector<float>& good = network.latents;
  const vera_bake_options options = BakeOptions();
  const std::vector<float> untouched(24, 7.0f);
  std::vector<float> lut = untouched;
  const float axes[6] = {0.0f, 1.0f, 0.0f, 1.0f, 0.0f, NAN};
  const auto bake = [&](const float* latents, const float* strengths, int size) {
    return vera_bake(renderer, latents, strengths, nullptr, size, lut.data(), &options);
  };
  for (const float bad : {NAN, HUGE_VALF, -HUGE_VALF, 65536.0f}) {
    for (size_t i = 0; i < good.size(); ++i) {
      std::vector<float> latents = good;
      latents[i] = bad;
      EXPECT_EQ(1, bake(latents.data(), kFull, 2));
    }
  }
  for (const float bad : {NAN, -0.1f, 1.6f}) {
    const float strengths[3] = {1.0f, bad, 1.0f};
    EXPECT_EQ(1, bake(good.data(), strengths, 2));
  }
  for (const int size : {-1, 0, 1, 130}) EXPECT_EQ(1, bake(good.data(), kFull, size));
  EXPECT_EQ(1, bake(nullptr, kFull, 2));
  EXPECT_EQ(1, bake(good.data(), nullptr, 2));
  EXPECT_EQ(1, vera_bake(nullptr, good.data(), kFull, nullptr, 2, lut.data(), &options));
  EXPECT_EQ(1, vera_bake(renderer, good.data(), kFull, nullptr, 2, nullptr, &options));
  EXPECT_EQ(1, vera_bake(renderer, good.data(), kFull, nullptr, 2, lut.data(), nullptr));
  EXPECT_EQ(1, vera_bake(renderer, good.data(), kFull, axes, 2, lut.data(), &options));
  const float* odd = reinterpret_cast<const float*>(reinterpret_cast<const char*>(good.data()) + 2);
  EXPECT_EQ(1, bake(odd, kFull, 2));
  for (const int threads : {-1, 65}) {
    const vera_bake_options bad = BakeOptions(threads);
    EXPECT_EQ(1, vera_bake(renderer, good.data(), kFull, nullptr, 2, lut.data(), &bad));
  }
  EXPECT_EQ(untouched, lut);
}

TEST(BakeTest, RefusesBadPoints) {
  const Network network({8}, 2, false, VERA_PRECISION_FLOAT32);
  const Handle renderer(network);
  const vera_bake_options options = BakeOptions();
  std::vector<float> rgb(30, 0.5f), out(30, 7.0f);
  const auto points = [&](const float* from, int64_t count, float* to) {
    return vera_bake_points(renderer, network.latents.data(), kFull, from, count, to, &options);
  };
  EXPECT_EQ(0, points(nullptr, 0, nullptr));
  EXPECT_EQ(1, points(nullptr, 1, out.data()));
  EXPECT_EQ(1, points(rgb.data(), 1, nullptr));
  EXPECT_EQ(1, points(rgb.data(), -1, out.data()));
  EXPECT_EQ(1, points(rgb.data(), (int64_t{1} << 40) + 1, out.data()));
  EXPECT_EQ(1, points(rgb.data(), 5, rgb.data() + 3));
  EXPECT_EQ(0, points(rgb.data(), 5, rgb.data() + 15));
  for (const float bad : {NAN, HUGE_VALF, 65536.0f}) {
    rgb[14] = bad;
    EXPECT_EQ(1, points(rgb.data(), 5, out.data()));
  }
  EXPECT_EQ(7.0f, out[0]);
}

}  // namespace
}  // namespace vera
