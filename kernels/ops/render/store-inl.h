// Float lanes to pixels of every destination format: mix, clamp or extend, round, pack.
//
// A format is a struct with Store(red, green, blue, alpha, target): vectors of codes, already
// clamped (or extended) and, for integers, ready to be truncated.
#if defined(VERA_OPS_RENDER_STORE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_RENDER_STORE_INL_H_
#undef VERA_OPS_RENDER_STORE_INL_H_
#else
#define VERA_OPS_RENDER_STORE_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "ops/render/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {

struct Target {
  uint8_t* plane[3];
};

template <typename T>
HWY_INLINE hn::Vec<hn::Rebind<T, D>> Narrow(V code) {
  return hn::DemoteTo(hn::Rebind<T, D>(), hn::ConvertTo(DI(), code));
}

struct To8 {
  using T = uint8_t;
  static constexpr bool kFloat = false;
  static constexpr float kMax = 255.0f;
  static HWY_INLINE hn::Vec<hn::Rebind<T, D>> Apply(V code) { return Narrow<T>(code); }
};
struct To16 {
  using T = uint16_t;
  static constexpr bool kFloat = false;
  static constexpr float kMax = 65535.0f;
  static HWY_INLINE hn::Vec<hn::Rebind<T, D>> Apply(V code) { return Narrow<T>(code); }
};
struct ToHalfFloat {
  using T = uint16_t;
  static constexpr bool kFloat = true;
  static constexpr float kMax = 1.0f;
  static HWY_INLINE hn::Vec<hn::Rebind<T, D>> Apply(V code) {
    return hn::DemoteTo(hn::Rebind<T, D>(), hn::BitCast(DI(), ToHalf(code)));
  }
};
struct ToFloat {
  using T = float;
  static constexpr bool kFloat = true;
  static constexpr float kMax = 1.0f;
  static HWY_INLINE V Apply(V code) { return code; }
};

template <class C, int kChannels, bool kBlueFirst = false>
struct StoreInterleaved {
  static constexpr bool kFloat = C::kFloat;
  static constexpr bool kAlpha = kChannels == 4;
  static constexpr float kMax = C::kMax;
  static constexpr float kAlphaMax = C::kMax;
  static constexpr int kPlanes = 1;
  static constexpr size_t kPixelBytes = kChannels * sizeof(typename C::T);
  static HWY_INLINE void Store(V red, V green, V blue, V alpha, const Target& target) {
    const hn::Rebind<typename C::T, D> dt;
    auto* out = reinterpret_cast<typename C::T*>(target.plane[0]);
    const auto first = C::Apply(kBlueFirst ? blue : red);
    const auto last = C::Apply(kBlueFirst ? red : blue);
    if (kChannels == 3) {
      hn::StoreInterleaved3(first, C::Apply(green), last, dt, out);
    } else {
      hn::StoreInterleaved4(first, C::Apply(green), last, C::Apply(alpha), dt, out);
    }
  }
};

template <class C>
struct StorePlanar {
  static constexpr bool kFloat = C::kFloat;
  static constexpr bool kAlpha = false;
  static constexpr float kMax = C::kMax;
  static constexpr float kAlphaMax = C::kMax;
  static constexpr int kPlanes = 3;
  static constexpr size_t kPixelBytes = sizeof(typename C::T);
  static HWY_INLINE void Store(V red, V green, V blue, V alpha, const Target& target) {
    const hn::Rebind<typename C::T, D> dt;
    const auto store = [&](V code, int p) {
      hn::StoreU(C::Apply(code), dt, reinterpret_cast<typename C::T*>(target.plane[p]));
    };
    store(red, 0);
    store(green, 1);
    store(blue, 2);
    (void)alpha;
  }
};

struct StoreRgb10A2 {
  static constexpr bool kFloat = false;
  static constexpr bool kAlpha = true;
  static constexpr float kMax = 1023.0f;
  static constexpr float kAlphaMax = 3.0f;
  static constexpr int kPlanes = 1;
  static constexpr size_t kPixelBytes = 4;
  static HWY_INLINE void Store(V red, V green, V blue, V alpha, const Target& target) {
    const DI di;
    const DU du;
    const auto code = [&](V v) { return hn::BitCast(du, hn::ConvertTo(di, v)); };
    const VU red_green = hn::Or(code(red), hn::ShiftLeft<10>(code(green)));
    const VU blue_alpha = hn::Or(hn::ShiftLeft<20>(code(blue)), hn::ShiftLeft<30>(code(alpha)));
    hn::StoreU(hn::Or(red_green, blue_alpha), du, reinterpret_cast<uint32_t*>(target.plane[0]));
  }
};

