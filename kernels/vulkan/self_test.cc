// Small pictures of every format and a small bake on the device and on the CPU: what decides
// whether to trust it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "vera/vera.h"
#include "vulkan/renderer.h"

namespace vera {
namespace {

constexpr int kWidth = 67, kHeight = 9;  // no multiple of a group of threads
constexpr int kSamples = 4 * kWidth * kHeight;
constexpr int kLutSize = 9, kCurveSize = 17;

// The same numbers everywhere: a linear congruential generator, as in the tests.
struct Noise {
  uint32_t state = 7;
  uint32_t Bits() { return (state = state * 1664525u + 1013904223u) >> 8; }
  float Unit() { return static_cast<float>(Bits()) / 16777216.0f; }
};

struct TestLook {
  std::vector<float> curves, lut, output_curves;
  vera_look look = {};
};

TestLook MakeLook() {
  TestLook made;
  Noise noise;
  for (int i = 0; i < 3 * kCurveSize; ++i) {
    const float x = static_cast<float>(i % kCurveSize) / (kCurveSize - 1);
    made.curves.push_back(x * (2.0f - x));
    made.output_curves.push_back(x * x);
  }
  for (int i = 0; i < 3 * kLutSize * kLutSize * kLutSize; ++i) made.lut.push_back(noise.Unit());
  made.look.struct_size = sizeof(made.look);
  made.look.curves = made.curves.data();
  made.look.curve_size = kCurveSize;
  made.look.lut = made.lut.data();
  made.look.lut_size = kLutSize;
  made.look.output_curves = made.output_curves.data();
  made.look.output_curve_size = kCurveSize;
  return made;
}

// Random codes, or floats in [-0.5, 1.5]; halves are codes of 0 to 1.5.
std::vector<uint8_t> MakePixels(const FormatInfo& info) {
  Noise noise;
  std::vector<uint8_t> bytes(static_cast<size_t>(kSamples * info.unit_bytes));
  for (int i = 0; i < kSamples; ++i) {
    const float value = 2.0f * noise.Unit() - 0.5f;
    const uint16_t half = static_cast<uint16_t>(noise.Bits() % 0x3E00u);
    const uint8_t code = static_cast<uint8_t>(noise.Bits());
    const void* from = info.unit_bytes == 4 ? static_cast<const void*>(&value)
                       : info.unit_bytes == 2 ? static_cast<const void*>(&half)
                                              : &code;
    std::memcpy(&bytes[static_cast<size_t>(i * info.unit_bytes)], from,
                static_cast<size_t>(info.unit_bytes));
  }
  return bytes;
}

vera_frame FrameOf(vera_pixel_format format, const FormatInfo& info, std::vector<uint8_t>* bytes) {
  vera_frame frame = {};
  frame.struct_size = sizeof(frame);
  frame.format = format;
  frame.width = kWidth;
  frame.height = kHeight;
  frame.planes[0] = bytes->data();
  frame.row_stride_bytes[0] = kWidth * info.pixel_bytes;
  return frame;
}

double SampleAt(const FormatInfo& info, const std::vector<uint8_t>& bytes, int i) {
  const uint8_t* at = &bytes[static_cast<size_t>(i * info.unit_bytes)];
  uint16_t half;
  float value;
  switch (info.unit_bytes) {
    case 1: return *at;
    case 2: std::memcpy(&half, at, 2); return static_cast<double>(HalfToFloat(half));
    default: std::memcpy(&value, at, 4); return static_cast<double>(value);
  }
}

// Largest difference that is still right, in codes or values.
double Allowed(const FormatInfo& info, bool half, double expected) {
  if (info.unit_bytes == 1) return 1.0;
  const double steps = half ? 0.004 : 1e-5;
  const double half_step = std::max(std::fabs(expected), 0x1p-10) * 0x1p-10;
  return info.unit_bytes == 2 ? std::max(steps, half_step) : steps;
}

bool Agree(const FormatInfo& info, bool half, const std::vector<uint8_t>& expected,
           const std::vector<uint8_t>& actual) {
  for (int i = 0; i < kSamples; ++i) {
    const double x = SampleAt(info, expected, i), y = SampleAt(info, actual, i);
    // Written so that NaN fails.
    if (!(std::fabs(x - y) <= Allowed(info, half, x))) return false;
  }
  return true;
}

// A network of random weights whose layers need two passes of the shader, padding, and a last
// thread with nothing to do.
constexpr int32_t kWidths[3] = {20, 130, 300};
constexpr int32_t kLatentSize = 5;

class TestNetwork {
 public:
  TestNetwork() {
    int32_t inputs = 3;
    for (size_t i = 0; i < 3; ++i) {
      const int32_t width = kWidths[i];
      layers_[i] = {Fill(width * inputs, 3.0f / std::sqrt(static_cast<float>(inputs))),
                    Fill(width, 0.5f), Fill(width, 1.0f), Fill(width, 0.1f),
                    Fill(width * 3 * kLatentSize, 0.3f), Fill(width, 0.1f), width, 0};
      inputs = width;
    }
    vera_renderer_weights weights = {};
    weights.struct_size = sizeof(weights);
    weights.layers = layers_;
    weights.out_weight = Fill(3 * inputs, 3.0f / std::sqrt(static_cast<float>(inputs)));
    weights.out_bias = Fill(3, 0.1f);
    weights.layer_count = 3;
    weights.latent_size = kLatentSize;
    weights.output = VERA_RENDERER_OUTPUT_SIGMOID;
    weights.norm_epsilon = 1e-5f;
    latents_ = Fill(3 * kLatentSize, 1.0f);
    status_ = vera_renderer_create(&weights, &renderer_);
  }
  ~TestNetwork() { vera_renderer_destroy(renderer_); }
  TestNetwork(const TestNetwork&) = delete;
  TestNetwork& operator=(const TestNetwork&) = delete;
  const vera_renderer* renderer() const { return renderer_; }
  const float* latents() const { return latents_; }
  vera_status status() const { return status_; }

