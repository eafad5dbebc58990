// Facts about pixel formats and value types. A new format begins here.
#ifndef VERA_OPS_RENDER_FORMATS_H_
#define VERA_OPS_RENDER_FORMATS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "vera/vera.h"

namespace vera {

enum class Layout { kInterleaved, kPlanar, k420 };
enum class Sample { kUnsigned8, kUnsigned10, kUnsigned16, kHalf, kFloat };

struct FormatInfo {
  Layout layout = Layout::kInterleaved;
  Sample sample = Sample::kUnsigned8;
  bool has_alpha = false;
  int planes = 1;
  int unit_bytes = 1;    // what pointers and strides are multiples of
  int pixel_bytes = 3;   // in the first plane
  float code_max = 1.0f;  // code value of 1.0; 4:2:0 becomes float RGB when it is loaded

  bool is_float() const { return sample == Sample::kFloat || sample == Sample::kHalf; }
};

// False if the format is not one of vera_pixel_format.
bool GetFormatInfo(vera_pixel_format format, FormatInfo* info);

// Bytes of a row and rows of a plane in an image of that size.
int64_t PlaneRowBytes(vera_pixel_format format, const FormatInfo& info, int plane, int64_t width);
int64_t PlaneRows(const FormatInfo& info, int plane, int64_t height);

// r = y * (code - y_zero) + r_cr * (cr - c_zero) and so on, in codes of the format. Values and
// result are as the recommendations say: ITU-R BT.709-6, BT.601-7, BT.2020-2; full range as JFIF.
struct YuvToRgb {
  double y_zero, c_zero, y, r_cr, g_cb, g_cr, b_cb;
};
YuvToRgb GetYuvToRgb(vera_yuv_matrix matrix, vera_yuv_range range, int bits);

// Bytes of one value of a curve or LUT; 0 for an unknown type.
int ValueBytes(vera_value_type type);

inline float HalfToFloat(uint16_t half) {
  const uint32_t magnitude = half & 0x7FFFu;
  uint32_t bits = (magnitude << 13) + 0x38000000u;                  // exponent from 15 to 127
  if (magnitude >= 0x7C00u) bits = (magnitude << 13) | 0x7F800000u;  // infinity, NaN
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  if (magnitude < 0x0400u) value = static_cast<float>(magnitude) * 0x1p-24f;  // denormal
  return half & 0x8000u ? -value : value;
}

// To nearest even, for magnitudes up to 65504.
inline uint16_t FloatToHalf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  const uint32_t sign = (bits ^ magnitude) >> 16;
  if (magnitude < 0x38800000u) {  // a denormal half: its step is the last bit of 0.5 to 1
    float shifted;
    std::memcpy(&shifted, &magnitude, 4);
    shifted += 0.5f;
    std::memcpy(&bits, &shifted, 4);
    return static_cast<uint16_t>(sign | (bits - 0x3F000000u));
  }
  const uint32_t rounded = magnitude + 0x0FFFu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | (rounded - 0x38000000u) >> 13);
}

// Value i as float; exact for float and half, UNORM16 to the nearest float.
inline float ReadValue(const void* values, vera_value_type type, size_t i) {
  if (type == VERA_VALUE_FLOAT32) return static_cast<const float*>(values)[i];
  const uint16_t bits = static_cast<const uint16_t*>(values)[i];
  return type == VERA_VALUE_FLOAT16 ? HalfToFloat(bits) : static_cast<float>(bits) / 65535.0f;
}

}  // namespace vera

#endif  // VERA_OPS_RENDER_FORMATS_H_
