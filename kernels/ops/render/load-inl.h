// Pixels of every source format to float lanes: block.in, block.alpha, block.excess.
//
// A format is a struct with Load(source, red, green, blue, alpha): one vector of pixels.
#if defined(VERA_OPS_RENDER_LOAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_RENDER_LOAD_INL_H_
#undef VERA_OPS_RENDER_LOAD_INL_H_
#else
#define VERA_OPS_RENDER_LOAD_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "ops/render/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {

// Where the next pixels lie in each plane.
struct Source {
  const uint8_t* plane[3];
};

HWY_INLINE V Widen(hn::Vec<hn::Rebind<uint8_t, D>> v) {
  return hn::ConvertTo(D(), hn::PromoteTo(DI(), v));
}
template <bool kHalf>
HWY_INLINE V Widen16(hn::Vec<hn::Rebind<uint16_t, D>> v) {
  if (kHalf) return FromHalf(hn::PromoteTo(DU(), v));
  return hn::ConvertTo(D(), hn::PromoteTo(DI(), v));
}

struct Convert8 {
  using T = uint8_t;
  static constexpr bool kFloat = false;
  static HWY_INLINE V Apply(hn::Vec<hn::Rebind<T, D>> v) { return Widen(v); }
};
struct Convert16 {
  using T = uint16_t;
  static constexpr bool kFloat = false;
  static HWY_INLINE V Apply(hn::Vec<hn::Rebind<T, D>> v) { return Widen16<false>(v); }
};
struct ConvertHalf {
  using T = uint16_t;
  static constexpr bool kFloat = true;
  static HWY_INLINE V Apply(hn::Vec<hn::Rebind<T, D>> v) { return Widen16<true>(v); }
};
struct ConvertFloat {
  using T = float;
  static constexpr bool kFloat = true;
  static HWY_INLINE V Apply(V v) { return v; }
};

template <class C, int kChannels>
struct LoadInterleaved {
  static constexpr bool kFloat = C::kFloat;
  static constexpr bool kAlpha = kChannels == 4;
  static constexpr int kPlanes = 1;
  static constexpr size_t kPixelBytes = kChannels * sizeof(typename C::T);
  static HWY_INLINE void Load(const Source& source, V& red, V& green, V& blue, V& alpha) {
    using T = typename C::T;
    const hn::Rebind<T, D> dt;
    const T* in = reinterpret_cast<const T*>(source.plane[0]);
    hn::Vec<hn::Rebind<T, D>> r, g, b, a = hn::Zero(dt);
    if (kChannels == 4) {
      hn::LoadInterleaved4(dt, in, r, g, b, a);
    } else {
      hn::LoadInterleaved3(dt, in, r, g, b);
    }
    red = C::Apply(r);
    green = C::Apply(g);
    blue = C::Apply(b);
    alpha = C::Apply(a);
  }
};

template <class C>
struct LoadPlanar {
  static constexpr bool kFloat = C::kFloat;
  static constexpr bool kAlpha = false;
  static constexpr int kPlanes = 3;
  static constexpr size_t kPixelBytes = sizeof(typename C::T);
  static HWY_INLINE void Load(const Source& source, V& red, V& green, V& blue, V& alpha) {
    using T = typename C::T;
    const hn::Rebind<T, D> dt;
    const auto load = [&](int p) {
      return C::Apply(hn::LoadU(dt, reinterpret_cast<const T*>(source.plane[p])));
    };
    red = load(0);
    green = load(1);
    blue = load(2);
    alpha = hn::Zero(D());
  }
};

struct LoadRgb10A2 {
  static constexpr bool kFloat = false;
  static constexpr bool kAlpha = true;
  static constexpr int kPlanes = 1;
  static constexpr size_t kPixelBytes = 4;
  static HWY_INLINE void Load(const Source& source, V& red, V& green, V& blue, V& alpha) {
    const D d;
    const DI di;
    const DU du;
    const VU packed = hn::LoadU(du, reinterpret_cast<const uint32_t*>(source.plane[0]));
    const VU ten = hn::Set(du, 1023u);
    const auto convert = [&](VU v) { return hn::ConvertTo(d, hn::BitCast(di, v)); };
    red = convert(hn::And(packed, ten));
    green = convert(hn::And(hn::ShiftRight<10>(packed), ten));
    blue = convert(hn::And(hn::ShiftRight<20>(packed), ten));
    alpha = hn::Mul(convert(hn::ShiftRight<30>(packed)), hn::Set(d, 341.0f));  // of 1023
  }
};

