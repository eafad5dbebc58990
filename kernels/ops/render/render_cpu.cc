// The render operator in Highway SIMD: load -> look -> store, one block of pixels at a time. Formats
// meet only at both ends, in load-inl.h, load_yuv-inl.h and store-inl.h. Pixels of 8 bits on both
// sides go through integers instead (eight_bit-inl.h).
#include <algorithm>
#include <cstring>

#include "ops/render/render.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/render/render_cpu.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "ops/render/eight_bit-inl.h"
#include "ops/render/load-inl.h"
#include "ops/render/load_yuv-inl.h"
#include "ops/render/look-inl.h"
#include "ops/render/store-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {

using LoadFunction = void (*)(const RenderJob&, const RowSpan&, size_t, size_t, Block&);
using StoreFunction = void (*)(const RenderJob&, const Block&, const RowSpan&, size_t, size_t);

template <int kPixelBytes, int kRed, bool kPlanar>
LoadFunction TableFunction(bool mix) {
  return mix ? &LoadTable<kPixelBytes, kRed, kPlanar, true>
             : &LoadTable<kPixelBytes, kRed, kPlanar, false>;
}

LoadFunction ChooseLoad(vera_pixel_format format, bool mix) {
  switch (format) {
    case VERA_PIXEL_FORMAT_RGB8: return TableFunction<3, 0, false>(mix);
    case VERA_PIXEL_FORMAT_RGBA8: return TableFunction<4, 0, false>(mix);
    case VERA_PIXEL_FORMAT_BGRA8: return TableFunction<4, 2, false>(mix);
    case VERA_PIXEL_FORMAT_PLANAR8: return TableFunction<1, 0, true>(mix);
    case VERA_PIXEL_FORMAT_RGB16: return &LoadPixels<LoadInterleaved<Convert16, 3>>;
    case VERA_PIXEL_FORMAT_RGBA16: return &LoadPixels<LoadInterleaved<Convert16, 4>>;
    case VERA_PIXEL_FORMAT_RGBF32: return &LoadPixels<LoadInterleaved<ConvertFloat, 3>>;
    case VERA_PIXEL_FORMAT_RGBAF32: return &LoadPixels<LoadInterleaved<ConvertFloat, 4>>;
    case VERA_PIXEL_FORMAT_RGBF16: return &LoadPixels<LoadInterleaved<ConvertHalf, 3>>;
    case VERA_PIXEL_FORMAT_RGBAF16: return &LoadPixels<LoadInterleaved<ConvertHalf, 4>>;
    case VERA_PIXEL_FORMAT_RGB10A2: return &LoadPixels<LoadRgb10A2>;
    case VERA_PIXEL_FORMAT_PLANAR16: return &LoadPixels<LoadPlanar<Convert16>>;
    case VERA_PIXEL_FORMAT_PLANARF32: return &LoadPixels<LoadPlanar<ConvertFloat>>;
    case VERA_PIXEL_FORMAT_PLANARF16: return &LoadPixels<LoadPlanar<ConvertHalf>>;
    case VERA_PIXEL_FORMAT_NV12: return &LoadYuv<uint8_t, true>;
    case VERA_PIXEL_FORMAT_I420: return &LoadYuv<uint8_t, false>;
    case VERA_PIXEL_FORMAT_P010: return &LoadYuv<uint16_t, true>;
    default: return nullptr;
  }
}

template <class Format>
StoreFunction Plain(bool mix) {
  return mix ? &StorePixels<Format, true, false> : &StorePixels<Format, false, false>;
}

template <class Format>
StoreFunction Dithered(bool mix, bool dither) {
  if (!dither) return Plain<Format>(mix);
  return mix ? &StorePixels<Format, true, true> : &StorePixels<Format, false, true>;
}

StoreFunction ChooseStore(vera_pixel_format format, bool mix, bool dither) {
  switch (format) {
    case VERA_PIXEL_FORMAT_RGB8: return Dithered<StoreInterleaved<To8, 3>>(mix, dither);
    case VERA_PIXEL_FORMAT_RGBA8: return Dithered<StoreInterleaved<To8, 4>>(mix, dither);
    case VERA_PIXEL_FORMAT_BGRA8: return Dithered<StoreInterleaved<To8, 4, true>>(mix, dither);
    case VERA_PIXEL_FORMAT_PLANAR8: return Dithered<StorePlanar<To8>>(mix, dither);
    case VERA_PIXEL_FORMAT_RGB16: return Plain<StoreInterleaved<To16, 3>>(mix);
    case VERA_PIXEL_FORMAT_RGBA16: return Plain<StoreInterleaved<To16, 4>>(mix);
    case VERA_PIXEL_FORMAT_RGBF32: return Plain<StoreInterleaved<ToFloat, 3>>(mix);
    case VERA_PIXEL_FORMAT_RGBAF32: return Plain<StoreInterleaved<ToFloat, 4>>(mix);
    case VERA_PIXEL_FORMAT_RGBF16: return Plain<StoreInterleaved<ToHalfFloat, 3>>(mix);
    case VERA_PIXEL_FORMAT_RGBAF16: return Plain<StoreInterleaved<ToHalfFloat, 4>>(mix);
    case VERA_PIXEL_FORMAT_RGB10A2: return Plain<StoreRgb10A2>(mix);
    case VERA_PIXEL_FORMAT_PLANAR16: return Plain<StorePlanar<To16>>(mix);
    case VERA_PIXEL_FORMAT_PLANARF32: return Plain<StorePlanar<ToFloat>>(mix);
    case VERA_PIXEL_FORMAT_PLANARF16: return Plain<StorePlanar<ToHalfFloat>>(mix);
    default: return nullptr;
  }
}

void RenderSpansSimd(const RenderJob& job, const RowSpan* spans, size_t span_count) {
  const bool mix = job.strength != 1.0f;
  if (job.look.fixed_nodes != nullptr) {
    return mix ? RenderEightBit<true>(job, spans, span_count)
               : RenderEightBit<false>(job, spans, span_count);
  }
  const LoadFunction load = ChooseLoad(job.src_format, mix);
  const StoreFunction store = ChooseStore(job.dst_format, mix, job.dither);
  const bool has_position = job.look.codes8 != nullptr;
  Block block;
  std::memset(&block, 0, sizeof(block));  // whole vectors are read past the last pixel
  if (!job.src.has_alpha) std::fill(block.alpha, block.alpha + kBlock, job.src.code_max);
  for (const RowSpan* span = spans; span < spans + span_count; ++span) {
    for (size_t begin = 0; begin < span->pixels; begin += kBlock) {
      const size_t count = std::min(span->pixels - begin, kBlock);
      load(job, *span, begin, count, block);
      ApplyLook(job, has_position, count, block);
      if (job.dither) FillDither(*span, begin, count, block);
      store(job, block, *span, begin, count);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vera {

HWY_EXPORT(RenderSpansSimd);


void RenderSpans(const RenderJob& job, const RowSpan* spans, size_t count) {
  HWY_DYNAMIC_DISPATCH(RenderSpansSimd)(job, spans, count);
}

}  // namespace vera
#endif  // HWY_ONCE
