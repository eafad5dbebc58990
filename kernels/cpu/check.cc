#include "cpu/check.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

namespace vera {
namespace {

constexpr int64_t kMaxSide = int64_t{1} << 30;
constexpr size_t kMaxStructBytes = 4096;

bool Between(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

bool ValuesAreValid(const void* values, vera_value_type type, int32_t size, int32_t max_size) {
  const int bytes = ValueBytes(type);
  return values != nullptr && bytes > 0 && Between(size, 2, max_size) &&
         reinterpret_cast<uintptr_t>(values) % static_cast<size_t>(bytes) == 0;
}

bool CurvesAreValid(const vera_look& look) {
  const bool no_output_curves = look.output_curves == nullptr && look.output_curve_size == 0;
  return ValuesAreValid(look.curves, look.curve_type, look.curve_size, 4096) &&
         (no_output_curves || ValuesAreValid(look.output_curves, look.output_curve_type,
                                             look.output_curve_size, 4096));
}

struct Plane {
  uintptr_t begin;
  int64_t stride, row_bytes, rows;
};

Plane PlaneOf(const vera_frame& frame, const FormatInfo& info, int plane) {
  return {reinterpret_cast<uintptr_t>(frame.planes[plane]), frame.row_stride_bytes[plane],
          PlaneRowBytes(frame.format, info, plane, frame.width),
          PlaneRows(info, plane, frame.height)};
}

bool PlaneIsValid(const Plane& plane, int unit_bytes) {
  return plane.begin != 0 && plane.begin % static_cast<size_t>(unit_bytes) == 0 &&
         plane.stride % unit_bytes == 0 && plane.stride >= plane.row_bytes &&
         plane.stride <= std::numeric_limits<ptrdiff_t>::max() / plane.rows;
}

uintptr_t Span(const Plane& plane) {
  return static_cast<uintptr_t>((plane.rows - 1) * plane.stride + plane.row_bytes);
}

bool Disjoint(const Plane& a, const Plane& b) {
  if (b.begin < a.begin) return Disjoint(b, a);
  if (b.begin - a.begin >= Span(a)) return true;
  if (a.stride != b.stride) return false;
  const uintptr_t shift = (b.begin - a.begin) % static_cast<uintptr_t>(a.stride);
  return shift >= static_cast<uintptr_t>(a.row_bytes) &&
         shift + static_cast<uintptr_t>(b.row_bytes) <= static_cast<uintptr_t>(a.stride);
}

bool Same(const Plane& a, const Plane& b) {
  return a.begin == b.begin && (a.stride == b.stride || a.rows == 1);
}

}  // namespace

bool CopyStruct(const void* from, size_t min_size, size_t size, void* to) {
  if (from == nullptr) return false;
  size_t given;  // the first member of each struct
  std::memcpy(&given, from, sizeof(given));
  if (given < min_size || given > kMaxStructBytes) return false;
  const unsigned char* bytes = static_cast<const unsigned char*>(from);
  std::memset(to, 0, size);
  std::memcpy(to, bytes, std::min(given, size));
  return given <= size || std::all_of(bytes + size, bytes + given,
                                      [](unsigned char b) { return b == 0; });
}

bool ReadOptions(const vera_render_options* from, vera_render_options* to) {
  constexpr size_t kFirstSize = offsetof(vera_render_options, interpolation);
  if (!CopyStruct(from, kFirstSize, sizeof(*to), to)) return false;
  // Written so that NaN fails.
  const bool strength_ok = to->strength >= 0.0f && to->strength <= 1.5f;
  return strength_ok && Between(to->threads, 0, 64) &&
         Between(to->interpolation, 0, VERA_INTERPOLATION_TRILINEAR) &&
         Between(to->out_of_range, 0, VERA_OUT_OF_RANGE_EXTEND) &&
         Between(to->dither, 0, VERA_DITHER_ORDERED) && to->reserved == 0;
}

bool ReadLook(const vera_look* from, vera_look* to) {
  return CopyStruct(from, sizeof(*to), sizeof(*to), to) && CurvesAreValid(*to) &&
         ValuesAreValid(to->lut, to->lut_type, to->lut_size, 129);
}

bool ReadCurves(const vera_look* from, vera_look* to) {
  return CopyStruct(from, sizeof(*to), sizeof(*to), to) && CurvesAreValid(*to) &&
         to->lut == nullptr && to->lut_type == 0 && Between(to->lut_size, 2, 129);
}

bool ReadFrame(const vera_frame* from, vera_frame* to, FormatInfo* info) {
  if (!CopyStruct(from, sizeof(*to), sizeof(*to), to)) return false;
  if (!GetFormatInfo(to->format, info) || to->reserved != 0) return false;
  if (!Between(to->width, 0, kMaxSide) || !Between(to->height, 0, kMaxSide)) return false;
  if (!Between(to->yuv_matrix, 0, VERA_YUV_MATRIX_BT2020) ||
      !Between(to->yuv_range, 0, VERA_YUV_RANGE_FULL)) {
    return false;
  }
  if (to->width == 0 || to->height == 0) return true;
  for (int p = 0; p < info->planes; ++p) {
    if (!PlaneIsValid(PlaneOf(*to, *info, p), info->unit_bytes)) return false;
  }
  return true;
}

bool FramesFit(const vera_frame& src, const FormatInfo& src_info, const vera_frame& dst,
               const FormatInfo& dst_info, const vera_render_options& options) {
  const bool floats = src_info.is_float() && dst_info.is_float();
  return src.width == dst.width && src.height == dst.height &&
         dst_info.layout != Layout::k420 &&
         (options.out_of_range == VERA_OUT_OF_RANGE_CLAMP || floats) &&
         (options.dither == VERA_DITHER_NONE || dst_info.sample == Sample::kUnsigned8);
}

bool OverlapIsAllowed(const vera_frame& src, const FormatInfo& src_info, const vera_frame& dst,
                      const FormatInfo& dst_info) {
  for (int d = 0; d < dst_info.planes; ++d) {
    const Plane out = PlaneOf(dst, dst_info, d);
    for (int s = 0; s < src_info.planes; ++s) {
      const Plane in = PlaneOf(src, src_info, s);
      const bool in_place = s == d && src.format == dst.format && Same(in, out);
      if (!in_place && !Disjoint(in, out)) return false;
    }
    for (int other = 0; other < d; ++other) {
      if (!Disjoint(out, PlaneOf(dst, dst_info, other))) return false;
    }
  }
  return true;
}

}  // namespace vera
