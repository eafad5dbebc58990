// The C ABI of vera_shader.h: what it refuses. That the buffers are right, render_metal_test.cc and
// bake_metal_test.cc show, which run the shaders on them.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "ops/bake/bake_test_util.h"
#include "ops/render/render_test_util.h"
#include "vera/vera_shader.h"

namespace vera {
namespace {

constexpr vera_gpu_precision kFloat = VERA_GPU_PRECISION_FLOAT, kHalf = VERA_GPU_PRECISION_HALF;
constexpr vera_status kUnsupported = VERA_STATUS_UNSUPPORTED_FORMAT;

struct RenderBuffers {
  std::vector<float> curves = std::vector<float>(3 * 17), output = curves;
  std::vector<float> nodes = std::vector<float>(4 * 5 * 5 * 5);
  vera_shader_render_params params = {};
  vera_status Pack(const vera_look& look, const vera_render_options& options,
                   vera_pixel_format format, vera_gpu_precision precision = kFloat) {
    return vera_shader_pack_render(&look, &options, format, precision, curves.data(),
                                   look.lut != nullptr ? nodes.data() : nullptr, output.data(),
                                   &params);
  }
};

TEST(ShaderTest, RenderSizesAndFlags) {
  const Look shape = MakeLook(17, 5, false);
  vera_look look = Full(shape.view);
  vera_shader_render_sizes sizes;
  ASSERT_EQ(0, vera_shader_render_size(&look, kFloat, &sizes));
  EXPECT_EQ(3 * 17 * 4u, sizes.curves_bytes);
  EXPECT_EQ(125 * 16u, sizes.nodes_bytes);
  EXPECT_EQ(16u, sizes.output_curves_bytes);
  ASSERT_EQ(0, vera_shader_render_size(&look, kHalf, &sizes));
  EXPECT_EQ(125 * 8u, sizes.nodes_bytes);
  RenderBuffers buffers;
  vera_render_options options = Options(0.5f);
  ASSERT_EQ(0, buffers.Pack(look, options, VERA_PIXEL_FORMAT_BGRA8));
  EXPECT_EQ(8u, buffers.params.flags);
  options.interpolation = VERA_INTERPOLATION_TRILINEAR;
  options.out_of_range = VERA_OUT_OF_RANGE_EXTEND;
  look.lut = nullptr;
  ASSERT_EQ(0, buffers.Pack(look, options, VERA_PIXEL_FORMAT_RGBAF16, kHalf));
  EXPECT_EQ(1u + 2u + 16u, buffers.params.flags);
  EXPECT_EQ(5, buffers.params.lut_size);
  EXPECT_EQ(0.5f, buffers.params.strength);
}

TEST(ShaderTest, BadRendersAreRefused) {
  const Look shape = MakeLook(17, 5, false);
  const vera_look look = Full(shape.view);
  const vera_render_options good = Options(1.0f);
  RenderBuffers buffers;
  EXPECT_EQ(0, buffers.Pack(look, good, VERA_PIXEL_FORMAT_RGBA8));
  EXPECT_EQ(kUnsupported, buffers.Pack(look, good, VERA_PIXEL_FORMAT_RGB8));
  EXPECT_EQ(1, buffers.Pack(look, good, 17));
  EXPECT_EQ(1, buffers.Pack(look, good, VERA_PIXEL_FORMAT_RGBA8, 2));
  vera_render_options bad = good;
  bad.dither = VERA_DITHER_ORDERED;
  EXPECT_EQ(0, buffers.Pack(look, bad, VERA_PIXEL_FORMAT_RGBA8));
  EXPECT_EQ(1, buffers.Pack(look, bad, VERA_PIXEL_FORMAT_RGBAF32));
  bad = good;
  bad.out_of_range = VERA_OUT_OF_RANGE_EXTEND;
  EXPECT_EQ(1, buffers.Pack(look, bad, VERA_PIXEL_FORMAT_RGBA8));
  bad = Options(2.0f);
  EXPECT_EQ(1, buffers.Pack(look, bad, VERA_PIXEL_FORMAT_RGBA8));
  vera_shader_render_sizes sizes;
  EXPECT_EQ(1, vera_shader_render_size(nullptr, kFloat, &sizes));
  EXPECT_EQ(1, vera_shader_render_size(&look, kFloat, nullptr));
  EXPECT_EQ(1, vera_shader_render_size(&look, -1, &sizes));
  vera_look wrong = look;
  wrong.lut = nullptr;
  EXPECT_EQ(1, vera_shader_pack_render(&wrong, &good, VERA_PIXEL_FORMAT_RGBA8, kFloat,
                                       buffers.curves.data(), buffers.nodes.data(),
                                       buffers.output.data(), &buffers.params));  // nodes, no LUT
  EXPECT_EQ(1, vera_shader_pack_render(&look, &good, VERA_PIXEL_FORMAT_RGBA8, kFloat,
                                       buffers.curves.data(), nullptr, buffers.output.data(),
                                       &buffers.params));
  EXPECT_EQ(1, vera_shader_pack_render(
                   &look, &good, VERA_PIXEL_FORMAT_RGBA8, kFloat, buffers.curves.data(),
                   reinterpret_cast<char*>(buffers.nodes.data()) + 2, buffers.output.data(),
                   &buffers.params));
  wrong.lut_size = 130;
  EXPECT_EQ(1, buffers.Pack(wrong, good, VERA_PIXEL_FORMAT_RGBA8));
  wrong = look;
  std::vector<float> curves = shape.curves;
  curves[3] = HUGE_VALF;
  wrong.curves = curves.data();
  EXPECT_EQ(1, buffers.Pack(wrong, good, VERA_PIXEL_FORMAT_RGBA8));
}

TEST(ShaderTest, BakeSizes) {
  const Network network({20, 40}, 5, false, VERA_PRECISION_FLOAT32);
  vera_renderer* renderer = nullptr;
  ASSERT_EQ(0, vera_renderer_create(&network.weights, &renderer));
  for (const bool half : {false, true}) {
    vera_shader_bake_sizes sizes;
    ASSERT_EQ(0, vera_shader_bake_size(renderer, 33, half ? kHalf : kFloat, &sizes));
    EXPECT_EQ(20 * 48 * (half ? 2u : 4u), sizes.weights_bytes);  // widths are padded to 16
    EXPECT_EQ(2 * 24u, sizes.layers_bytes);
    EXPECT_EQ(4u * (3 * 32 + 32 + 48 + 6 + 3 * 48 + 3 * 33), sizes.look_bytes);
    EXPECT_EQ(35937 * (half ? 8u : 16u), sizes.nodes_bytes);
    EXPECT_EQ(half ? 16u : 8u, sizes.group_nodes);
    EXPECT_EQ(half ? 2247u : 4493u, sizes.groups);
  }
  vera_renderer_destroy(renderer);
}

TEST(ShaderTest, BadBakesAreRefused) {
  const Network network({8, 8}, 5, false, VERA_PRECISION_FLOAT32);
  vera_renderer* renderer = nullptr;
  ASSERT_EQ(0, vera_renderer_create(&network.weights, &renderer));
  vera_shader_bake_sizes sizes;
  EXPECT_EQ(1, vera_shader_bake_size(nullptr, 33, kFloat, &sizes));
  EXPECT_EQ(1, vera_shader_bake_size(renderer, 1, kFloat, &sizes));
  EXPECT_EQ(1, vera_shader_bake_size(renderer, 130, kFloat, &sizes));
  EXPECT_EQ(1, vera_shader_bake_size(renderer, 33, 2, &sizes));
  EXPECT_EQ(1, vera_shader_bake_size(renderer, 33, kFloat, nullptr));
  std::vector<float> weights(8 * 16), look(4096);
  vera_shader_bake_layer layers[2];
  vera_shader_bake_params params;
  EXPECT_EQ(1, vera_shader_pack_weights(nullptr, kFloat, weights.data(), layers));
  EXPECT_EQ(1, vera_shader_pack_weights(renderer, kFloat, nullptr, layers));
  EXPECT_EQ(1, vera_shader_pack_weights(renderer, kFloat, weights.data(), nullptr));
  EXPECT_EQ(1, vera_shader_pack_weights(renderer, 3, weights.data(), layers));
  EXPECT_EQ(0, vera_shader_pack_weights(renderer, kFloat, weights.data(), layers));
  const float full[3] = {1.0f, 1.0f, 1.0f}, wrong[3] = {1.0f, -1.0f, 1.0f};
  const float* latents = network.latents.data();
  const auto pack = [&](const float* values, const float* factors, int32_t size, float* out) {
    return vera_shader_pack_bake(renderer, values, factors, nullptr, size, kFloat, out, &params);
  };
  EXPECT_EQ(0, pack(latents, full, 33, look.data()));
  EXPECT_EQ(1, pack(nullptr, full, 33, look.data()));
  EXPECT_EQ(1, pack(latents, wrong, 33, look.data()));
  EXPECT_EQ(1, pack(latents, full, 130, look.data()));
  EXPECT_EQ(1, pack(latents, full, 33, nullptr));
  vera_renderer_destroy(renderer);
}

TEST(ShaderTest, UnfitNetworksAreUnsupported) {
  for (const std::vector<int>& widths : {std::vector<int>{257, 8}, {8, 8}}) {
    const bool int8 = widths[0] == 8;
    const Network network(widths, 5, false, int8 ? VERA_PRECISION_INT8 : VERA_PRECISION_FLOAT32);
    vera_renderer* renderer = nullptr;
    ASSERT_EQ(0, vera_renderer_create(&network.weights, &renderer));
    std::vector<float> weights(257 * 16), look(4096);
    vera_shader_bake_layer layers[2];
    vera_shader_bake_sizes sizes;
    vera_shader_bake_params params;
    const float full[3] = {1.0f, 1.0f, 1.0f};
    EXPECT_EQ(kUnsupported, vera_shader_bake_size(renderer, 33, kFloat, &sizes));
    EXPECT_EQ(kUnsupported, vera_shader_pack_weights(renderer, kFloat, weights.data(), layers));
    EXPECT_EQ(kUnsupported, vera_shader_pack_bake(renderer, network.latents.data(), full, nullptr,
                                                  33, kFloat, look.data(), &params));
    vera_renderer_destroy(renderer);
  }
}

}  // namespace
}  // namespace vera
