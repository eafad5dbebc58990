// Speed of vera_bake on the network of 0.5B (widths 128, 256, 512), one line of JSON per case.
//
//   bake_bench [threads] [runs]        defaults: 1 thread, 15 runs after 2 unmeasured ones
//
// The first line, "peak", is what one thread reaches with fused multiply-adds on registers alone.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include "ops/bake/bake_test_util.h"
#include "vera/vera.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/bake/bake_bench.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sums of `steps` multiply-adds in 12 registers that do not wait for each other.
double MultiplyAdds(int64_t steps) {
  using D = hn::CappedTag<float, 16>;
  const D d;
  const auto factor = hn::Set(d, 0.999f), term = hn::Set(d, 0.001f);
  hn::Vec<D> sums[12];
  for (size_t i = 0; i < 12; ++i) sums[i] = hn::Set(d, static_cast<float>(i));
  for (int64_t step = 0; step < steps; ++step) {
    _Pragma("GCC unroll 12")
    for (size_t i = 0; i < 12; ++i) sums[i] = hn::MulAdd(factor, sums[i], term);
  }
  for (size_t i = 1; i < 12; ++i) sums[0] = hn::Add(sums[0], sums[i]);
  return static_cast<double>(hn::GetLane(sums[0])) > 0.0 ? 24.0 * hn::Lanes(d) : 0.0;
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vera {
HWY_EXPORT(MultiplyAdds);
double MultiplyAddsOnThisMachine(int64_t steps) {
  return HWY_DYNAMIC_DISPATCH(MultiplyAdds)(steps);
}
}  // namespace vera

namespace {

constexpr double kMultiplyAddsPerPoint = 3 * 128 + 128 * 256 + 256 * 512 + 512 * 3;

void BenchPeak(int runs) {
  constexpr int64_t kSteps = 2000000;
  double best = 0.0;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double operations = vera::MultiplyAddsOnThisMachine(kSteps) * kSteps;
    const std::chrono::duration<double, std::nano> elapsed =
        std::chrono::steady_clock::now() - start;
    best = std::max(best, operations / elapsed.count());
  }
  std::printf("{\"case\": \"peak\", \"threads\": 1, \"n\": %d, \"gflops\": %.1f}\n", runs, best);
}

void Bench(const char* name, const vera::Network& network, int lut_size, int threads, int runs) {
  vera_renderer* renderer = nullptr;
  if (vera_renderer_create(&network.weights, &renderer) != VERA_STATUS_OK) std::abort();
  const float strengths[3] = {1.0f, 1.0f, 1.0f};
  const double points = std::pow(lut_size, 3);
  std::vector<float> lut(static_cast<size_t>(points) * 3);
  const vera_bake_options options = vera::BakeOptions(threads);
  std::vector<double> ms;
  for (int i = -2; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    if (vera_bake(renderer, network.latents.data(), strengths, nullptr, lut_size, lut.data(),
                  &options) != VERA_STATUS_OK) {
      std::abort();
    }
    const std::chrono::duration<double, std::milli> elapsed =
        std::chrono::steady_clock::now() - start;
    if (i >= 0) ms.push_back(elapsed.count());
  }
  vera_renderer_destroy(renderer);
  std::sort(ms.begin(), ms.end());
  const size_t n = ms.size();
  const double median = ms[n / 2];
  const double p95 = ms[std::min(n - 1, static_cast<size_t>(std::ceil(0.95 * n)) - 1)];
  std::printf(
      "{\"case\": \"%s\", \"lut_size\": %d, \"threads\": %d, \"n\": %d, \"median_ms\": %.2f, "
      "\"p95_ms\": %.2f, \"gflops\": %.1f}\n",
      name, lut_size, threads, runs, median, p95,
      2.0 * kMultiplyAddsPerPoint * points / median * 1e-6);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const int runs = argc > 2 ? std::max(1, std::atoi(argv[2])) : 15;
  const vera::Network floats({128, 256, 512}, 896, false, VERA_PRECISION_FLOAT32);
  const vera::Network codes({128, 256, 512}, 896, false, VERA_PRECISION_INT8);
  BenchPeak(runs);
  for (const int lut_size : {17, 33, 65}) {
    Bench("float32", floats, lut_size, threads, runs);
    Bench("int8", codes, lut_size, threads, runs);
  }
  return 0;
}
#endif  // HWY_ONCE
