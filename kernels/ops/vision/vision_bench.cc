// Time of each kind of layer at the shapes of the 0.5B model, beside the multiply-adds of its
// products. vision_bench [threads]: a JSON line for each; cpu_ms is the time of all threads, which other
// programs on the machine disturb less.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

#include "vera/decoder.h"
#include "vera/vision.h"

namespace {

constexpr int kRuns = 5;
double all_cpu_ms = 0;

std::vector<float> Floats(size_t count, float size) {
  static std::mt19937 random(1);
  std::vector<float> values(count);
  for (float& v : values) v = size * (static_cast<float>(random()) / 2147483648.0f - 1.0f);
  return values;
}

struct Product {
  std::vector<uint8_t> weights;
  std::vector<float> inverses, multipliers, biases;
  vera_vision_product c;

  Product(int rows, int columns, int bits = 8)
      : inverses(columns, 20.0f), multipliers(Floats(rows, 1e-4f)), biases(Floats(rows, 0.5f)) {
    const int group = bits == 8 ? 512 : bits == 6 ? 400 : 272;
    weights.resize(static_cast<size_t>(rows / 16) * ((columns + 31) / 32) * group);
    for (uint8_t& w : weights) w = static_cast<uint8_t>(std::rand());
    c = {{weights.data(), rows, columns, bits}, inverses.data(), 20.0f, multipliers.data(),
         biases.data()};
  }
};

struct Depthwise {
  std::vector<float> weights, biases;
  vera_vision_depthwise c;

