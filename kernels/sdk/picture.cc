#include "sdk/picture.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "cpu/check.h"
#include "sdk/color.h"
#include "sdk/failure.h"
#include "sdk/parts.h"
#include "sdk/resample.h"
#include "sdk/source.h"

namespace vera {
namespace {

constexpr int64_t kMaxBox = 128;  // a box of 128 x 128 codes of 16 bits fits 32 bits
constexpr int64_t kMaxShortSums = 257;  // so many 8-bit codes fit 16 bits
constexpr int64_t kShortEdge = 512, kLongestEdge = 8 * kShortEdge;

int64_t BoxSize(int64_t length, int64_t size) {
  return std::clamp<int64_t>(length / (3 * size), 1, kMaxBox);
}

// Rows of the photo averaged over boxes: float32 codes of 16 bits, three a pixel.
struct Boxes {
  int64_t across, down;   // of a box
  int64_t width, height;  // boxes
  std::vector<float> values;

  Boxes(const Source& source, int64_t size)
      : across(BoxSize(source.width(), size)),
        down(BoxSize(source.height(), size)),
        width((source.width() + across - 1) / across),
        height((source.height() + down - 1) / down),
        values(static_cast<size_t>(width * height) * 3) {}
};

// One row of boxes: the rows are added up first, which all lanes share.
template <typename Sample, typename Sum>
void FillBoxes(const Source& source, int64_t row, std::vector<Sum>* sums,
               std::vector<uint16_t>* scratch, Boxes* boxes) {
  const size_t step = static_cast<size_t>(source.step());
  const size_t samples = static_cast<size_t>(source.width()) * step;
  const int64_t begin = row * boxes->down, end = std::min(begin + boxes->down, source.height());
  sums->assign(samples, 0);
  Sum* sum = sums->data();
  for (int64_t y = begin; y < end; ++y) {
    const Sample* in = static_cast<const Sample*>(source.Row(y, scratch));
    for (size_t i = 0; i < samples; ++i) sum[i] = static_cast<Sum>(sum[i] + in[i]);
  }
  // codes of 16 bits, still exact: at most 128 x 128 of them
  constexpr int32_t unit = sizeof(Sample) == 1 ? 257 : 1;
  const size_t across = static_cast<size_t>(boxes->across);
  float* out = boxes->values.data() + static_cast<size_t>(row * boxes->width) * 3;
  const float whole = 1.0f / static_cast<float>(boxes->across * (end - begin));
  for (int64_t x = 0; x < boxes->width; ++x, out += 3) {
    const size_t first = static_cast<size_t>(x) * across;
    const size_t count = std::min(across, static_cast<size_t>(source.width()) - first);
    uint32_t total[3] = {0, 0, 0};
    for (const Sum* at = sum + first * step; at < sum + (first + count) * step; at += step) {
      for (int c = 0; c < 3; ++c) total[c] += at[c];
    }
    const float factor =
        count == across ? whole
                        : 1.0f / static_cast<float>(static_cast<int64_t>(count) * (end - begin));
    for (int c = 0; c < 3; ++c) {
      out[c] = static_cast<float>(static_cast<int32_t>(total[c]) * unit) * factor;
    }
  }
}

template <typename Sample, typename Sum>
bool FillAllBoxes(const Source& source, Boxes* boxes, const Stopped& stopped) {
  const int64_t rows_at_once = std::max<int64_t>(1, 16 / boxes->down);
  return RunParts(boxes->height, rows_at_once, stopped, [&](int64_t begin, int64_t end) {
    std::vector<Sum> sums;
    std::vector<uint16_t> scratch;
    for (int64_t row = begin; row < end; ++row) {
      FillBoxes<Sample, Sum>(source, row, &sums, &scratch, boxes);
    }
  });
}

std::vector<float> Shortened(const std::vector<double>& values) {
  return std::vector<float>(values.begin(), values.end());
}

// What is left of a picture of codes after rounding, in place: sRGB in 0..1.
void Finish(const ToSrgb& to_srgb, bool swapped, float* rgb) {
  const auto rounded = [](float code) {
    return std::floor(std::clamp(code, 0.0f, 65535.0f) + 0.5f) / 65535.0f;
  };
  if (swapped) std::swap(rgb[0], rgb[2]);
  for (int c = 0; c < 3; ++c) rgb[c] = rounded(rgb[c]);
  if (to_srgb.changes_nothing()) return;
  to_srgb.Convert(rgb);
  for (int c = 0; c < 3; ++c) rgb[c] = rounded(rgb[c] * 65535.0f);
}

// One row of the square: down the columns of boxes, along the row, to planes.
struct Squeeze {
  Squeeze(const Source& source, const Boxes& from, vera_color_space space, int64_t to)
      : boxes(from),
        size(to),
        swapped(source.is_swapped()),
        to_srgb(space),
        down(Filter::kLanczos, from.height,
             static_cast<double>(source.height()) / static_cast<double>(from.down), to),
        across(Filter::kLanczos, from.width,
               static_cast<double>(source.width()) / static_cast<double>(from.across), to),
        down_values(Shortened(down.values)),
        across_values(Shortened(across.values)),
        keeps_height(source.height() == to),
        keeps_width(source.width() == to) {}

