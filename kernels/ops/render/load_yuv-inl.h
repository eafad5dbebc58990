// 4:2:0 camera frames to RGB in float lanes: chroma between its samples, then the matrix.
#if defined(VERA_OPS_RENDER_LOAD_YUV_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_RENDER_LOAD_YUV_INL_H_
#undef VERA_OPS_RENDER_LOAD_YUV_INL_H_
#else
#define VERA_OPS_RENDER_LOAD_YUV_INL_H_
#endif

#include <algorithm>

#include "ops/render/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {

// Codes of one row of chroma: Cb and Cr of sample i.
template <typename T, bool kSemiPlanar>
struct ChromaRow {
  static constexpr int kShift = sizeof(T) == 2 ? 6 : 0;  // P010 counts in the upper ten bits
  const T* cb;
  const T* cr;
  ChromaRow(const uint8_t* const planes[3])
      : cb(reinterpret_cast<const T*>(planes[1])),
        cr(kSemiPlanar ? cb + 1 : reinterpret_cast<const T*>(planes[2])) {}
  float Cb(int64_t i) const { return Code(cb[kSemiPlanar ? 2 * i : i]); }
  float Cr(int64_t i) const { return Code(cr[kSemiPlanar ? 2 * i : i]); }
  static float Code(T v) { return static_cast<float>(static_cast<int32_t>(v >> kShift)); }
};

// Left siting: an even column lies on a chroma sample, an odd one in the middle of two; a row
// lies a quarter of a chroma step from its nearer chroma row. Sums of codes are exact.
template <typename T, bool kSemiPlanar>
HWY_INLINE void LoadCodes(const RowSpan& span, size_t begin, size_t count, float codes[3][kBlock]) {
  using Row = ChromaRow<T, kSemiPlanar>;
  const Row near_row(span.src), far_row(span.src_far);
  const T* luma = reinterpret_cast<const T*>(span.src[0]);
  const int64_t last = (span.width + 1) / 2 - 1;
  const int64_t x = span.x + static_cast<int64_t>(begin);
  const auto cb = [&](int64_t i) { return 3.0f * near_row.Cb(i) + far_row.Cb(i); };
  const auto cr = [&](int64_t i) { return 3.0f * near_row.Cr(i) + far_row.Cr(i); };
  for (size_t i = 0; i < count; ++i) {
    const int64_t column = x + static_cast<int64_t>(i);
    const int64_t left = column / 2;
    const int64_t right = std::min(left + column % 2, last);
    codes[0][i] = Row::Code(luma[column]);
    codes[1][i] = 0.125f * (cb(left) + cb(right));
    codes[2][i] = 0.125f * (cr(left) + cr(right));
  }
}

HWY_INLINE void ToRgb(const YuvToRgb& yuv, size_t count, const float codes[3][kBlock],
                      Block& block) {
  const D d;
  const auto set = [&](double v) { return hn::Set(d, static_cast<float>(v)); };
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  const V y_zero = set(yuv.y_zero), c_zero = set(yuv.c_zero), scale = set(yuv.y);
  const V r_cr = set(yuv.r_cr), g_cb = set(yuv.g_cb), g_cr = set(yuv.g_cr), b_cb = set(yuv.b_cb);
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const V y = hn::Mul(hn::Sub(hn::Load(d, codes[0] + i), y_zero), scale);
    const V cb = hn::Sub(hn::Load(d, codes[1] + i), c_zero);
    const V cr = hn::Sub(hn::Load(d, codes[2] + i), c_zero);
    const V r = hn::Add(y, hn::Mul(r_cr, cr));
    const V g = hn::Add(hn::Add(y, hn::Mul(g_cb, cb)), hn::Mul(g_cr, cr));
    const V b = hn::Add(y, hn::Mul(b_cb, cb));
    hn::Store(hn::Min(hn::Max(r, zero), one), d, block.in[0] + i);
    hn::Store(hn::Min(hn::Max(g, zero), one), d, block.in[1] + i);
    hn::Store(hn::Min(hn::Max(b, zero), one), d, block.in[2] + i);
  }
}

template <typename T, bool kSemiPlanar>
void LoadYuv(const RenderJob& job, const RowSpan& span, size_t begin, size_t count,
             Block& block) {
  HWY_ALIGN float codes[3][kBlock] = {};
  LoadCodes<T, kSemiPlanar>(span, begin, count, codes);
  ToRgb(job.yuv, count, codes, block);
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#endif  // include guard, once per target
