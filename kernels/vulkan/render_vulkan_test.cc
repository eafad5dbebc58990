// The Vulkan renderer against the double-precision reference. A machine without a device fails
// these tests, unless VERA_GPU_TESTS_SKIP=1 says that they are not wanted there.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "vera/vera_gpu.h"
#include "vulkan/gpu_test_util.h"
#include "vulkan/renderer.h"

namespace vera {
namespace {

constexpr vera_status kUnsupported = VERA_STATUS_UNSUPPORTED_FORMAT;

vera_gpu_options OpenOptions(vera_gpu_precision precision) {
  vera_gpu_options options = {};
  options.struct_size = sizeof(options);
  options.device_index = DeviceIndex();
  options.precision = precision;
  return options;
}

class RenderVulkanTest : public testing::Test {
 protected:
  void SetUp() override {
    if (SkipIsAskedFor()) GTEST_SKIP() << "VERA_GPU_TESTS_SKIP=1";
    ASSERT_NO_FATAL_FAILURE(Open(VERA_GPU_PRECISION_FLOAT, &gpu_));
  }
  void TearDown() override {
    vera_gpu_close(gpu_);
    vera_gpu_close(half_);
  }
  static void Open(vera_gpu_precision precision, vera_gpu** gpu) {
    char message[200];
    const vera_gpu_options options = OpenOptions(precision);
    ASSERT_EQ(VERA_STATUS_OK, vera_gpu_open(&options, gpu, message, sizeof(message))) << message;
    ASSERT_STREQ("", message);
  }
  // Renders in place on the device and with `on_cpu` on the CPU.
  Difference Check(vera_gpu* gpu, const vera_look& look, const Pixels& src,
                   const vera_render_options& options) {
    Pixels expected(src), actual(src);
    RenderReference(look, src.frame, expected.frame, options);
    EXPECT_EQ(0, vera_gpu_render(gpu, &look, &actual.frame, &actual.frame, &options));
    return Compare(expected, actual);
  }
  vera_gpu* gpu_ = nullptr;
  vera_gpu* half_ = nullptr;
};

TEST_F(RenderVulkanTest, MatchesReference) {
  const Look look = MakeLook(17, 9, false);
  for (const vera_pixel_format format : kGpuFormats) {
    for (const int64_t width : {1, 7, 16, 17, 33, 129, 1000}) {
      for (const float strength : {0.0f, 0.6f, 1.0f, 1.5f}) {
        Pixels src(format, width, 9);
        src.Fill();
        const Difference found = Check(gpu_, Full(look.view), src, Options(strength));
        ASSERT_LE(found.worst, 1.0)
            << "format " << format << " width " << width << " strength " << strength;
        const bool kept = strength == 0.0f && !src.info.is_float();
        ASSERT_LE(found.largest, kept ? 0.0 : HUGE_VAL);
      }
    }
  }
}

TEST_F(RenderVulkanTest, OptionsMatchReference) {
  const Look look = MakeLook(17, 9, false), second = MakeLook(33, 2, false);
  for (int kind = 0; kind < 16; ++kind) {
    vera_look full = Full(look.view);
    full.output_curves = kind & 2 ? second.curves.data() : nullptr;
    full.output_curve_size = kind & 2 ? 33 : 0;
    vera_render_options options = Options(kind & 8 ? 1.0f : 1.3f);
    options.interpolation = kind & 1;
    options.origin_x = 5;
    options.origin_y = -1000;
    for (const vera_pixel_format format : kGpuFormats) {
      Pixels src(format, 143, 11);
      src.Fill();
      options.out_of_range = (kind & 4) && src.info.is_float() ? 1 : 0;
      options.dither = (kind & 4) && !src.info.is_float() ? 1 : 0;
      ASSERT_LE(Check(gpu_, full, src, options).worst, 1.0) << kind << " format " << format;
    }
  }
}

// Every third code of each channel: 85^3 colours and as many roundings.
TEST_F(RenderVulkanTest, AlmostEveryCodeIsTheReferences) {
  const Look look = MakeLook(33, 33, false);
  Pixels src(VERA_PIXEL_FORMAT_RGBA8, 86 * 86, 86, 0);
  for (size_t i = 0; i < src.samples(); ++i) {
    const size_t pixel = i / 4;
    const size_t steps[4] = {pixel % 86, pixel / 86 % 86, pixel / 86 / 86, 85};
    src.bytes[i] = static_cast<uint8_t>(3 * steps[i % 4]);
  }
  for (const float strength : {1.0f, 0.8f}) {
    const Difference found = Check(gpu_, Full(look.view), src, Options(strength));
    RecordProperty("equal_to_reference", std::to_string(found.equal));
    std::printf("strength %.1f: %.6f of the codes are the reference's\n",
                static_cast<double>(strength), found.equal);
    EXPECT_LE(found.largest, 1.0);
    // float32 beside the middle between two codes; measured 0.99997 on llvmpipe.
    EXPECT_GE(found.equal, 0.9999);
    Pixels cpu(src), gpu(src);
    const vera_look full = Full(look.view);
    const vera_render_options options = Options(strength);
    ASSERT_EQ(0, vera_render_frame(&full, &cpu.frame, &cpu.frame, &options));
    ASSERT_EQ(0, vera_gpu_render(gpu_, &full, &gpu.frame, &gpu.frame, &options));
    const Difference kernel = Compare(cpu, gpu);
    std::printf("strength %.1f: %.6f of the codes are the CPU kernel's\n",
                static_cast<double>(strength), kernel.equal);
    EXPECT_LE(kernel.largest, 1.0);
    // The CPU's 8-bit integers miss the nearest code in 0.2 % of this look; measured 0.9981.
    EXPECT_GE(kernel.equal, 0.997);
  }
}

TEST_F(RenderVulkanTest, FloatsAreTheReferencesTo1e5) {
  const Look look = MakeLook(33, 33, false);
  for (const vera_pixel_format format : {VERA_PIXEL_FORMAT_RGBAF32, VERA_PIXEL_FORMAT_RGBAF16}) {
    Pixels src(format, 1003, 99);
    src.Fill();
    Pixels cpu(src), gpu(src);
    const vera_look full = Full(look.view);
    const vera_render_options options = Options(0.8f);
    const Difference found = Check(gpu_, full, src, options);
    ASSERT_EQ(0, vera_render_frame(&full, &cpu.frame, &cpu.frame, &options));
    ASSERT_EQ(0, vera_gpu_render(gpu_, &full, &gpu.frame, &gpu.frame, &options));
    const double same = Compare(cpu, gpu).equal;
    std::printf("format %d: largest error %.3g; %.6f of the samples are the CPU kernel's\n", format,
                found.largest, same);
    EXPECT_LE(found.worst, 1.0);
    // The shader adds and multiplies in the CPU's order; llvmpipe gives its bits for all samples.
    EXPECT_GE(same, 0.99);
  }
}

TEST_F(RenderVulkanTest, HalfPrecisionStaysWithinOneCode) {
  ASSERT_NO_FATAL_FAILURE(Open(VERA_GPU_PRECISION_HALF, &half_));
  const Look look = MakeLook(33, 17, false);
  for (int kind = 0; kind < 4; ++kind) {
    vera_render_options options = Options(kind % 2 == 0 ? 1.0f : 0.8f);
    options.interpolation = kind / 2;
    for (const vera_pixel_format format : kGpuFormats) {
      Pixels src(format, 1003, 99);
      src.Fill();
      const Difference found = Check(half_, Full(look.view), src, options);
      std::printf("half, kind %d, format %d: largest error %.3g, %.4f equal\n", kind, format,
                  found.largest, found.equal);
      EXPECT_LE(found.largest, src.info.is_float() ? 0.002 : 1.0) << kind << " " << format;
    }
  }
}

TEST_F(RenderVulkanTest, IdentityKeepsEveryCode) {
  for (const int lut_size : {2, 17, 33, 129}) {
    const Look look = MakeLook(256, lut_size, true);
    const vera_look full = Full(look.view);
    for (const vera_pixel_format format : {VERA_PIXEL_FORMAT_RGBA8, VERA_PIXEL_FORMAT_BGRA8}) {
      for (const int32_t dither : {0, 1}) {
        for (const float strength : {0.5f, 1.0f}) {
          Pixels src(format, 256, 256, 0);
          src.Fill();
          Pixels out(src);
          vera_render_options options = Options(strength);
          options.dither = dither;
          ASSERT_EQ(0, vera_gpu_render(gpu_, &full, &src.frame, &out.frame, &options));
          EXPECT_EQ(src.bytes, out.bytes) << lut_size << " " << format << " " << dither;
        }
      }
    }
  }
}

TEST_F(RenderVulkanTest, GreyStaysGrey) {
  Look look = MakeLook(33, 9, true);
  for (float& v : look.lut) v = v * (2.0f - v);
  look.view.lut = look.lut.data();
  Pixels src(VERA_PIXEL_FORMAT_RGBAF32, 4096, 1, 0);
  float* samples = reinterpret_cast<float*>(src.bytes.data());
  for (int i = 0; i < 4 * 4096; ++i) samples[i] = static_cast<float>(i / 4) / 4095.0f;
  const vera_look full = Full(look.view);
  const vera_render_options options = Options(1.0f);
  ASSERT_EQ(0, vera_gpu_render(gpu_, &full, &src.frame, &src.frame, &options));
  for (int i = 0; i < 4096; ++i) {
    ASSERT_EQ(samples[4 * i], samples[4 * i + 1]) << i;
    ASSERT_EQ(samples[4 * i], samples[4 * i + 2]) << i;
    ASSERT_GE(samples[4 * i], i > 0 ? samples[4 * i - 4] : 0.0f) << i;
  }
}

// More than one tile in both directions; the row gaps and what is outside stay as they were.
TEST_F(RenderVulkanTest, TiledMatchesWhole) {
  const Look look = MakeLook(17, 9, false);
  const vera_look full = Full(look.view);
  vera_render_options options = Options(0.9f);
  options.dither = VERA_DITHER_ORDERED;
  Pixels src(VERA_PIXEL_FORMAT_RGBA8, kGpuTileWidth + 37, 300, 5);
  src.Fill();
  Pixels whole(src), expected(src);
  ASSERT_EQ(0, vera_gpu_render(gpu_, &full, &src.frame, &whole.frame, &options));
  RenderReference(full, src.frame, expected.frame, options);
  EXPECT_LE(Compare(expected, whole).largest, 1.0);
  Pixels pieces(src);
  for (int64_t x = 0; x < src.frame.width; x += 1777) {
    vera_frame from = src.frame, to = pieces.frame;
    from.planes[0] = src.bytes.data() + 4 * x;
    to.planes[0] = pieces.bytes.data() + 4 * x;
    from.width = to.width = std::min<int64_t>(1777, src.frame.width - x);
    options.origin_x = x;
    ASSERT_EQ(0, vera_gpu_render(gpu_, &full, &from, &to, &options));
  }
  EXPECT_EQ(whole.bytes, pieces.bytes);
}

TEST_F(RenderVulkanTest, LookTypesAndSizesMatchReference) {
  for (const int lut_size : {2, 65, 129}) {
    const Look look = MakeLook(lut_size == 2 ? 2 : 4096, lut_size, false);
    std::vector<uint16_t> codes[2];  // halves of [0.125, 0.25), and codes of 16 bits
    for (const float v : look.lut) {
      codes[0].push_back(static_cast<uint16_t>(0x3000 + static_cast<int>(v * 1023.0f)));
      codes[1].push_back(static_cast<uint16_t>(v * 65535.0f));
    }
    for (const vera_value_type type :
         {VERA_VALUE_FLOAT32, VERA_VALUE_FLOAT16, VERA_VALUE_UNORM16}) {
      vera_look full = Full(look.view);
      full.lut_type = type;
      if (type != VERA_VALUE_FLOAT32) full.lut = codes[type == VERA_VALUE_FLOAT16 ? 0 : 1].data();
      for (const vera_pixel_format format : kGpuFormats) {
        Pixels src(format, 501, 13);
        src.Fill();
        const Difference found = Check(gpu_, full, src, Options(1.0f));
        EXPECT_LE(found.worst, 1.0) << lut_size << " type " << type << " format " << format;
      }
    }
  }
}

TEST_F(RenderVulkanTest, LargeLutValuesMatchReference) {
  Look look = MakeLook(17, 9, false);
  look.lut[5] = 3.0f;
  look.lut[40] = -3.0f;
  for (const vera_pixel_format format : kGpuFormats) {
    Pixels src(format, 401, 13);
    src.Fill();
    EXPECT_LE(Check(gpu_, Full(look.view), src, Options(1.5f)).worst, 1.0) << format;
  }
}

struct Calls {
  int64_t count = 0, last = 0, total = 0;
  int32_t cancel = 0;
  bool cancel_at_once = false;
};

void CountCalls(void* user, int64_t done, int64_t total) {
  Calls* calls = static_cast<Calls*>(user);
  EXPECT_GT(done, calls->last);
  ++calls->count;
  calls->last = done;
  calls->total = total;
  if (calls->cancel_at_once) *const_cast<volatile int32_t*>(&calls->cancel) = 1;
}

TEST_F(RenderVulkanTest, CancelAndProgress) {
  const Look look = MakeLook(2, 2, true);
  const vera_look full = Full(look.view);
  Pixels picture(VERA_PIXEL_FORMAT_RGBA8, 2048, 1500, 0);
  for (const bool cancel : {false, true}) {
    Calls calls;
    calls.cancel_at_once = cancel;
    vera_render_options options = Options(1.0f);
    options.cancel = &calls.cancel;
    options.progress = CountCalls;
    options.user = &calls;
    EXPECT_EQ(cancel ? VERA_STATUS_CANCELLED : VERA_STATUS_OK,
              vera_gpu_render(gpu_, &full, &picture.frame, &picture.frame, &options));
    EXPECT_EQ(2048 * 1500, calls.total);
    EXPECT_EQ(cancel ? 1 : 3, calls.count);
    EXPECT_EQ(cancel ? kGpuTilePixels : calls.total, calls.last);
  }
}

TEST_F(RenderVulkanTest, BadArgumentsAreRefused) {
  const Look look = MakeLook(2, 2, true);
  const vera_look full = Full(look.view);
  const vera_render_options good = Options(1.0f);
  Pixels src(VERA_PIXEL_FORMAT_RGBAF32, 4, 4), dst(src);
  const vera_frame s = src.frame, d = dst.frame;
  ASSERT_EQ(0, vera_gpu_render(gpu_, &full, &s, &d, &good));
  EXPECT_EQ(1, vera_gpu_render(nullptr, &full, &s, &d, &good));
  EXPECT_EQ(1, vera_gpu_render(gpu_, nullptr, &s, &d, &good));
  EXPECT_EQ(1, vera_gpu_render(gpu_, &full, nullptr, &d, &good));
  EXPECT_EQ(1, vera_gpu_render(gpu_, &full, &s, nullptr, &good));
  EXPECT_EQ(1, vera_gpu_render(gpu_, &full, &s, &d, nullptr));
  for (const auto change : std::vector<void (*)(vera_frame&)>{
           [](vera_frame& v) { v.planes[0] = nullptr; }, [](vera_frame& v) { v.width = 5; },
           [](vera_frame& v) { v.height = -1; },
           [](vera_frame& v) { v.row_stride_bytes[0] = 60; },
           [](vera_frame& v) { v.row_stride_bytes[0] = PTRDIFF_MAX - 3; },
           [](vera_frame& v) { v.planes[0] = static_cast<char*>(v.planes[0]) + 1; },
           [](vera_frame& v) { v.format = 17; }}) {
    vera_frame bad_src = s, bad_dst = d;
    change(bad_src);
    change(bad_dst);
    EXPECT_EQ(1, vera_gpu_render(gpu_, &full, &bad_src, &d, &good));
    EXPECT_EQ(1, vera_gpu_render(gpu_, &full, &s, &bad_dst, &good));
  }
  vera_frame shifted = s;
  shifted.planes[0] = src.bytes.data() + 16;
  shifted.width = 3;
  vera_frame narrow = s;
  narrow.width = 3;
  EXPECT_EQ(1, vera_gpu_render(gpu_, &full, &narrow, &shifted, &good));  // partial overlap
  vera_render_options dither = good;
  dither.dither = VERA_DITHER_ORDERED;
  EXPECT_EQ(1, vera_gpu_render(gpu_, &full, &s, &d, &dither));
  vera_look bad = full;
  const float infinite[6] = {0.0f, HUGE_VALF, 0.0f, 1.0f, 0.0f, 1.0f};
  bad.curves = infinite;
  EXPECT_EQ(1, vera_gpu_render(gpu_, &bad, &s, &d, &good));
  Pixels rgb(VERA_PIXEL_FORMAT_RGB8, 4, 4), bytes(VERA_PIXEL_FORMAT_RGBA8, 4, 4);
  EXPECT_EQ(kUnsupported, vera_gpu_render(gpu_, &full, &rgb.frame, &rgb.frame, &good));
  EXPECT_EQ(kUnsupported, vera_gpu_render(gpu_, &full, &s, &bytes.frame, &good));
  vera_frame empty = s;
  empty.height = 0;
  empty.planes[0] = nullptr;
  EXPECT_EQ(0, vera_gpu_render(gpu_, &full, &empty, &empty, &good));
}

TEST_F(RenderVulkanTest, ThreadsWaitForEachOther) {
  const Look look = MakeLook(17, 9, false);
  const vera_look full = Full(look.view);
  const vera_render_options options = Options(0.7f);
  Pixels src(VERA_PIXEL_FORMAT_RGBA8, 333, 77);
  src.Fill();
  Pixels expected(src);
  ASSERT_EQ(0, vera_gpu_render(gpu_, &full, &src.frame, &expected.frame, &options));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 5; ++turn) {
        Pixels out(src);
        const vera_status status =
            vera_gpu_render(gpu_, &full, &out.frame, &out.frame, &options);
        if (status != VERA_STATUS_OK || Compare(expected, out).largest > 0.0) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0, wrong);
}

TEST_F(RenderVulkanTest, SelfTestAndName) {
  EXPECT_EQ(VERA_STATUS_OK, vera_gpu_self_test(gpu_));
  EXPECT_EQ(VERA_STATUS_INVALID_ARGUMENT, vera_gpu_self_test(nullptr));
  ASSERT_NE(nullptr, vera_gpu_device_name(gpu_));
  std::printf("device: %s\n", vera_gpu_device_name(gpu_));
  EXPECT_GT(std::strlen(vera_gpu_device_name(gpu_)), 2u);
  EXPECT_EQ(nullptr, vera_gpu_device_name(nullptr));
}

// A shader whose 255.0 is 250.0 stands for a driver that computes wrongly.
TEST_F(RenderVulkanTest, DeviceThatComputesOtherColoursIsRefused) {
  for (const bool half : {false, true}) {
    Shaders shaders = ShadersOf(half);
    Module& module = shaders.render;
    std::vector<uint32_t> words(module.words, module.words + module.bytes / 4);
    const float right = 255.0f, wrong = 250.0f;
    uint32_t right_bits, wrong_bits;
    std::memcpy(&right_bits, &right, 4);
    std::memcpy(&wrong_bits, &wrong, 4);
    ASSERT_LT(0, std::count(words.begin(), words.end(), right_bits));
    DeviceRequest request;
    request.index = DeviceIndex();
    request.half = half;
    for (const bool damaged : {false, true}) {
      if (damaged) std::replace(words.begin(), words.end(), right_bits, wrong_bits);
      module.words = words.data();
      std::unique_ptr<Renderer> renderer;
      std::string why;
      ASSERT_EQ(0, Renderer::Open(request, shaders, &renderer, &why)) << why;
      EXPECT_EQ(damaged ? kUnsupported : VERA_STATUS_OK, renderer->SelfTest(&why));
      EXPECT_EQ(damaged, why.find("other colours") != std::string::npos) << why;
    }
  }
}

TEST_F(RenderVulkanTest, MissingDevicesAreNamed) {
  vera_gpu* gpu = gpu_;
  char message[24];
  vera_gpu_options options = OpenOptions(VERA_GPU_PRECISION_FLOAT);
  options.device_index = 1000;
  EXPECT_EQ(kUnsupported, vera_gpu_open(&options, &gpu, message, sizeof(message)));
  EXPECT_EQ(nullptr, gpu);
  EXPECT_STREQ("no such Vulkan device a", message);  // cut to fit
  EXPECT_EQ(kUnsupported, vera_gpu_open(&options, &gpu, nullptr, 0));
  options.device_index = -2;
  EXPECT_EQ(1, vera_gpu_open(&options, &gpu, message, sizeof(message)));
  options = OpenOptions(2);
  EXPECT_EQ(1, vera_gpu_open(&options, &gpu, message, sizeof(message)));
  EXPECT_EQ(1, vera_gpu_open(nullptr, &gpu, message, sizeof(message)));
  EXPECT_EQ(1, vera_gpu_open(&options, nullptr, message, sizeof(message)));
  DeviceRequest request;
  std::shared_ptr<Device> device;
  std::string why;
  for (const char* library : {"libno_such_vulkan.so", "libm.so.6"}) {
    request.library = library;
    EXPECT_EQ(kUnsupported, Device::Open(request, &device, &why));
    EXPECT_NE(std::string::npos, why.find("Vulkan library")) << why;
  }
}

}  // namespace
}  // namespace vera
