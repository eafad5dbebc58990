// The bake on a Vulkan device against the double-precision reference and the CPU's bake.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ops/bake/bake.h"
#include "ops/bake/bake_test_util.h"
#include "vera/vera_gpu.h"
#include "vulkan/gpu_test_util.h"
#include "vulkan/renderer.h"

namespace vera {
namespace {

constexpr float kFull[3] = {1.0f, 1.0f, 1.0f};
constexpr float kMixed[3] = {1.5f, 0.0f, 0.6f};
const std::vector<int> kNano = {64, 128, 256}, kPublic = {128, 256, 512};

struct Deleter {
  void operator()(vera_gpu* gpu) const { vera_gpu_close(gpu); }
  void operator()(vera_renderer* renderer) const { vera_renderer_destroy(renderer); }
  void operator()(vera_gpu_renderer* renderer) const { vera_gpu_renderer_destroy(renderer); }
  void operator()(vera_gpu_lut* lut) const { vera_gpu_lut_destroy(lut); }
};
using Gpu = std::unique_ptr<vera_gpu, Deleter>;
using CpuRenderer = std::unique_ptr<vera_renderer, Deleter>;
using GpuRenderer = std::unique_ptr<vera_gpu_renderer, Deleter>;
using GpuLut = std::unique_ptr<vera_gpu_lut, Deleter>;

CpuRenderer OnCpu(const Network& network) {
  vera_renderer* renderer = nullptr;
  EXPECT_EQ(VERA_STATUS_OK, vera_renderer_create(&network.weights, &renderer));
  return CpuRenderer(renderer);
}

GpuRenderer OnGpu(const Gpu& gpu, const CpuRenderer& renderer) {
  vera_gpu_renderer* made = nullptr;
  EXPECT_EQ(VERA_STATUS_OK, vera_gpu_renderer_create(gpu.get(), renderer.get(), &made));
  return GpuRenderer(made);
}

GpuLut Bake(const Gpu& gpu, const GpuRenderer& renderer, const float* latents,
            const float* strengths, const float* axes, int32_t size) {
  vera_gpu_lut* lut = nullptr;
  const vera_bake_options options = BakeOptions();
  EXPECT_EQ(VERA_STATUS_OK, vera_gpu_bake(gpu.get(), renderer.get(), latents, strengths, axes,
                                          size, &lut, &options));
  return GpuLut(lut);
}

std::vector<float> Read(const Gpu& gpu, const GpuLut& lut, int32_t size) {
  std::vector<float> out(static_cast<size_t>(3 * size * size * size), -1.0f);
  EXPECT_EQ(VERA_STATUS_OK, vera_gpu_lut_read(gpu.get(), lut.get(), out.data()));
  return out;
}

struct Errors {
  double max = 0.0, mean = 0.0;
};

template <typename T>
Errors ErrorsOf(const std::vector<T>& expected, const std::vector<float>& actual) {
  Errors errors;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error =
        std::abs(static_cast<double>(expected[i]) - static_cast<double>(actual[i]));
    if (!(error <= errors.max)) errors.max = error;  // written so that NaN is the largest error
    errors.mean += error / static_cast<double>(expected.size());
  }
  return errors;
}

std::vector<float> Lattice(const std::vector<float>& axes, int size) {
  std::vector<float> rgb;
  for (int node = 0; node < size * size * size; ++node) {
    const int at[3] = {node % size, node / size % size, node / size / size};
    for (int c = 0; c < 3; ++c) rgb.push_back(axes[static_cast<size_t>(c * size + at[c])]);
  }
  return rgb;
}

class BakeVulkanTest : public testing::Test {
 protected:
  void SetUp() override {
    if (SkipIsAskedFor()) GTEST_SKIP() << "VERA_GPU_TESTS_SKIP=1";
    for (const bool half : {false, true}) {
      vera_gpu_options options = {};
      options.struct_size = sizeof(options);
      options.device_index = DeviceIndex();
      options.precision = half ? VERA_GPU_PRECISION_HALF : VERA_GPU_PRECISION_FLOAT;
      char message[200];
      vera_gpu* gpu = nullptr;
      ASSERT_EQ(VERA_STATUS_OK, vera_gpu_open(&options, &gpu, message, sizeof(message)))
          << message;
      (half ? half_ : float_).reset(gpu);
    }
  }
  // Against the reference, on a lattice whose channels have other axes each.
  Errors Check(const Gpu& gpu, const Network& network, const float* strengths, int size) {
    std::vector<float> axes;
    for (int i = 0; i < 3 * size; ++i) {
      const float x = static_cast<float>(i % size) / static_cast<float>(size - 1);
      axes.push_back(i < size ? x * x : i < 2 * size ? x : x * (2.0f - x));
    }
    const std::vector<float> rgb = Lattice(axes, size);
    std::vector<double> expected(rgb.size());
    EvaluateReference(network.weights, network.latents.data(), strengths, rgb.data(),
                      rgb.size() / 3, expected.data());
    const CpuRenderer renderer = OnCpu(network);
    const GpuRenderer uploaded = OnGpu(gpu, renderer);
    const GpuLut lut =
        Bake(gpu, uploaded, network.latents.data(), strengths, axes.data(), size);
    return ErrorsOf(expected, Read(gpu, lut, size));
  }
  Gpu float_, half_;
};

TEST_F(BakeVulkanTest, MatchesReference) {
  const std::vector<std::vector<int>> shapes = {kNano,       kPublic, {5, 19, 33},
                                                {1},         {300},   {3, 1, 17, 2},
                                                {256, 1025}, {16, 16, 16, 16, 16, 16, 16, 16}};
  for (const bool residual : {false, true}) {
    for (const std::vector<int>& widths : shapes) {
      const Network network(widths, 7, residual, VERA_PRECISION_FLOAT32);
      for (const int size : {2, 5}) {
        const Errors single = Check(float_, network, kMixed, size);
        const Errors half = Check(half_, network, kMixed, size);
        std::printf("first of %zu layers %d wide, %s, %d^3: float max %.2g mean %.2g, "
                    "half max %.2g mean %.2g\n",
                    widths.size(), widths[0], residual ? "residual" : "sigmoid", size, single.max,
                    single.mean, half.max, half.mean);
        // Measured on llvmpipe: 4.7e-6, with four layers or fewer 1.4e-6.
        EXPECT_LE(single.max, 1e-5);
        if (widths.size() > 4) continue;  // each layer multiplies what the ones before rounded
        // Measured: 0.0015 and 0.00018.
        EXPECT_LE(half.max, 0.004);
        EXPECT_LE(half.mean, 0.0005);
      }
    }
  }
}

// Nano and public widths and latents. The lattice that ships, and a smaller one for the public
// network: a software device takes ten seconds for 33^3.
TEST_F(BakeVulkanTest, ShippedSizesMatchCpu) {
  for (const bool large : {false, true}) {
    const Network network(large ? kPublic : kNano, large ? 896 : 256, !large,
                          VERA_PRECISION_FLOAT32);
    const CpuRenderer renderer = OnCpu(network);
    const int32_t size = large ? 17 : 33;
    std::vector<float> expected(static_cast<size_t>(3 * size * size * size));
    const vera_bake_options options = BakeOptions(2);
    ASSERT_EQ(VERA_STATUS_OK, vera_bake(renderer.get(), network.latents.data(), kFull, nullptr,
                                        size, expected.data(), &options));
    for (const Gpu* gpu : {&float_, &half_}) {
      const GpuRenderer uploaded = OnGpu(*gpu, renderer);
      const GpuLut lut = Bake(*gpu, uploaded, network.latents.data(), kFull, nullptr, size);
      const Errors errors = ErrorsOf(expected, Read(*gpu, lut, size));
      std::printf("%s, %s: max %.3g mean %.3g\n", large ? "public" : "nano",
                  gpu == &half_ ? "half" : "float", errors.max, errors.mean);
      // Measured on llvmpipe: 0.0020 and 2.6e-6.
      EXPECT_LE(errors.max, gpu == &half_ ? 0.004 : 1e-5);
    }
  }
}

TEST_F(BakeVulkanTest, RenderReadsTheLutWhereItLies) {
  const Network network(kNano, 16, true, VERA_PRECISION_FLOAT32);
  const CpuRenderer renderer = OnCpu(network);
  const Look shape = MakeLook(33, 17, false);
  for (const Gpu* gpu : {&float_, &half_}) {
    const GpuRenderer uploaded = OnGpu(*gpu, renderer);
    const GpuLut lut = Bake(*gpu, uploaded, network.latents.data(), kFull, nullptr, 17);
    const std::vector<float> nodes = Read(*gpu, lut, 17);
    vera_look look = Full(shape.view), curves = look;
    look.lut = nodes.data();
    curves.lut = nullptr;
    for (const vera_pixel_format format : kGpuFormats) {
      Pixels src(format, 333, 77);
      src.Fill();
      Pixels uploaded_lut(src), baked_lut(src);
      const vera_render_options options = Options(0.8f);
      ASSERT_EQ(0, vera_gpu_render(gpu->get(), &look, &src.frame, &uploaded_lut.frame, &options));
      ASSERT_EQ(0, vera_gpu_render_lut(gpu->get(), &curves, lut.get(), &src.frame,
                                       &baked_lut.frame, &options));
      EXPECT_EQ(uploaded_lut.bytes, baked_lut.bytes) << format;
    }
  }
}

// The shader's halves end at 65504 and flush below 6e-8: a layer's scale keeps weights between.
TEST_F(BakeVulkanTest, LargeAndSmallWeightsMatchReference) {
  for (const float factor : {1e-20f, 1e-6f, 2000.0f}) {
    Network network({40, 56, 72}, 7, false, VERA_PRECISION_FLOAT32);
    // LayerNorm takes the factor off again.
    std::vector<float> weight(network.layers[1].weight, network.layers[1].weight + 56 * 40);
    std::vector<float> bias(network.layers[1].bias, network.layers[1].bias + 56);
    std::vector<float> norm(network.layers[0].norm_weight, network.layers[0].norm_weight + 40);
    for (float& value : weight) value *= factor;
    for (float& value : bias) value *= factor;
    for (float& value : norm) value *= factor > 1.0f ? 30.0f : 1.0f;
    network.layers[1].weight = weight.data();
    network.layers[1].bias = bias.data();
    network.layers[0].norm_weight = norm.data();
    network.weights.norm_epsilon = 1e-12f;
    const Errors single = Check(float_, network, kFull, 5), half = Check(half_, network, kFull, 5);
    std::printf("weights times %.0e: float max %.2g, half max %.2g\n",
                static_cast<double>(factor), single.max, half.max);
    EXPECT_LE(single.max, 1e-5);
    EXPECT_LE(half.max, 0.004);
  }
}

struct Calls {
  int64_t count = 0, last = 0;
  int32_t cancel = 0;
  bool cancel_at_once = false;
};

void CountCalls(void* user, int64_t done, int64_t total) {
  Calls* calls = static_cast<Calls*>(user);
  EXPECT_GT(done, calls->last);
  EXPECT_EQ(33 * 33 * 33, total);
  ++calls->count;
  calls->last = done;
  if (calls->cancel_at_once) *const_cast<volatile int32_t*>(&calls->cancel) = 1;
}

TEST_F(BakeVulkanTest, CancelAndProgress) {
  const Network network({8}, 5, false, VERA_PRECISION_FLOAT32);
  const CpuRenderer renderer = OnCpu(network);
  const GpuRenderer uploaded = OnGpu(float_, renderer);
  for (const bool cancel : {false, true}) {
    Calls calls;
    calls.cancel_at_once = cancel;
    vera_bake_options options = BakeOptions();
    options.cancel = &calls.cancel;
    options.progress = CountCalls;
    options.user = &calls;
    vera_gpu_lut* lut = nullptr;
    EXPECT_EQ(cancel ? VERA_STATUS_CANCELLED : VERA_STATUS_OK,
              vera_gpu_bake(float_.get(), uploaded.get(), network.latents.data(), kFull, nullptr,
                            33, &lut, &options));
    EXPECT_EQ(cancel, lut == nullptr);
    vera_gpu_lut_destroy(lut);
    EXPECT_EQ(cancel ? 1 : 9, calls.count);
    EXPECT_EQ(cancel ? 4096 : 33 * 33 * 33, calls.last);
  }
}

TEST_F(BakeVulkanTest, UnfitNetworksAreUnsupported) {
  vera_gpu_renderer* made = nullptr;
  for (const std::vector<int>& widths : {std::vector<int>{257, 8}, {8, 8}}) {
    const bool int8 = widths[0] == 8;
    const Network network(widths, 5, false, int8 ? VERA_PRECISION_INT8 : VERA_PRECISION_FLOAT32);
    const CpuRenderer renderer = OnCpu(network);
    EXPECT_EQ(VERA_STATUS_UNSUPPORTED_FORMAT,
              vera_gpu_renderer_create(float_.get(), renderer.get(), &made));
    EXPECT_EQ(nullptr, made);
  }
}

TEST_F(BakeVulkanTest, BadArgumentsAreRefused) {
  const Network network({8, 8}, 5, false, VERA_PRECISION_FLOAT32);
  const CpuRenderer renderer = OnCpu(network);
  vera_gpu_renderer* made = nullptr;
  EXPECT_EQ(1, vera_gpu_renderer_create(nullptr, renderer.get(), &made));
  EXPECT_EQ(1, vera_gpu_renderer_create(float_.get(), nullptr, &made));
  EXPECT_EQ(1, vera_gpu_renderer_create(float_.get(), renderer.get(), nullptr));
  const GpuRenderer uploaded = OnGpu(float_, renderer);
  const vera_bake_options good = BakeOptions();
  const float* latents = network.latents.data();
  vera_gpu_lut* lut = nullptr;
  const auto bake = [&](const vera_gpu_renderer* from, const float* values, const float* factors,
                        int32_t size, const vera_bake_options* options) {
    const vera_status status =
        vera_gpu_bake(float_.get(), from, values, factors, nullptr, size, &lut, options);
    EXPECT_EQ(nullptr, lut);
    return status;
  };
  EXPECT_EQ(1, bake(nullptr, latents, kFull, 5, &good));
  EXPECT_EQ(1, bake(uploaded.get(), nullptr, kFull, 5, &good));
  EXPECT_EQ(1, bake(uploaded.get(), latents, nullptr, 5, &good));
  EXPECT_EQ(1, bake(uploaded.get(), latents, kFull, 1, &good));
  EXPECT_EQ(1, bake(uploaded.get(), latents, kFull, 130, &good));
  EXPECT_EQ(1, bake(uploaded.get(), latents, kFull, 5, nullptr));
  const float wrong[3] = {1.0f, 1.6f, std::nanf("")};
  EXPECT_EQ(1, bake(uploaded.get(), latents, wrong, 5, &good));
  EXPECT_EQ(1, vera_gpu_bake(nullptr, uploaded.get(), latents, kFull, nullptr, 5, &lut, &good));
  EXPECT_EQ(1, vera_gpu_bake(half_.get(), uploaded.get(), latents, kFull, nullptr, 5, &lut,
                             &good));  // made with another device
  EXPECT_EQ(1, vera_gpu_bake(float_.get(), uploaded.get(), latents, kFull, nullptr, 5, nullptr,
                             &good));
}

TEST_F(BakeVulkanTest, BadLutsAreRefused) {
  const Network network({8, 8}, 5, false, VERA_PRECISION_FLOAT32);
  const CpuRenderer renderer = OnCpu(network);
  const GpuRenderer uploaded = OnGpu(float_, renderer);
  const GpuLut lut = Bake(float_, uploaded, network.latents.data(), kFull, nullptr, 5);
  float nodes[375];
  EXPECT_EQ(1, vera_gpu_lut_read(half_.get(), lut.get(), nodes));
  EXPECT_EQ(1, vera_gpu_lut_read(nullptr, lut.get(), nodes));
  EXPECT_EQ(1, vera_gpu_lut_read(float_.get(), nullptr, nodes));
  EXPECT_EQ(1, vera_gpu_lut_read(float_.get(), lut.get(), nullptr));
  const Look shape = MakeLook(33, 5, false);
  const vera_look with_lut = Full(shape.view);
  vera_look curves = with_lut;
  curves.lut = nullptr;
  Pixels picture(VERA_PIXEL_FORMAT_RGBA8, 4, 4);
  const vera_frame& frame = picture.frame;
  const vera_render_options options = Options(1.0f);
  const auto render = [&](const Gpu& gpu, const vera_look& look, const vera_gpu_lut* from) {
    return vera_gpu_render_lut(gpu.get(), &look, from, &frame, &frame, &options);
  };
  EXPECT_EQ(0, render(float_, curves, lut.get()));
  EXPECT_EQ(1, render(float_, with_lut, lut.get()));
  EXPECT_EQ(1, render(float_, curves, nullptr));
  EXPECT_EQ(1, render(half_, curves, lut.get()));
  EXPECT_EQ(1, vera_gpu_render_lut(nullptr, &curves, lut.get(), &frame, &frame, &options));
  EXPECT_EQ(1, vera_gpu_render(float_.get(), &curves, &frame, &frame, &options));
  vera_look larger = curves;
  larger.lut_size = 6;
  EXPECT_EQ(1, render(float_, larger, lut.get()));
  curves.curves = nullptr;
  EXPECT_EQ(1, render(float_, curves, lut.get()));
}

TEST_F(BakeVulkanTest, RendererAndLutOutliveTheirDevice) {
  const Network network({8, 8}, 5, false, VERA_PRECISION_FLOAT32);
  const CpuRenderer renderer = OnCpu(network);
  GpuRenderer uploaded = OnGpu(float_, renderer);
  GpuLut lut = Bake(float_, uploaded, network.latents.data(), kFull, nullptr, 5);
  float_.reset();
  uploaded.reset();
  lut.reset();
}

TEST_F(BakeVulkanTest, ThreadsWaitForEachOther) {
  const Network network({16, 24}, 5, false, VERA_PRECISION_FLOAT32);
  const CpuRenderer renderer = OnCpu(network);
  const GpuRenderer uploaded = OnGpu(float_, renderer);
  const float* latents = network.latents.data();
  const GpuLut first = Bake(float_, uploaded, latents, kFull, nullptr, 9);
  const std::vector<float> expected = Read(float_, first, 9);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 3; ++turn) {
        const GpuLut lut = Bake(float_, uploaded, latents, kFull, nullptr, 9);
        EXPECT_EQ(expected, Read(float_, lut, 9));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A shader whose 87.0, the bound of the sigmoid, is 0.5 stands for a driver that computes wrongly.
TEST_F(BakeVulkanTest, DeviceThatBakesAnotherLutIsRefused) {
  for (const bool half : {false, true}) {
    Shaders shaders = ShadersOf(half);
    std::vector<uint32_t> words(shaders.bake.words,
                                shaders.bake.words + shaders.bake.bytes / 4);
    const float right = 87.0f, wrong = 0.5f;
    uint32_t right_bits, wrong_bits;
    std::memcpy(&right_bits, &right, 4);
    std::memcpy(&wrong_bits, &wrong, 4);
    ASSERT_LT(0, std::count(words.begin(), words.end(), right_bits));
    std::replace(words.begin(), words.end(), right_bits, wrong_bits);
    shaders.bake.words = words.data();
    DeviceRequest request;
    request.index = DeviceIndex();
    request.half = half;
    std::unique_ptr<Renderer> renderer;
    std::string why;
    ASSERT_EQ(0, Renderer::Open(request, shaders, &renderer, &why)) << why;
    EXPECT_EQ(VERA_STATUS_UNSUPPORTED_FORMAT, renderer->SelfTest(&why));
    EXPECT_NE(std::string::npos, why.find("another LUT")) << why;
  }
}

}  // namespace
}  // namespace vera