// Infinity minus infinity would be NaN: infinite samples keep an infinite excess.
template <class Format>
HWY_INLINE void StoreColour(V code, bool extend, int c, size_t i, Block& block) {
  const D d;
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  if (Format::kFloat) {
    const V number = hn::IfThenElseZero(hn::Eq(code, code), code);
    code = hn::Min(hn::IfThenElseZero(hn::Gt(number, zero), number), one);
    if (extend) hn::Store(hn::Sub(number, code), d, block.excess[c] + i);
  }
  hn::Store(code, d, block.in[c] + i);
}

// No array of vectors anywhere: those of SVE have no size.
template <class Format>
HWY_INLINE void LoadVector(const Source& source, bool extend, size_t i, Block& block) {
  V red, green, blue, alpha;
  Format::Load(source, red, green, blue, alpha);
  StoreColour<Format>(red, extend, 0, i, block);
  StoreColour<Format>(green, extend, 1, i, block);
  StoreColour<Format>(blue, extend, 2, i, block);
  if (Format::kAlpha) hn::Store(alpha, D(), block.alpha + i);
}

template <class Format>
void LoadPixels(const RenderJob& job, const RowSpan& span, size_t begin, size_t count,
                Block& block) {
  const size_t lanes = hn::Lanes(D());
  Source source = {};
  for (int p = 0; p < Format::kPlanes; ++p) {
    source.plane[p] = span.src[p] + begin * Format::kPixelBytes;
  }
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    LoadVector<Format>(source, job.extend, i, block);
    for (int p = 0; p < Format::kPlanes; ++p) source.plane[p] += lanes * Format::kPixelBytes;
  }
  if (i < count) {  // the last pixels, followed by zeros
    HWY_ALIGN uint8_t rest[3][kMaxLanes * 16] = {};
    for (int p = 0; p < Format::kPlanes; ++p) {
      std::memcpy(rest[p], source.plane[p], (count - i) * Format::kPixelBytes);
      source.plane[p] = rest[p];
    }
    LoadVector<Format>(source, job.extend, i, block);
  }
}

// 8-bit pixels: a table holds the curves, so that positions are one look-up a sample.
template <int kPixelBytes, int kRed, bool kPlanar, bool kMix>
void LoadTable(const RenderJob& job, const RowSpan& span, size_t begin, size_t count,
               Block& block) {
  const float* HWY_RESTRICT table = job.look.codes8.get();
  const uint8_t* red = span.src[0] + begin * kPixelBytes + (kPlanar ? 0 : kRed);
  const uint8_t* green = kPlanar ? span.src[1] + begin : red - kRed + 1;
  const uint8_t* blue = kPlanar ? span.src[2] + begin : red - kRed + 2 - kRed;
  const uint8_t* alpha = red - kRed + 3;
  for (size_t i = 0; i < count; ++i) {
    const size_t r = red[i * kPixelBytes];
    const size_t g = green[i * kPixelBytes];
    const size_t b = blue[i * kPixelBytes];
    block.position[0][i] = table[r];
    block.position[1][i] = table[256 + g];
    block.position[2][i] = table[512 + b];
    if (kMix) {
      block.in[0][i] = static_cast<float>(static_cast<int32_t>(r));
      block.in[1][i] = static_cast<float>(static_cast<int32_t>(g));
      block.in[2][i] = static_cast<float>(static_cast<int32_t>(b));
    }
    if (kPixelBytes == 4) {
      block.alpha[i] = static_cast<float>(static_cast<int32_t>(alpha[i * kPixelBytes]));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#endif  // include guard, once per target
