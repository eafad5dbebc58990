#include "sdk/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "sdk/exact_math.h"

namespace vera {
namespace {

constexpr int kWeightBits = 22;
constexpr int64_t kRowsAtOnce = 16;

double Reach(Filter filter) {
  return filter == Filter::kBilinear ? 1.0 : filter == Filter::kBicubic ? 2.0 : 3.0;
}

double Shape(Filter filter, double x) {
  const double size = std::abs(x);
  if (size > Reach(filter) || (filter == Filter::kLanczos && x == 3.0)) return 0.0;
  switch (filter) {
    case Filter::kBilinear: return 1.0 - size;
    case Filter::kBicubic: {
      constexpr double a = -0.5;
      if (size < 1.0) return ((a + 2.0) * size - (a + 3.0)) * size * size + 1;
      return (((size - 5) * size + 8) * size - 4) * a;
    }
    case Filter::kLanczos: return ExactSinc(x) * ExactSinc(x / 3.0);
  }
  return 0.0;
}

std::vector<int32_t> WholeWeights(const Weights& weights) {
  std::vector<int32_t> whole;
  for (const double value : weights.values) {
    const double scaled = value * (1 << kWeightBits);
    whole.push_back(static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
  }
  return whole;
}

uint8_t CodeOf(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

void ResizeRow(const uint8_t* in, const Weights& weights, const int32_t* whole, uint8_t* out) {
  for (const Weights::Window& window : weights.windows) {
    const uint8_t* at = in + 3 * window.first;
    const int32_t* weight = whole + window.at;
    int32_t r = 1 << (kWeightBits - 1), g = r, b = r;
    for (int64_t i = 0; i < window.size; ++i, at += 3) {
      r += at[0] * weight[i];
      g += at[1] * weight[i];
      b += at[2] * weight[i];
    }
    *out++ = CodeOf(r);
    *out++ = CodeOf(g);
    *out++ = CodeOf(b);
  }
}

void ResizeColumns(const Codes& in, const Weights::Window& window, const int32_t* whole,
                   std::vector<int32_t>* sums, uint8_t* out) {
  const size_t row = static_cast<size_t>(in.width) * 3;
  sums->assign(row, 1 << (kWeightBits - 1));
  int32_t* sum = sums->data();
  for (int64_t i = 0; i < window.size; ++i) {
    const uint8_t* at = in.rgb.data() + static_cast<size_t>(window.first + i) * row;
    const int32_t weight = whole[window.at + i];
    for (size_t x = 0; x < row; ++x) sum[x] += at[x] * weight;
  }
  for (size_t x = 0; x < row; ++x) out[x] = CodeOf(sum[x]);
}

}  // namespace

Weights::Weights(Filter filter, int64_t samples, double span, int64_t size) {
  const double scale = span / static_cast<double>(size);
  const double stretch = std::max(scale, 1.0), reach = Reach(filter) * stretch;
  for (int64_t x = 0; x < size; ++x) {
    const double centre = (static_cast<double>(x) + 0.5) * scale, step = 1.0 / stretch;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - reach + 0.5), 0);
    const int64_t end = std::min(static_cast<int64_t>(centre + reach + 0.5), samples);
    const Window window = {first, end - first, static_cast<int64_t>(values.size())};
    double total = 0.0;
    for (int64_t i = 0; i < window.size; ++i) {
      values.push_back(Shape(filter, (static_cast<double>(i + first) - centre + 0.5) * step));
      total += values.back();
    }
    for (int64_t i = 0; i < window.size; ++i) {
      if (total != 0.0) values[static_cast<size_t>(window.at + i)] /= total;
    }
    windows.push_back(window);
  }
}

bool ResizeCodes(const RowOfCodes& row, int64_t width, int64_t height, Filter filter, Codes* out,
                 const Stopped& stopped) {
  const size_t bytes = static_cast<size_t>(out->width) * 3;
  const Weights across(filter, width, static_cast<double>(width), out->width);
  const std::vector<int32_t> whole_across = WholeWeights(across);
  const bool keeps_height = out->height == height;
  Codes narrow;
  if (!keeps_height) narrow = Codes(out->width, height);
  Codes& first = keeps_height ? *out : narrow;
  const auto fill_rows = [&](int64_t begin, int64_t end) {
    std::vector<uint8_t> scratch;
    for (int64_t y = begin; y < end; ++y) {
      const uint8_t* in = row(y, &scratch);
      uint8_t* to = first.rgb.data() + static_cast<size_t>(y) * bytes;
      if (out->width == width) {
        std::memcpy(to, in, bytes);
      } else {
        ResizeRow(in, across, whole_across.data(), to);
      }
    }
  };
  const bool complete = RunParts(height, kRowsAtOnce, stopped, fill_rows);
  if (!complete || keeps_height) return complete;
  const Weights down(filter, height, static_cast<double>(height), out->height);
  const std::vector<int32_t> whole_down = WholeWeights(down);
  return RunParts(out->height, kRowsAtOnce, stopped, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> sums;
    for (int64_t y = begin; y < end; ++y) {
      ResizeColumns(narrow, down.windows[static_cast<size_t>(y)], whole_down.data(), &sums,
                    out->rgb.data() + static_cast<size_t>(y) * bytes);
    }
  });
}

}  // namespace vera
