// Banding: a smooth gradient of 16 bits through a steep look, rendered to 8 bits, has no step that
// the look itself, evaluated at every pixel, does not have.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "ops/render/render.h"
#include "ops/render/render_test_util.h"
#include "vera/vera.h"

namespace vera {
namespace {

constexpr int kWidth = 4096;
constexpr int kLutSize = 33;

// Contrast of slope 5 around 0.5.
double Steep(double x) { return 1.0 / (1.0 + std::exp(-20.0 * (x - 0.5))); }

// The edited channel leans on the next one.
double Edited(const double rgb[3], int c) {
  return Steep(0.85 * rgb[c] + 0.15 * rgb[(c + 1) % 3]);
}

std::vector<float> SteepLut() {
  std::vector<float> lut;
  for (int i = 0; i < kLutSize * kLutSize * kLutSize; ++i) {
    const double last = kLutSize - 1;
    const double rgb[3] = {i % kLutSize / last, i / kLutSize % kLutSize / last,
                           i / kLutSize / kLutSize / last};
    for (int c = 0; c < 3; ++c) lut.push_back(static_cast<float>(Edited(rgb, c)));
  }
  return lut;
}

// From dark blue to warm white.
std::vector<uint16_t> Gradient() {
  constexpr double kFrom[3] = {0.05, 0.10, 0.30}, kTo[3] = {0.95, 0.85, 0.75};
  std::vector<uint16_t> samples;
  for (int x = 0; x < kWidth; ++x) {
    for (int c = 0; c < 3; ++c) {
      const double value = kFrom[c] + (kTo[c] - kFrom[c]) * x / (kWidth - 1);
      samples.push_back(static_cast<uint16_t>(value * 65535.0 + 0.5));
    }
  }
  return samples;
}

std::vector<uint8_t> Directly(const std::vector<uint16_t>& samples) {
  std::vector<uint8_t> codes;
  for (int x = 0; x < kWidth; ++x) {
    double rgb[3];
    for (int c = 0; c < 3; ++c) rgb[c] = samples[static_cast<size_t>(3 * x + c)] / 65535.0;
    for (int c = 0; c < 3; ++c) {
      codes.push_back(static_cast<uint8_t>(Edited(rgb, c) * 255.0 + 0.5));
    }
  }
  return codes;
}

int LargestStep(const std::vector<uint8_t>& codes) {
  int largest = 0;
  for (size_t i = 3; i < codes.size(); ++i) {
    largest = std::max(largest, std::abs(codes[i] - codes[i - 3]));
  }
  return largest;
}

struct SteepLook {
  SteepLook() : curves{0.0f, 1.0f, 0.0f, 1.0f, 0.0f, 1.0f}, lut(SteepLut()) {
    const vera_baked_look baked = {curves.data(), 2, lut.data(), kLutSize};
    view = Full(baked);
  }
  std::vector<float> curves, lut;
  vera_look view;
};

std::vector<uint8_t> Rendered(std::vector<uint16_t> samples, int32_t interpolation) {
  const SteepLook look;
  std::vector<uint8_t> codes(samples.size());
  vera_render_options options = Options(1.0f);
  options.interpolation = interpolation;
  const vera_image src = {samples.data(), kWidth, 1, kWidth * 6, VERA_PIXEL_FORMAT_RGB16};
  const vera_image dst = {codes.data(), kWidth, 1, kWidth * 3, VERA_PIXEL_FORMAT_RGB8};
  const vera_frame from = FrameOf(src), to = FrameOf(dst);
  EXPECT_EQ(VERA_STATUS_OK, vera_render_frame(&look.view, &from, &to, &options));
  return codes;
}

TEST(BandingTest, NoStepIsLargerThanDirectEvaluationHas) {
  const std::vector<uint16_t> samples = Gradient();
  const std::vector<uint8_t> truth = Directly(samples);
  ASSERT_EQ(1, LargestStep(truth));  // at most 0.3 codes a pixel before rounding
  OnEveryTarget([&] {
    for (const int32_t interpolation : {0, 1}) {
      EXPECT_LE(LargestStep(Rendered(samples, interpolation)), LargestStep(truth));
    }
  });
}

// A renderer that went through 8 bits on its way would be seen.
TEST(BandingTest, TheMeasureSeesBands) {
  std::vector<uint16_t> samples = Gradient();
  for (uint16_t& sample : samples) {
    sample = static_cast<uint16_t>((sample + 128) / 257 * 257);
  }
  EXPECT_GE(LargestStep(Rendered(samples, 0)), 4);
}

}  // namespace
}  // namespace vera
