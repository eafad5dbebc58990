// What the tests of the Vulkan backend share.
#ifndef VERA_VULKAN_GPU_TEST_UTIL_H_
#define VERA_VULKAN_GPU_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "ops/render/render.h"
#include "ops/render/render_test_util.h"
#include "vera/vera.h"

namespace vera {

constexpr vera_pixel_format kGpuFormats[] = {VERA_PIXEL_FORMAT_RGBA8, VERA_PIXEL_FORMAT_BGRA8,
                                             VERA_PIXEL_FORMAT_RGBAF16,
                                             VERA_PIXEL_FORMAT_RGBAF32};

inline bool SkipIsAskedFor() {
  const char* skip = std::getenv("VERA_GPU_TESTS_SKIP");
  return skip != nullptr && std::strcmp(skip, "1") == 0;
}

// Which of the system's devices is tested, VERA_GPU_TEST_DEVICE=N; the first by default.
inline int DeviceIndex() {
  const char* index = std::getenv("VERA_GPU_TEST_DEVICE");
  return index == nullptr ? 0 : std::atoi(index);
}

// Four channels that own their bytes; `padding` pixels are added to each row.
struct Pixels {
  Pixels(vera_pixel_format format, int64_t width, int64_t height, int64_t padding = 2) {
    GetFormatInfo(format, &info);
    const int64_t stride = (width + padding) * info.pixel_bytes;
    bytes.resize(static_cast<size_t>(stride * height));
    frame = {};
    frame.struct_size = sizeof(frame);
    frame.format = format;
    frame.width = width;
    frame.height = height;
    frame.row_stride_bytes[0] = static_cast<ptrdiff_t>(stride);
    frame.planes[0] = bytes.data();
  }
  Pixels(const Pixels& other) : info(other.info), frame(other.frame), bytes(other.bytes) {
    frame.planes[0] = bytes.data();
  }
  // Codes of all sizes; floats and halves in [-1, 2] with NaN and both infinities between.
  void Fill() {
    Random random;
    const float special[4] = {std::numeric_limits<float>::quiet_NaN(), HUGE_VALF, -HUGE_VALF,
                              -0.0f};
    const uint16_t special_half[4] = {0x7E00, 0x7C00, 0xFC00, 0x8000};
    for (size_t i = 0; i < samples(); ++i) {
      const bool odd = i % 17 == 5;
      const uint32_t bits = random.Bits();
      // Halves below 2, of either sign.
      const uint16_t half = odd ? special_half[i / 17 % 4]
                                : static_cast<uint16_t>(bits % 0x4000u | (bits >> 8 & 0x8000u));
      const float value = odd ? special[i / 17 % 4] : 3.0f * random.Unit() - 1.0f;
      uint8_t* at = &bytes[i * unit()];
      if (unit() == 1) *at = static_cast<uint8_t>(bits);
      if (unit() == 2) std::memcpy(at, &half, 2);
      if (unit() == 4) std::memcpy(at, &value, 4);
    }
  }
  size_t unit() const { return static_cast<size_t>(info.unit_bytes); }
  size_t samples() const { return bytes.size() / unit(); }
  double At(size_t i) const {
    uint16_t half;
    float value;
    switch (unit()) {
      case 1: return bytes[i];
      case 2:
        std::memcpy(&half, &bytes[2 * i], 2);
        return static_cast<double>(HalfToFloat(half));
      default: std::memcpy(&value, &bytes[4 * i], 4); return static_cast<double>(value);
    }
  }
  FormatInfo info;
  vera_frame frame;
  std::vector<uint8_t> bytes;
};

// How far one picture is from another.
struct Difference {
  double worst = 0.0;   // in units of what is allowed: one code, one step of half, 1e-5
  double largest = 0.0;  // in codes or values
  double equal = 1.0;   // share of the samples
};

inline Difference Compare(const Pixels& expected, const Pixels& actual) {
  Difference result;
  size_t different = 0;
  for (size_t i = 0; i < expected.samples(); ++i) {
    const double x = expected.At(i), y = actual.At(i);
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    ++different;
    double allowed = 1.0;
    if (expected.unit() == 2) allowed = std::max(std::fabs(x), 0x1p-10) * 0x1p-10;
    if (expected.unit() == 4) allowed = 1e-5 * std::max(1.0, std::fabs(x));
    double error = std::fabs(x - y);
    if (std::isnan(error)) error = HUGE_VAL;
    result.largest = std::max(result.largest, error);
    result.worst = std::max(result.worst, error / allowed);
  }
  result.equal =
      1.0 - static_cast<double>(different) / static_cast<double>(expected.samples());
  return result;
}

}  // namespace vera

#endif  // VERA_VULKAN_GPU_TEST_UTIL_H_
