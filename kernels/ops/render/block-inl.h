// What the phases hand to each other for a block of pixels.
#if defined(VERA_OPS_RENDER_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_RENDER_BLOCK_INL_H_
#undef VERA_OPS_RENDER_BLOCK_INL_H_
#else
#define VERA_OPS_RENDER_BLOCK_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "ops/render/render.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 16 lanes at most, so that a block is a whole number of vectors on every machine.
using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using DU = hn::RebindToUnsigned<D>;
using D4 = hn::CappedTag<float, 4>;
using V = hn::Vec<D>;
using VI = hn::Vec<DI>;
using VU = hn::Vec<DU>;

constexpr size_t kBlock = 128;
constexpr size_t kMaxLanes = 16;

// Small enough to stay in the first-level cache with the nodes in use.
struct Block {
  HWY_ALIGN float in[3][kBlock];        // code values of the source, clamped
  HWY_ALIGN float excess[3][kBlock];    // input minus clamped input; only to extend
  HWY_ALIGN float alpha[kBlock];        // code values of the source, as they come
  HWY_ALIGN float position[3][kBlock];  // in [0, lut_size - 1]
  HWY_ALIGN int32_t node[3][kBlock];    // float index of the first, second and third node
  HWY_ALIGN float weight[4][kBlock];    // of the nodes; trilinear: the three fractions
  HWY_ALIGN float out[4 * kBlock];      // R, G, B, 0 of each pixel, meant for [0, 1]
  HWY_ALIGN float round[kBlock];        // added before truncation; only to dither
};

// Half precision by integer steps, so that machines with and without an instruction for it give
// the same: exact from half, to nearest even to half.
HWY_INLINE V FromHalf(VU half) {
  const D d;
  const DU du;
  const VU magnitude = hn::ShiftLeft<13>(hn::And(half, hn::Set(du, 0x7FFFu)));
  const VU exponent = hn::And(magnitude, hn::Set(du, 0x0F800000u));
  const VU moved = hn::Add(magnitude, hn::Set(du, 0x38000000u));
  const V tiny = hn::Sub(hn::BitCast(d, hn::Add(moved, hn::Set(du, 0x00800000u))),
                         hn::BitCast(d, hn::Set(du, 0x38800000u)));
  const VU special = hn::Add(moved, hn::Set(du, 0x38000000u));
  VU bits = hn::IfThenElse(hn::Eq(exponent, hn::Set(du, 0x0F800000u)), special, moved);
  bits = hn::IfThenElse(hn::Eq(exponent, hn::Zero(du)), hn::BitCast(du, tiny), bits);
  const VU sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(du, 0x8000u)));
  return hn::BitCast(d, hn::Or(bits, sign));
}

HWY_INLINE VU ToHalf(V value) {
  const D d;
  const DU du;
  const VU bits = hn::BitCast(du, value);
  const VU magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFFu));
  const VU sign = hn::ShiftRight<16>(hn::Xor(bits, magnitude));
  const VU odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1u));
  const VU rounded = hn::Add(hn::Add(magnitude, hn::Set(du, 0x0FFFu)), odd);
  const VU normal = hn::ShiftRight<13>(hn::Sub(rounded, hn::Set(du, 0x38000000u)));
  const V shifted = hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5f));
  const VU tiny = hn::Sub(hn::BitCast(du, shifted), hn::Set(du, 0x3F000000u));
  VU half = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, 0x38800000u)), tiny, normal);
  half = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x477FFFFFu)), hn::Set(du, 0x7C00u), half);
  half = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x7F800000u)), hn::Set(du, 0x7E00u), half);
  return hn::Or(half, sign);
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#endif  // include guard, once per target
