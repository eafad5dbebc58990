// The text of the bake for Metal, compiled for the host with the header of shim/, against the
// reference. Threads of a group run in two orders: both must give the same bytes.
#include "metal_stdlib"

namespace bake_text {
#include "metal/bake.metal"
}  // namespace bake_text

#undef constant
#undef device
#undef thread
#undef threadgroup

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "ops/bake/bake.h"
#include "ops/bake/bake_test_util.h"
#include "ops/render/formats.h"
#include "vera/vera_shader.h"

namespace vera {
namespace {

constexpr float kMixed[3] = {1.5f, 0.0f, 0.6f};
constexpr uint32_t kHalfNodes = 16;
static_assert(sizeof(bake_text::BakeLayer_0) == sizeof(vera_shader_bake_layer), "");
static_assert(sizeof(bake_text::BakeParams_0) == sizeof(vera_shader_bake_params), "");

// What lies in the buffers.
struct Buffers {
  Buffers(const Network& network, bool half, const std::vector<float>& axes, int size) {
    const vera_gpu_precision precision = half ? VERA_GPU_PRECISION_HALF : VERA_GPU_PRECISION_FLOAT;
    vera_renderer* renderer = nullptr;
    EXPECT_EQ(0, vera_renderer_create(&network.weights, &renderer));
    EXPECT_EQ(0, vera_shader_bake_size(renderer, size, precision, &sizes));
    weights.resize(sizes.weights_bytes / sizeof(weights[0]));
    layers.resize(sizes.layers_bytes / sizeof(layers[0]));
    look.resize(sizes.look_bytes / sizeof(look[0]));
    EXPECT_EQ(0, vera_shader_pack_weights(renderer, precision, weights.data(), layers.data()));
    EXPECT_EQ(0, vera_shader_pack_bake(renderer, network.latents.data(), kMixed, axes.data(), size,
                                       precision, look.data(), &params));
    vera_renderer_destroy(renderer);
  }
  vera_shader_bake_sizes sizes;
  std::vector<metal::uint4> weights;
  std::vector<vera_shader_bake_layer> layers;
  std::vector<float> look;
  vera_shader_bake_params params;
};

template <typename Kernel>
std::vector<float> Run(Kernel kernel, Buffers* in, bool half_nodes, bool reverse) {
  const size_t nodes = in->params.node_count;
  std::vector<metal::packed_uint2> out((half_nodes ? 1 : 2) * nodes + 1, {7u, 7u});
  bake_text::BakeParams_0 params;
  in->params.flags = (in->params.flags & ~kHalfNodes) | (half_nodes ? kHalfNodes : 0);
  std::memcpy(&params, &in->params, sizeof(params));
  auto* layers = reinterpret_cast<bake_text::BakeLayer_0*>(in->layers.data());
  metal::ThreadGroup threads(128);
  for (size_t group = 0; group < in->sizes.groups; ++group) {
    threads.Run(reverse, [&](unsigned thread) {
      kernel(metal::uint3(thread, 0, 0), metal::uint3(static_cast<metal::uint>(group), 0, 0),
             layers, in->look.data(), &params, out.data(), in->weights.data());
    });
  }
  EXPECT_EQ(7u, out.back().x) << "written behind the end";
  std::vector<float> result;
  for (size_t i = 0; i < nodes; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      result.push_back(ReadValue(out.data(), half_nodes ? VERA_VALUE_FLOAT16 : VERA_VALUE_FLOAT32,
                                 4 * i + c));
    }
  }
  return result;
}

void Check(bool half, double allowed) {
  constexpr int kSize = 3;
  std::vector<float> axes, rgb;
  for (int i = 0; i < 3 * kSize; ++i) {
    const float x = static_cast<float>(i % kSize) / (kSize - 1);
    axes.push_back(i < kSize ? x * x : x);
  }
  for (int node = 0; node < kSize * kSize * kSize; ++node) {
    rgb.push_back(axes[static_cast<size_t>(node % kSize)]);
    rgb.push_back(axes[static_cast<size_t>(kSize + node / kSize % kSize)]);
    rgb.push_back(axes[static_cast<size_t>(2 * kSize + node / kSize / kSize)]);
  }
  for (const std::vector<int>& widths : {std::vector<int>{64, 128, 256}, {128, 256, 512},
                                         {5, 19, 333}, {2}}) {
    for (const bool residual : {false, true}) {
      const Network network(widths, 7, residual, VERA_PRECISION_FLOAT32);
      std::vector<double> expected(rgb.size());
      EvaluateReference(network.weights, network.latents.data(), kMixed, rgb.data(),
                        rgb.size() / 3, expected.data());
      Buffers in(network, half, axes, kSize);
      const auto run = [&](bool half_nodes, bool reverse) {
        return half ? Run(bake_text::bakeLutHalf, &in, half_nodes, reverse)
                    : Run(bake_text::bakeLut, &in, half_nodes, reverse);
      };
      const std::vector<float> actual = run(false, false), halves = run(true, false);
      EXPECT_EQ(actual, run(false, true)) << "threads are not kept apart by barriers";
      double worst = 0.0;
      for (size_t i = 0; i < actual.size(); ++i) {
        const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
        if (!(error <= worst)) worst = error;
        EXPECT_EQ(HalfToFloat(FloatToHalf(actual[i])), halves[i]);
      }
      std::printf("last width %d, %s: largest error %.2g\n", widths.back(),
                  residual ? "residual" : "sigmoid", worst);
      EXPECT_LE(worst, allowed);
    }
  }
}

// Measured: 2.7e-6.
TEST(BakeMetalTest, FloatMatchesReference) { Check(false, 1e-5); }
// Measured: 0.0016.
TEST(BakeMetalTest, HalfMatchesReference) { Check(true, 0.004); }

}  // namespace
}  // namespace vera
