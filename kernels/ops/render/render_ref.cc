#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/render/render.h"

namespace vera {
namespace {

// NaN counts as 0.
double Clamp01(double v) { return v > 0.0 ? std::min(v, 1.0) : 0.0; }

double EvalCurve(const void* values, vera_value_type type, int size, int channel, double x) {
  const double t = x * (size - 1);
  const int i = std::min(static_cast<int>(t), size - 2);
  const size_t first = static_cast<size_t>(channel) * static_cast<size_t>(size);
  const double low = Clamp01(ReadValue(values, type, first + static_cast<size_t>(i)));
  const double high = Clamp01(ReadValue(values, type, first + static_cast<size_t>(i) + 1));
  return low + (t - i) * (high - low);
}

void AddNode(const vera_look& look, int node, double weight, double out[3]) {
  for (int c = 0; c < 3; ++c) {
    out[c] += weight * ReadValue(look.lut, look.lut_type, static_cast<size_t>(3 * node + c));
  }
}

// Walks from the low corner of the cell to its high corner, one axis at a time, the axis with the
// largest fraction first: the four corners met are the tetrahedron that holds the point.
void Tetrahedral(const vera_look& look, int node, const double fraction[3], double out[3]) {
  const int n = look.lut_size;
  const int stride[3] = {1, n, n * n};
  int axis[3] = {0, 1, 2};
  std::stable_sort(axis, axis + 3, [&](int a, int b) { return fraction[a] > fraction[b]; });
  AddNode(look, node, 1.0 - fraction[axis[0]], out);
  for (int step = 0; step < 3; ++step) {
    node += stride[axis[step]];
    AddNode(look, node, fraction[axis[step]] - (step < 2 ? fraction[axis[step + 1]] : 0.0), out);
  }
}

void Trilinear(const vera_look& look, int node, const double fraction[3], double out[3]) {
  const int n = look.lut_size;
  for (int corner = 0; corner < 8; ++corner) {
    double weight = 1.0;
    for (int c = 0; c < 3; ++c) weight *= corner >> c & 1 ? fraction[c] : 1.0 - fraction[c];
    const int offset = (corner & 1) + (corner >> 1 & 1) * n + (corner >> 2) * n * n;
    AddNode(look, node + offset, weight, out);
  }
}

void EvalLut(const vera_look& look, bool trilinear, const double position[3], double out[3]) {
  const int n = look.lut_size;
  const int stride[3] = {1, n, n * n};
  int node = 0;
  double fraction[3];
  for (int c = 0; c < 3; ++c) {
    const int i = std::min(static_cast<int>(position[c]), n - 2);
    node += i * stride[c];
    fraction[c] = position[c] - i;
    out[c] = 0.0;
  }
  trilinear ? Trilinear(look, node, fraction, out) : Tetrahedral(look, node, fraction, out);
}

double LoadSample(Sample sample, const uint8_t* at) {
  uint16_t bits;
  float value;
  switch (sample) {
    case Sample::kUnsigned8: return *at / 255.0;
    case Sample::kFloat: std::memcpy(&value, at, 4); return static_cast<double>(value);
    default: std::memcpy(&bits, at, 2); break;
  }
  return sample == Sample::kHalf ? static_cast<double>(HalfToFloat(bits)) : bits / 65535.0;
}

// The half nearest to a number, ties to the even code: halves rise with their codes.
uint16_t NearestHalf(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (std::isnan(magnitude)) return 0x7E00;
  if (magnitude >= 65520.0) return sign | 0x7C00;
  uint16_t low = 0, high = 0x7C00;
  while (high - low > 1) {
    const uint16_t middle = static_cast<uint16_t>((low + high) / 2);
    (static_cast<double>(HalfToFloat(middle)) <= magnitude ? low : high) = middle;
  }
  if (high == 0x7C00) return sign | low;
  const double below = magnitude - static_cast<double>(HalfToFloat(low));
  const double above = static_cast<double>(HalfToFloat(high)) - magnitude;
  const bool up = above < below || (above == below && low % 2 == 1);
  return static_cast<uint16_t>(sign | (up ? high : low));
}

void StoreSample(Sample sample, double value, double round, uint8_t* at) {
  const float as_float = static_cast<float>(value);
  const uint16_t bits = sample == Sample::kHalf
                            ? NearestHalf(value)
                            : static_cast<uint16_t>(Clamp01(value) * 65535.0 + 0.5);
  switch (sample) {
    case Sample::kUnsigned8: *at = static_cast<uint8_t>(Clamp01(value) * 255.0 + round); break;
    case Sample::kFloat: std::memcpy(at, &as_float, 4); break;
    default: std::memcpy(at, &bits, 2); break;
  }
}

// Where colour c (3: alpha) of a pixel lies, for formats that are not packed.
uint8_t* SampleAt(const vera_frame& frame, const FormatInfo& info, int64_t x, int64_t y, int c) {
  const bool planar = info.layout == Layout::kPlanar;
  const int plane = planar ? c : 0;
  if (frame.format == VERA_PIXEL_FORMAT_BGRA8 && c < 3) c = 2 - c;
  return static_cast<uint8_t*>(frame.planes[plane]) + y * frame.row_stride_bytes[plane] +
         x * info.pixel_bytes + (planar ? 0 : c * info.unit_bytes);
}

// Chroma code at luma position (x, y), sited left: half of the sum of neighbours in x (the same
// one for even x), three quarters of the nearer row and one of the other.
double Chroma(const vera_frame& frame, const FormatInfo& info, int64_t x, int64_t y, int c) {
  const int64_t columns = (frame.width + 1) / 2, rows = (frame.height + 1) / 2;
  const bool joint = frame.format != VERA_PIXEL_FORMAT_I420;
  const int plane = joint ? 1 : c;
  const auto sample = [&](int64_t column, int64_t row) -> double {
    column = std::clamp<int64_t>(column, 0, columns - 1);
    row = std::clamp<int64_t>(row, 0, rows - 1);
    const uint8_t* at = static_cast<const uint8_t*>(frame.planes[plane]) +
                        row * frame.row_stride_bytes[plane] +
                        (joint ? 2 * column + c - 1 : column) * info.unit_bytes;
    uint16_t bits;
    if (info.unit_bytes == 1) return *at;
    std::memcpy(&bits, at, 2);
    return bits >> 6;
  };
  const double column = static_cast<double>(x) / 2.0, row = static_cast<double>(y) / 2.0 - 0.25;
  const double left = std::floor(column), top = std::floor(row);
  double sum = 0.0;
  for (int corner = 0; corner < 4; ++corner) {
    const double weight_x = corner & 1 ? column - left : 1.0 - (column - left);
    const double weight_y = corner & 2 ? row - top : 1.0 - (row - top);
    sum += weight_x * weight_y * sample(static_cast<int64_t>(left) + (corner & 1),
                                        static_cast<int64_t>(top) + (corner >> 1));
  }
  return sum;
}

void LoadYuvPixel(const vera_frame& frame, const FormatInfo& info, int64_t x, int64_t y,
                  double rgba[4]) {
  const uint8_t* at = static_cast<const uint8_t*>(frame.planes[0]) +
                      y * frame.row_stride_bytes[0] + x * info.unit_bytes;
  uint16_t bits = *at;
  if (info.unit_bytes == 2) std::memcpy(&bits, at, 2);
  const YuvToRgb yuv =
      GetYuvToRgb(frame.yuv_matrix, frame.yuv_range, info.unit_bytes == 1 ? 8 : 10);
  const double luma = ((info.unit_bytes == 1 ? bits : bits >> 6) - yuv.y_zero) * yuv.y;
  const double cb = Chroma(frame, info, x, y, 1) - yuv.c_zero;
  const double cr = Chroma(frame, info, x, y, 2) - yuv.c_zero;
  rgba[0] = Clamp01(luma + yuv.r_cr * cr);
  rgba[1] = Clamp01(luma + yuv.g_cb * cb + yuv.g_cr * cr);
  rgba[2] = Clamp01(luma + yuv.b_cb * cb);
}

void LoadPixel(const vera_frame& frame, const FormatInfo& info, int64_t x, int64_t y,
               double rgba[4]) {
  rgba[3] = 1.0;
  if (info.layout == Layout::k420) return LoadYuvPixel(frame, info, x, y, rgba);
  if (frame.format == VERA_PIXEL_FORMAT_RGB10A2) {
    uint32_t bits;
    std::memcpy(&bits, SampleAt(frame, info, x, y, 0), 4);
    for (int c = 0; c < 3; ++c) rgba[c] = (bits >> 10 * c & 1023) / 1023.0;
    rgba[3] = (bits >> 30) / 3.0;
    return;
  }
  for (int c = 0; c < (info.has_alpha ? 4 : 3); ++c) {
    rgba[c] = LoadSample(info.sample, SampleAt(frame, info, x, y, c));
  }
}

void StorePixel(const vera_frame& frame, const FormatInfo& info, int64_t x, int64_t y,
                const double rgba[4], double round) {
  if (frame.format == VERA_PIXEL_FORMAT_RGB10A2) {
    uint32_t bits = static_cast<uint32_t>(Clamp01(rgba[3]) * 3.0 + 0.5) << 30;
    for (int c = 0; c < 3; ++c) {
      bits |= static_cast<uint32_t>(Clamp01(rgba[c]) * 1023.0 + 0.5) << 10 * c;
    }
    std::memcpy(SampleAt(frame, info, x, y, 0), &bits, 4);
    return;
  }
  for (int c = 0; c < (info.has_alpha ? 4 : 3); ++c) {
    StoreSample(info.sample, rgba[c], c == 3 ? 0.5 : round, SampleAt(frame, info, x, y, c));
  }
}

void RenderPixel(const vera_look& look, const vera_render_options& options, double rgba[4]) {
  double in[3], position[3], edited[3];
  for (int c = 0; c < 3; ++c) {
    in[c] = Clamp01(rgba[c]);
    position[c] = EvalCurve(look.curves, look.curve_type, look.curve_size, c, in[c]) *
                  (look.lut_size - 1);
  }
  EvalLut(look, options.interpolation == VERA_INTERPOLATION_TRILINEAR, position, edited);
  for (int c = 0; c < 3; ++c) {
    if (look.output_curve_size > 0) {
      edited[c] = EvalCurve(look.output_curves, look.output_curve_type, look.output_curve_size, c,
                            Clamp01(edited[c]));
    }
    const double strength = static_cast<double>(options.strength);
    const double mixed = in[c] + strength * (edited[c] - in[c]);
    const double excess = std::isnan(rgba[c]) ? 0.0 : rgba[c] - in[c];
    rgba[c] = options.out_of_range == VERA_OUT_OF_RANGE_EXTEND ? mixed + excess : Clamp01(mixed);
  }
}

}  // namespace

void RenderReference(const vera_look& look, const vera_frame& src, const vera_frame& dst,
                     const vera_render_options& options) {
  FormatInfo from, to;
  if (!GetFormatInfo(src.format, &from) || !GetFormatInfo(dst.format, &to)) return;
  for (int64_t y = 0; y < src.height; ++y) {
    for (int64_t x = 0; x < src.width; ++x) {
      const uint32_t phase = DitherPhase(x + options.origin_x, y + options.origin_y);
      const double round =
          options.dither == VERA_DITHER_ORDERED ? ((phase >> 24) + 0.5) / 256.0 : 0.5;
      double rgba[4];
      LoadPixel(src, from, x, y, rgba);
      RenderPixel(look, options, rgba);
      StorePixel(dst, to, x, y, rgba, round);
    }
  }
}

}  // namespace vera