  void Row(int64_t y, std::vector<float>* line, float* out) const {
    const size_t samples = static_cast<size_t>(boxes.width) * 3;
    Columns(y, samples, line);
    const float* in = line->data();
    const size_t plane = static_cast<size_t>(size * size);
    for (int64_t x = 0; x < size; ++x) {
      float rgb[3] = {0.0f, 0.0f, 0.0f};
      const Weights::Window& window = across.windows[static_cast<size_t>(x)];
      const float* weight = across_values.data() + window.at;
      const float* at = in + 3 * (keeps_width ? x : window.first);
      if (keeps_width) {
        std::copy(at, at + 3, rgb);
      } else {
        for (int64_t i = 0; i < window.size; ++i, at += 3) {
          for (int c = 0; c < 3; ++c) rgb[c] += weight[i] * at[c];
        }
      }
      Finish(to_srgb, swapped, rgb);
      const size_t place = static_cast<size_t>(y * size + x);
      for (size_t c = 0; c < 3; ++c) out[c * plane + place] = rgb[c];
    }
  }

  void Columns(int64_t y, size_t samples, std::vector<float>* line) const {
    line->assign(samples, 0.0f);
    float* sum = line->data();
    const Weights::Window& window = down.windows[static_cast<size_t>(y)];
    if (keeps_height) {
      const float* at = boxes.values.data() + static_cast<size_t>(y) * samples;
      std::copy(at, at + samples, sum);
      return;
    }
    for (int64_t i = 0; i < window.size; ++i) {
      const float* at = boxes.values.data() + static_cast<size_t>(window.first + i) * samples;
      const float weight = down_values[static_cast<size_t>(window.at + i)];
      for (size_t x = 0; x < samples; ++x) sum[x] += weight * at[x];
    }
  }

