// The C ABI from many threads at once, and stopped by another thread; meant for ThreadSanitizer too.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "ops/bake/bake_test_util.h"
#include "ops/render/render_test_util.h"
#include "vera/vera.h"

namespace vera {
namespace {

constexpr int kCallers = 4;
constexpr float kFull[3] = {1.0f, 1.0f, 1.0f};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kCancelMs = 400.0;  // of code that is some twenty times slower
#else
constexpr double kCancelMs = 20.0;  // vera.h
#endif

void OnCallers(const std::function<void(size_t)>& call) {
  std::vector<std::thread> callers;
  for (size_t i = 0; i < kCallers; ++i) callers.emplace_back(call, i);
  for (std::thread& caller : callers) caller.join();
}

vera_frame Rgba(std::vector<uint16_t>& samples, int64_t width, int64_t height,
                vera_pixel_format format) {
  samples.resize(static_cast<size_t>(4 * width * height), 0x3800);
  const vera_image image = {samples.data(), width, height, static_cast<ptrdiff_t>(8 * width),
                            format};
  return FrameOf(image);
}

struct Renderer {
  explicit Renderer(const Network& network) { vera_renderer_create(&network.weights, &handle); }
  ~Renderer() { vera_renderer_destroy(handle); }
  Renderer(const Renderer&) = delete;
  vera_renderer* handle = nullptr;
};

TEST(ThreadsTest, RendersOfManyCallersAtOnceAreThoseOfOne) {
  const Look look = MakeLook(17, 50, false);  // large enough that threads share its preparation
  const vera_look full = Full(look.view);
  std::vector<uint16_t> source, results[kCallers];
  const vera_frame src = Rgba(source, 601, 157, VERA_PIXEL_FORMAT_RGBA16);
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<uint16_t>(i * 40503);
  OnCallers([&](size_t i) {
    const vera_frame dst = Rgba(results[i], 601, 157, VERA_PIXEL_FORMAT_RGBA16);
    const vera_render_options options = Options(0.8f, static_cast<int>(i + 1));
    EXPECT_EQ(VERA_STATUS_OK, vera_render_frame(&full, &src, &dst, &options));
  });
  for (size_t i = 1; i < kCallers; ++i) EXPECT_EQ(results[0], results[i]) << i;
}

TEST(ThreadsTest, BakesOfManyCallersAtOnceAreThoseOfOne) {
  for (const vera_precision precision : {VERA_PRECISION_FLOAT32, VERA_PRECISION_INT8}) {
    const Network network({32, 48}, 5, false, precision);
    const Renderer renderer(network);
    std::vector<float> results[kCallers];
    OnCallers([&](size_t i) {
      results[i].resize(17 * 17 * 17 * 3);
      const vera_bake_options options = BakeOptions(static_cast<int>(i + 1));
      EXPECT_EQ(VERA_STATUS_OK, vera_bake(renderer.handle, network.latents.data(), kFull, nullptr,
                                          17, results[i].data(), &options));
    });
    for (size_t i = 1; i < kCallers; ++i) EXPECT_EQ(results[0], results[i]) << i;
  }
}

// Milliseconds from the moment that another thread asks `work` to stop until it returns, the best
// of several tries: other programs only add to it. `work` must run longer than the delays.
double MsToStop(const std::function<vera_status(const volatile int32_t*)>& work) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  for (const int delay_ms : {0, 2, 5, 9, 14}) {
    int32_t cancel = 0;
    Clock::time_point asked;
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
      asked = Clock::now();
      __atomic_store_n(&cancel, 1, __ATOMIC_RELAXED);
    });
    const vera_status status = work(&cancel);
    const Clock::time_point returned = Clock::now();
    other.join();
    EXPECT_EQ(VERA_STATUS_CANCELLED, status) << delay_ms;
    best = std::min(best, std::chrono::duration<double, std::milli>(returned - asked).count());
  }
  return best;
}

// The slowest of all: halves, trilinear, the largest LUT, in half precision, on one thread.
TEST(ThreadsTest, ARenderStopsInTime) {
  const Look look = MakeLook(4096, 129, true);
  std::vector<uint16_t> halves(look.lut.size(), 0x3800);
  vera_look full = Full(look.view);
  full.lut = halves.data();
  full.lut_type = VERA_VALUE_FLOAT16;
  std::vector<uint16_t> pixels;
  const vera_frame frame = Rgba(pixels, 3000, 2000, VERA_PIXEL_FORMAT_RGBAF16);
  for (const int threads : {1, 3}) {
    const double ms = MsToStop([&](const volatile int32_t* cancel) {
      vera_render_options options = Options(0.5f, threads);
      options.interpolation = VERA_INTERPOLATION_TRILINEAR;
      options.cancel = cancel;
      return vera_render_frame(&full, &frame, &frame, &options);
    });
    EXPECT_LT(ms, kCancelMs) << threads << " threads";
  }
}

// The network of the 0.5B model.
TEST(ThreadsTest, ABakeStopsInTime) {
  for (const vera_precision precision : {VERA_PRECISION_FLOAT32, VERA_PRECISION_INT8}) {
    const Network network({128, 256, 512}, 16, false, precision);
    const Renderer renderer(network);
    std::vector<float> lut(65 * 65 * 65 * 3);
    const double ms = MsToStop([&](const volatile int32_t* cancel) {
      vera_bake_options options = BakeOptions(2);
      options.cancel = cancel;
      return vera_bake(renderer.handle, network.latents.data(), kFull, nullptr, 65, lut.data(),
                       &options);
    });
    EXPECT_LT(ms, kCancelMs) << precision;
  }
}

}  // namespace
}  // namespace vera