  Depthwise(int channels, int kernel, int stride, int multiplier)
      : weights(Floats(static_cast<size_t>(multiplier) * kernel * kernel * channels, 0.3f)),
        biases(Floats(static_cast<size_t>(multiplier) * channels, 0.5f)) {
    c = {weights.data(), biases.data(), kernel, stride, multiplier};
  }
};

template <class F>
double Report(const char* name, int times, double multiply_adds, const F& work) {
  std::vector<double> ms, cpu;
  for (int i = 0; i < kRuns + 1; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t cpu_start = std::clock();
    if (work() != VERA_STATUS_OK) std::abort();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    if (i == 0) continue;
    ms.push_back(time.count());
    cpu.push_back(1e3 * static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC);
  }
  std::sort(ms.begin(), ms.end());
  std::sort(cpu.begin(), cpu.end());
  const double median = ms[kRuns / 2], cpu_median = cpu[kRuns / 2];
  std::printf("{\"layer\": \"%s\", \"times\": %d, \"ms\": %.2f, \"all_ms\": %.1f, \"cpu_ms\": %.2f, "
              "\"gmacs\": %.2f, \"gmacs_per_cpu_s\": %.0f}\n",
              name, times, median, median * times, cpu_median, multiply_adds / 1e9,
              multiply_adds / 1e6 / cpu_median);
  all_cpu_ms += cpu_median * times;
  return median * times;
}

double Block(const char* name, int times, int side, int channels, bool mixed, int bits) {
  const size_t pixels = static_cast<size_t>(side) * side;
  std::vector<uint16_t> x(pixels * channels, 0x3400), out(x.size());
  Depthwise mixer(channels, 3, 1, 1);
  if (!mixed) mixer.c.weights = nullptr;
  Product expand(4 * channels, channels, bits), reduce(channels, 4 * channels, bits);
  std::vector<int16_t> taps(static_cast<size_t>(channels) / 16 * 28 * 32, 300);
  const auto inverses = Floats(channels, 2000.0f), offsets = Floats(channels, 1.0f);
  const vera_vision_block block = {mixer.c, inverses.data(), taps.data(), offsets.data(),
                                   offsets.data(), expand.c, reduce.c};
  return Report(name, times, 8.0 * pixels * channels * channels, [&] {
    return vera_vision_block_run(&block, x.data(), side, side, channels, out.data());
  });
}

double Down(const char* name, int side, int channels) {
  std::vector<uint16_t> x(static_cast<size_t>(side) * side * channels, 0x3400), out(x.size());
  const Depthwise spatial(channels, 7, 2, 2);
  const Product pointwise(2 * channels, 2 * channels);
  const vera_vision_down down = {spatial.c, pointwise.c};
  return Report(name, 1, 1.0 * side * side * channels * channels, [&] {
    return vera_vision_down_run(&down, x.data(), side, side, channels, out.data());
  });
}

double Attention(const char* name, int times, int side, int channels, int bits) {
  const int n = side * side;
  std::vector<uint16_t> x(static_cast<size_t>(n) * channels, 0x3400), out(x.size());
  for (uint16_t& v : x) v = static_cast<uint16_t>(0x3000 + std::rand() % 2048);
  const auto norm = Floats(channels, 1.0f), bias = Floats(channels, 1.0f);
  const Product qkv(3 * channels, channels, bits), mix(channels, channels, bits);
  const vera_vision_attention a = {norm.data(), bias.data(), 1e-5f, 32, qkv.c, mix.c};
  return Report(name, times, 4.0 * n * channels * channels + 2.0 * n * n * channels, [&] {
    return vera_vision_attention_run(&a, x.data(), n, channels, out.data());
  });
}

double Stem(int size) {
  const auto pixels = Floats(static_cast<size_t>(3) * size * size, 0.5f);
  std::vector<uint16_t> out(static_cast<size_t>(size) * size / 16 * 96);
  const auto weights = Floats(27 * 96, 0.3f), biases = Floats(96, 0.2f);
  const Depthwise depthwise(96, 3, 2, 1);
  const Product pointwise(96, 96);
  const vera_vision_stem stem = {96, weights.data(), biases.data(), depthwise.c, pointwise.c};
  return Report("stem", 1, size * size * (27.0 * 96 / 4 + 96.0 * 96 / 16), [&] {
    return vera_vision_stem_run(&stem, pixels.data(), size, out.data());
  });
}

double Tokens(int side) {
  std::vector<uint16_t> x(static_cast<size_t>(side) * side * 1536, 0x3400);
  std::vector<float> out(static_cast<size_t>(side) * side * 896);
  const Depthwise expand(1536, 3, 1, 2);
  const Product squeeze(192, 3072), excite(3072, 192), up(896, 3072), last(896, 896);
  const vera_vision_tokens tokens = {expand.c, squeeze.c, excite.c, up.c, last.c};
  return Report("tokens", 1, side * side * (3072.0 * 896 + 896.0 * 896), [&] {
    return vera_vision_tokens_run(&tokens, x.data(), side, side, 1536, out.data());
  });
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) vera_set_decoder_threads(std::atoi(arguments[1]));
  double ms = Stem(1024);
  ms += Block("block 256x256x96", 2, 256, 96, true, 8);
  ms += Down("down to 128", 256, 96);
  ms += Block("block 128x128x192", 12, 128, 192, true, 8);
  ms += Down("down to 64", 128, 192);
  ms += Block("block 64x64x384", 24, 64, 384, true, 8);
  Block("block 64x64x384 6 bits", 0, 64, 384, true, 6);
  ms += Down("down to 32", 64, 384);
  ms += Attention("attention 32x32x768", 4, 32, 768, 8);
  ms += Block("block 32x32x768", 4, 32, 768, false, 8);
  ms += Down("down to 16", 32, 768);
  ms += Attention("attention 16x16x1536", 2, 16, 1536, 8);
  ms += Block("block 16x16x1536", 2, 16, 1536, false, 8);
  Block("block 16x16x1536 4 bits", 0, 16, 1536, false, 4);
  ms += Tokens(16);
  std::printf("{\"instructions\": \"%s\", \"all_ms\": %.1f, \"all_cpu_ms\": %.1f}\n",
              vera_decoder_instructions(), ms, all_cpu_ms);
  return 0;
}