  const Boxes& boxes;
  int64_t size;
  bool swapped;
  ToSrgb to_srgb;
  Weights down, across;
  std::vector<float> down_values, across_values;
  bool keeps_height, keeps_width;  // Pillow leaves such an axis alone
};

bool PrepareSqueezed(const Source& source, vera_color_space space, int64_t size,
                     const Stopped& stopped, float* out) {
  Boxes boxes(source, size);
  const bool is_short = !source.is_wide() && boxes.down <= kMaxShortSums;
  const bool filled = source.is_wide() ? FillAllBoxes<uint16_t, uint32_t>(source, &boxes, stopped)
                      : is_short ? FillAllBoxes<uint8_t, uint16_t>(source, &boxes, stopped)
                                 : FillAllBoxes<uint8_t, uint32_t>(source, &boxes, stopped);
  if (!filled) return false;
  const Squeeze squeeze(source, boxes, space, size);
  constexpr int64_t kRows = 16;
  return RunParts(size, kRows, stopped, [&](int64_t begin, int64_t end) {
    std::vector<float> line;
    for (int64_t y = begin; y < end; ++y) squeeze.Row(y, &line, out);
  });
}

void ConvertCodes(const ToSrgb& to_srgb, Codes* codes) {
  if (to_srgb.changes_nothing()) return;
  for (size_t i = 0; i < codes->rgb.size(); i += 3) {
    float rgb[3];
    for (size_t c = 0; c < 3; ++c) rgb[c] = static_cast<float>(codes->rgb[i + c]) / 255.0f;
    to_srgb.Convert(rgb);
    for (size_t c = 0; c < 3; ++c) {
      codes->rgb[i + c] = static_cast<uint8_t>(std::floor(rgb[c] * 255.0f + 0.5f));
    }
  }
}

// The size with the short edge at 512, the other one cut to whole pixels.
std::pair<int64_t, int64_t> PaddedSize(int64_t width, int64_t height) {
  const double small = static_cast<double>(std::min(width, height));
  const double large = static_cast<double>(std::max(width, height));
  double edge = kShortEdge, other = std::floor(large * (kShortEdge / small));
  if (other > kLongestEdge) {
    edge = std::max(1.0, std::nearbyint(kLongestEdge * small / large));
    other = kLongestEdge;
  }
  const int64_t a = static_cast<int64_t>(edge), b = static_cast<int64_t>(other);
  return width <= height ? std::pair(a, b) : std::pair(b, a);
}

RowOfCodes RowsOf(const Codes& codes) {
  return [&codes](int64_t y, std::vector<uint8_t>*) {
    return codes.rgb.data() + static_cast<size_t>(y * codes.width) * 3;
  };
}

void ToPlanes(const Codes& codes, float* out) {
  const size_t plane = codes.rgb.size() / 3;
  for (size_t i = 0; i < plane; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      out[c * plane + i] = static_cast<float>(codes.rgb[3 * i + c]) / 255.0f;
    }
  }
}

RowOfCodes RowsOf(const Source& source) {
  return [&source](int64_t y, std::vector<uint8_t>* scratch) { return source.Codes(y, scratch); };
}

bool PreparePadded(const Source& source, vera_color_space space, int64_t size,
                   const Stopped& stopped, float* out) {
  const auto [width, height] = PaddedSize(source.width(), source.height());
  Codes scaled(width, height);
  if (!ResizeCodes(RowsOf(source), source.width(), source.height(), Filter::kLanczos, &scaled,
                   stopped)) {
    return false;
  }
  ConvertCodes(ToSrgb(space), &scaled);
  const int64_t side = std::max(width, height), left = (side - width) / 2;
  const int64_t top = (side - height) / 2;
  Codes square(side, side);
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* row = scaled.rgb.data() + y * width * 3;
    std::copy(row, row + width * 3, square.rgb.data() + ((top + y) * side + left) * 3);
  }
  Codes seen(size, size);
  if (!ResizeCodes(RowsOf(square), side, side, Filter::kBicubic, &seen, stopped)) return false;
  ToPlanes(seen, out);
  return true;
}

void CheckArguments(vera_color_space space, int32_t size, const float* out) {
  if (size < 1 || size > 8192 || out == nullptr) {
    Fail(VERA_STATUS_INVALID_ARGUMENT,
         "A picture of side " + std::to_string(size) + " not allowed: use 1..8192.");
  }
  if (space < VERA_COLOR_SPACE_SRGB || space > VERA_COLOR_SPACE_BT2020) {
    Fail(VERA_STATUS_INVALID_ARGUMENT,
         "Colour space " + std::to_string(space) + " not known: use 0..3 of vera_color_space.");
  }
}

void FailIfStopped(bool complete) {
  if (!complete) Fail(VERA_STATUS_CANCELLED, "Preparing the picture was cancelled.");
}

}  // namespace

void PreparePicture(const vera_frame* photo, vera_color_space space, Family family, int32_t size,
                    const volatile int32_t* cancel, float* out) {
  CheckArguments(space, size, out);
  const Source source(photo);
  const Stopped stopped = [&] { return IsCancelled(cancel); };
  FailIfStopped(family == Family::kNano ? PrepareSqueezed(source, space, size, stopped, out)
                                        : PreparePadded(source, space, size, stopped, out));
}

void PrepareReference(const vera_frame* photo, vera_color_space space, Family family, int32_t size,
                      const volatile int32_t* cancel, float* out) {
  if (family == Family::kNano) return PreparePicture(photo, space, family, size, cancel, out);
  CheckArguments(space, size, out);
  const Source source(photo);
  Codes codes(size, size);
  FailIfStopped(ResizeCodes(RowsOf(source), source.width(), source.height(), Filter::kBilinear,
                            &codes, [&] { return IsCancelled(cancel); }));
  ConvertCodes(ToSrgb(space), &codes);
  ToPlanes(codes, out);
}

}  // namespace vera
