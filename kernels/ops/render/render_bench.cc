// Speed of vera_render on a 12 MP image, one line of JSON per case.
//
//   render_bench [threads] [runs]        defaults: 1 thread, 15 runs after 2 unmeasured ones
//
// memory_limit_ms is what a plain copy of the same bytes by one thread takes, measured here: no
// renderer on one thread can be faster.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "vera/vera.h"

namespace {

constexpr int64_t kWidth = 4000;
constexpr int64_t kHeight = 3000;

struct Times {
  double median_ms;
  double p95_ms;
};

Times Measure(int runs, const std::function<void()>& work) {
  std::vector<double> ms;
  for (int i = -2; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::milli> elapsed =
        std::chrono::steady_clock::now() - start;
    if (i >= 0) ms.push_back(elapsed.count());
  }
  std::sort(ms.begin(), ms.end());
  const size_t n = ms.size();
  return {ms[n / 2], ms[std::min(n - 1, static_cast<size_t>(std::ceil(0.95 * n)) - 1)]};
}

// Smooth gradients with noise of a few percent, as photos have: neighbours share LUT cells.
double Sample(int64_t x, int64_t y, int c, uint32_t* seed) {
  *seed = *seed * 1664525u + 1013904223u;
  const double noise = (*seed >> 16) / 65536.0 - 0.5;
  const double wave = std::sin(0.0021 * x + c) * std::cos(0.0017 * y - 0.7 * c);
  return std::clamp(0.5 + 0.45 * wave + 0.05 * noise, 0.0, 1.0);
}

template <typename T>
std::vector<unsigned char> MakePixels(double code_max) {
  std::vector<unsigned char> bytes(kWidth * kHeight * 3 * sizeof(T));
  T* out = reinterpret_cast<T*>(bytes.data());
  uint32_t seed = 1;
  for (int64_t y = 0; y < kHeight; ++y) {
    for (int64_t x = 0; x < kWidth; ++x) {
      for (int c = 0; c < 3; ++c) *out++ = static_cast<T>(Sample(x, y, c, &seed) * code_max);
    }
  }
  return bytes;
}

void BenchFormat(const char* name, vera_pixel_format format, int sample_bytes,
                 std::vector<unsigned char> src_bytes, int lut_size, float strength, int threads,
                 int runs) {
  std::vector<float> curves(3 * 256), lut(static_cast<size_t>(lut_size) * lut_size * lut_size * 3);
  for (size_t i = 0; i < curves.size(); ++i) curves[i] = std::sqrt((i % 256) / 255.0f);
  for (size_t i = 0; i < lut.size(); ++i) lut[i] = static_cast<float>(i % 97) / 96.0f;
  std::vector<unsigned char> dst_bytes(src_bytes.size());
  const vera_baked_look look = {curves.data(), 256, lut.data(), lut_size};
  const ptrdiff_t stride = kWidth * 3 * sample_bytes;
  const vera_image src = {src_bytes.data(), kWidth, kHeight, stride, format};
  vera_image dst = {dst_bytes.data(), kWidth, kHeight, stride, format};
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  options.strength = strength;
  options.threads = threads;
  const Times copy =
      Measure(runs, [&] { std::memcpy(dst_bytes.data(), src_bytes.data(), src_bytes.size()); });
  const Times render = Measure(runs, [&] {
    if (vera_render(&look, &src, &dst, &options) != VERA_STATUS_OK) std::abort();
  });
  std::printf(
      "{\"case\": \"%s\", \"megapixels\": 12, \"lut_size\": %d, \"strength\": %.2f, "
      "\"threads\": %d, \"n\": %d, \"median_ms\": %.2f, \"p95_ms\": %.2f, "
      "\"memory_limit_ms\": %.2f}\n",
      name, lut_size, static_cast<double>(strength), threads, runs, render.median_ms,
      render.p95_ms, copy.median_ms);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const int runs = argc > 2 ? std::max(1, std::atoi(argv[2])) : 15;
  const std::vector<unsigned char> rgb8 = MakePixels<uint8_t>(255.0);
  const auto format8 = VERA_PIXEL_FORMAT_RGB8;
  BenchFormat("rgb8", format8, 1, rgb8, 33, 1.0f, threads, runs);
  BenchFormat("rgb8", format8, 1, rgb8, 33, 0.8f, threads, runs);
  BenchFormat("rgb8", format8, 1, rgb8, 65, 1.0f, threads, runs);
  BenchFormat("rgb16", VERA_PIXEL_FORMAT_RGB16, 2, MakePixels<uint16_t>(65535.0), 33, 1.0f,
              threads, runs);
  BenchFormat("rgbf32", VERA_PIXEL_FORMAT_RGBF32, 4, MakePixels<float>(1.0), 33, 1.0f, threads,
              runs);
  return 0;
}