// Adding 0 turns -0 into +0: which of the two zeros Max returns differs between machines.
HWY_INLINE V Clamp(V code, float top) {
  const D d;
  const V zero = hn::Zero(d);
  return hn::Add(hn::Min(hn::Max(code, zero), hn::Set(d, top)), zero);
}

template <class Format, bool kDither>
HWY_INLINE V ReadyToStore(const RenderJob& job, V code, int c, size_t i, const Block& block) {
  const D d;
  if (Format::kFloat) {
    return job.extend ? hn::Add(code, hn::Load(d, block.excess[c] + i)) : Clamp(code, 1.0f);
  }
  const V clamped = hn::Min(hn::Max(code, hn::Zero(d)), hn::Set(d, Format::kMax));
  return hn::Add(clamped, kDither ? hn::Load(d, block.round + i) : hn::Set(d, 0.5f));
}

// Float alpha of a float source is passed on to the bit, whatever it is.
template <class Format>
HWY_INLINE V Alpha(const RenderJob& job, size_t i, const Block& block) {
  const D d;
  const V alpha = hn::Load(d, block.alpha + i);
  if (Format::kFloat && job.src.is_float()) return alpha;
  const V code = hn::Mul(alpha, hn::Set(d, Format::kAlphaMax / job.src.code_max));
  if (Format::kFloat) return code;
  const V number = hn::IfThenElseZero(hn::Gt(code, hn::Zero(d)), code);  // NaN counts as 0
  return hn::Add(hn::Min(number, hn::Set(d, Format::kAlphaMax)), hn::Set(d, 0.5f));
}

// Mixes in code values, where the input is exact: strength 0 gives it back to the bit.
template <class Format, bool kMix, bool kDither>
HWY_INLINE void StoreVector(const RenderJob& job, const Block& block, size_t i,
                            const Target& target) {
  const D d;
  V red, green, blue, alpha;
  hn::LoadInterleaved4(d, block.out + 4 * i, red, green, blue, alpha);
  if (Format::kAlpha) alpha = Alpha<Format>(job, i, block);
  const auto finish = [&](V edited, int c) {
    V code = hn::Mul(edited, hn::Set(d, Format::kMax));
    if (kMix) {
      const V scale = hn::Set(d, Format::kMax / job.src.code_max);
      const V input = hn::Mul(hn::Load(d, block.in[c] + i), scale);
      code = hn::Add(input, hn::Mul(hn::Set(d, job.strength), hn::Sub(code, input)));
    }
    return ReadyToStore<Format, kDither>(job, code, c, i, block);
  };
  Format::Store(finish(red, 0), finish(green, 1), finish(blue, 2), alpha, target);
}

template <class Format, bool kMix, bool kDither>
void StorePixels(const RenderJob& job, const Block& block, const RowSpan& span, size_t begin,
                 size_t count) {
  const size_t lanes = hn::Lanes(D());
  Target target = {};
  for (int p = 0; p < Format::kPlanes; ++p) {
    target.plane[p] = span.dst[p] + begin * Format::kPixelBytes;
  }
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    StoreVector<Format, kMix, kDither>(job, block, i, target);
    for (int p = 0; p < Format::kPlanes; ++p) target.plane[p] += lanes * Format::kPixelBytes;
  }
  if (i < count) {
    HWY_ALIGN uint8_t rest[3][kMaxLanes * 16];
    const Target last = {{rest[0], rest[1], rest[2]}};
    StoreVector<Format, kMix, kDither>(job, block, i, last);
    for (int p = 0; p < Format::kPlanes; ++p) {
      std::memcpy(target.plane[p], rest[p], (count - i) * Format::kPixelBytes);
    }
  }
}

HWY_INLINE void FillDither(const RowSpan& span, size_t begin, size_t count, Block& block) {
  uint32_t phase = span.dither_phase + static_cast<uint32_t>(begin) * kDitherStepX;
  for (size_t i = 0; i < count; ++i, phase += kDitherStepX) {
    block.round[i] = (static_cast<float>(static_cast<int32_t>(phase >> 24)) + 0.5f) / 256.0f;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#endif  // include guard, once per target