 private:
  // Uniform in +-bound.
  const float* Fill(int32_t count, float bound) {
    std::vector<float> numbers;
    for (int32_t i = 0; i < count; ++i) numbers.push_back(bound * (2.0f * noise_.Unit() - 1.0f));
    values_.push_back(std::move(numbers));
    return values_.back().data();  // moving a vector leaves its numbers where they are
  }
  Noise noise_;
  std::vector<std::vector<float>> values_;
  vera_renderer_layer layers_[3];
  const float* latents_;
  vera_renderer* renderer_ = nullptr;
  vera_status status_;
};

}  // namespace

vera_status Renderer::SelfTest(std::string* why) {
  const vera_status status = SelfTestRender(why);
  return status == VERA_STATUS_OK ? SelfTestBake(why) : status;
}

// The LUT on the device against the CPU's, then a picture that is rendered with it against one that
// is rendered with what was read back.
vera_status Renderer::SelfTestBake(std::string* why) {
  const TestNetwork network;
  const float strengths[3] = {1.0f, 0.5f, 1.5f};
  vera_bake_options options = {};
  options.struct_size = sizeof(options);
  options.threads = 1;
  std::vector<float> expected(3 * kLutSize * kLutSize * kLutSize), actual(expected.size());
  DeviceNetwork uploaded;
  DeviceLut lut;
  vera_status status = network.status();
  if (status == VERA_STATUS_OK) {
    status = vera_bake(network.renderer(), network.latents(), strengths, nullptr, kLutSize,
                       expected.data(), &options);
  }
  if (status == VERA_STATUS_OK) status = Upload(network.renderer(), &uploaded);
  if (status == VERA_STATUS_OK) {
    status = Bake(&uploaded, network.latents(), strengths, nullptr, kLutSize, &options, &lut);
  }
  if (status != VERA_STATUS_OK) return status;
  ReadNodes(lut, actual.data());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!(std::fabs(expected[i] - actual[i]) <= (half_ ? 0.004f : 1e-5f))) {
      *why = device_->name() + " bakes another LUT than the CPU";
      return VERA_STATUS_UNSUPPORTED_FORMAT;
    }
  }
  return SelfTestBakedRender(lut, actual, why);
}

vera_status Renderer::SelfTestBakedRender(const DeviceLut& lut, const std::vector<float>& nodes,
                                          std::string* why) {
  FormatInfo info;
  GetFormatInfo(VERA_PIXEL_FORMAT_RGBA8, &info);
  TestLook test = MakeLook();
  test.look.output_curves = nullptr;
  test.look.output_curve_size = 0;
  vera_look curves = test.look;
  curves.lut = nullptr;
  test.look.lut = nodes.data();
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  options.strength = 1.0f;
  options.threads = 1;
  std::vector<uint8_t> expected = MakePixels(info), actual = expected;
  const vera_frame on_cpu = FrameOf(VERA_PIXEL_FORMAT_RGBA8, info, &expected);
  const vera_frame on_gpu = FrameOf(VERA_PIXEL_FORMAT_RGBA8, info, &actual);
  vera_status status = vera_render_frame(&test.look, &on_cpu, &on_cpu, &options);
  if (status == VERA_STATUS_OK) status = Render(&curves, &lut, &on_gpu, &on_gpu, &options);
  if (status == VERA_STATUS_OK && !Agree(info, half_, expected, actual)) {
    *why = device_->name() + " renders its own LUT in other colours than the CPU";
    status = VERA_STATUS_UNSUPPORTED_FORMAT;
  }
  return status;
}

vera_status Renderer::SelfTestRender(std::string* why) {
  TestLook test = MakeLook();
  for (const vera_pixel_format format : {VERA_PIXEL_FORMAT_RGBA8, VERA_PIXEL_FORMAT_BGRA8,
                                         VERA_PIXEL_FORMAT_RGBAF16, VERA_PIXEL_FORMAT_RGBAF32}) {
    for (int kind = 0; kind < 4; ++kind) {
      FormatInfo info;
      GetFormatInfo(format, &info);
      vera_render_options options = {};
      options.struct_size = sizeof(options);
      options.strength = kind % 2 == 0 ? 0.8f : 1.0f;
      options.threads = 1;
      options.interpolation = kind / 2;
      options.dither = kind == 2 && !info.is_float() ? VERA_DITHER_ORDERED : VERA_DITHER_NONE;
      options.out_of_range =
          kind == 2 && info.is_float() ? VERA_OUT_OF_RANGE_EXTEND : VERA_OUT_OF_RANGE_CLAMP;
      test.look.output_curves = kind == 1 ? test.output_curves.data() : nullptr;
      test.look.output_curve_size = kind == 1 ? kCurveSize : 0;
      std::vector<uint8_t> expected = MakePixels(info), actual = expected;
      const vera_frame on_cpu = FrameOf(format, info, &expected);
      const vera_frame on_gpu = FrameOf(format, info, &actual);
      vera_status status = vera_render_frame(&test.look, &on_cpu, &on_cpu, &options);
      if (status == VERA_STATUS_OK) {
        status = Render(&test.look, nullptr, &on_gpu, &on_gpu, &options);
      }
      if (status != VERA_STATUS_OK) return status;
      if (!Agree(info, half_, expected, actual)) {
        *why = device_->name() + " computes other colours than the CPU";
        return VERA_STATUS_UNSUPPORTED_FORMAT;
      }
    }
  }
  return VERA_STATUS_OK;
}

}  // namespace vera
