// The tetrahedron of a pixel: the walk from the low corner of its cell to the high one, the axis
// with the largest fraction first. Its four nodes weigh 1 - high, high - middle, middle - low and
// low of the sorted fractions.
#if defined(VERA_OPS_RENDER_WALK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_RENDER_WALK_INL_H_
#undef VERA_OPS_RENDER_WALK_INL_H_
#else
#define VERA_OPS_RENDER_WALK_INL_H_
#endif

#include "ops/render/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {

template <class Vec>
HWY_INLINE void SortFractions(Vec r, Vec g, Vec b, Vec& high, Vec& middle, Vec& low) {
  const Vec high_gb = hn::Max(g, b), low_gb = hn::Min(g, b);
  high = hn::Max(r, high_gb);
  low = hn::Min(r, low_gb);
  middle = hn::Max(hn::Min(r, high_gb), low_gb);
}

// How far it is to the next node of an array.
struct Steps {
  int32_t r, g, b;
};
HWY_INLINE Steps FixedSteps(int32_t n) { return {kFixedNode, 4, kFixedNode * n * n}; }

// Indices of the four nodes along the walk from `first`. Where fractions are equal either order is
// right: the node in question has weight 0.
template <class Mask>
HWY_INLINE void StoreNodes(const Steps& steps, VI first, Mask r_over_g, Mask g_over_b,
                           Mask r_over_b, size_t i, int32_t node[4][kBlock]) {
  const DI di;
  const VI step_r = hn::Set(di, steps.r), step_g = hn::Set(di, steps.g);
  const VI step_b = hn::Set(di, steps.b);
  const VI high_step = hn::IfThenElse(hn::And(r_over_g, r_over_b), step_r,
                                      hn::IfThenElse(g_over_b, step_g, step_b));
  const VI low_step = hn::IfThenElse(hn::Or(r_over_g, r_over_b),
                                     hn::IfThenElse(g_over_b, step_b, step_g), step_r);
  const VI last = hn::Add(first, hn::Set(di, steps.r + steps.g + steps.b));
  hn::Store(first, di, node[0] + i);
  hn::Store(hn::Add(first, high_step), di, node[1] + i);
  hn::Store(hn::Sub(last, low_step), di, node[2] + i);
  hn::Store(last, di, node[3] + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#endif  // include guard, once per target
