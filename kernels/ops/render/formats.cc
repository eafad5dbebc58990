#include "ops/render/formats.h"

#include <cmath>

namespace vera {
namespace {

FormatInfo Interleaved(Sample sample, int channels, int bytes, float code_max) {
  return {Layout::kInterleaved, sample, channels == 4, 1, bytes, channels * bytes, code_max};
}

FormatInfo Planar(Sample sample, int bytes, float code_max) {
  return {Layout::kPlanar, sample, false, 3, bytes, bytes, code_max};
}

FormatInfo Subsampled(int planes, int bytes) {
  const Sample sample = bytes == 1 ? Sample::kUnsigned8 : Sample::kUnsigned10;
  return {Layout::k420, sample, false, planes, bytes, bytes, 1.0f};
}

}  // namespace

bool GetFormatInfo(vera_pixel_format format, FormatInfo* info) {
  constexpr Sample k8 = Sample::kUnsigned8, k16 = Sample::kUnsigned16;
  switch (format) {
    case VERA_PIXEL_FORMAT_RGB8: *info = Interleaved(k8, 3, 1, 255.0f); return true;
    case VERA_PIXEL_FORMAT_RGBA8:
    case VERA_PIXEL_FORMAT_BGRA8: *info = Interleaved(k8, 4, 1, 255.0f); return true;
    case VERA_PIXEL_FORMAT_RGB16: *info = Interleaved(k16, 3, 2, 65535.0f); return true;
    case VERA_PIXEL_FORMAT_RGBA16: *info = Interleaved(k16, 4, 2, 65535.0f); return true;
    case VERA_PIXEL_FORMAT_RGBF32: *info = Interleaved(Sample::kFloat, 3, 4, 1.0f); return true;
    case VERA_PIXEL_FORMAT_RGBAF32: *info = Interleaved(Sample::kFloat, 4, 4, 1.0f); return true;
    case VERA_PIXEL_FORMAT_RGB10A2:
      *info = {Layout::kInterleaved, Sample::kUnsigned10, true, 1, 4, 4, 1023.0f};
      return true;
    case VERA_PIXEL_FORMAT_RGBF16: *info = Interleaved(Sample::kHalf, 3, 2, 1.0f); return true;
    case VERA_PIXEL_FORMAT_RGBAF16: *info = Interleaved(Sample::kHalf, 4, 2, 1.0f); return true;
    case VERA_PIXEL_FORMAT_PLANAR8: *info = Planar(k8, 1, 255.0f); return true;
    case VERA_PIXEL_FORMAT_PLANAR16: *info = Planar(k16, 2, 65535.0f); return true;
    case VERA_PIXEL_FORMAT_PLANARF32: *info = Planar(Sample::kFloat, 4, 1.0f); return true;
    case VERA_PIXEL_FORMAT_PLANARF16: *info = Planar(Sample::kHalf, 2, 1.0f); return true;
    case VERA_PIXEL_FORMAT_NV12: *info = Subsampled(2, 1); return true;
    case VERA_PIXEL_FORMAT_I420: *info = Subsampled(3, 1); return true;
    case VERA_PIXEL_FORMAT_P010: *info = Subsampled(2, 2); return true;
    default: return false;
  }
}

int64_t PlaneRowBytes(vera_pixel_format format, const FormatInfo& info, int plane,
                      int64_t width) {
  if (plane == 0 || info.layout != Layout::k420) return width * info.pixel_bytes;
  const int samples = format == VERA_PIXEL_FORMAT_I420 ? 1 : 2;
  return (width + 1) / 2 * samples * info.unit_bytes;
}

int64_t PlaneRows(const FormatInfo& info, int plane, int64_t height) {
  return plane == 0 || info.layout != Layout::k420 ? height : (height + 1) / 2;
}

YuvToRgb GetYuvToRgb(vera_yuv_matrix matrix, vera_yuv_range range, int bits) {
  constexpr double kRed[] = {0.2126, 0.299, 0.2627};
  constexpr double kBlue[] = {0.0722, 0.114, 0.0593};
  const double red = kRed[matrix], blue = kBlue[matrix], green = 1.0 - red - blue;
  const bool full = range == VERA_YUV_RANGE_FULL;
  const double unit = std::ldexp(1.0, bits - 8);
  const double code_max = std::ldexp(1.0, bits) - 1.0;
  const double y = 1.0 / (full ? code_max : 219.0 * unit);
  const double c = 1.0 / (full ? code_max : 224.0 * unit);
  return {full ? 0.0 : 16.0 * unit,
          128.0 * unit,
          y,
          c * 2.0 * (1.0 - red),
          -c * 2.0 * (1.0 - blue) * blue / green,
          -c * 2.0 * (1.0 - red) * red / green,
          c * 2.0 * (1.0 - blue)};
}

int ValueBytes(vera_value_type type) {
  switch (type) {
    case VERA_VALUE_FLOAT32: return 4;
    case VERA_VALUE_FLOAT16:
    case VERA_VALUE_UNORM16: return 2;
    default: return 0;
  }
}

}  // namespace vera
