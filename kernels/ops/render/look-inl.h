// Curves and LUT on float lanes, whatever the format:
//   curves    code values -> lattice positions
//   locate    positions -> first node, two middle nodes and four weights of the tetrahedron
//   blend     one 16-byte load a node: four nodes times four weights
// A gather of single floats needs twelve loads a pixel in blend; whole nodes need four.
#if defined(VERA_OPS_RENDER_LOOK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_RENDER_LOOK_INL_H_
#undef VERA_OPS_RENDER_LOOK_INL_H_
#else
#define VERA_OPS_RENDER_LOOK_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "ops/render/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {

// Calls work(i) for each i below count, four in a round: loops of few instructions.
template <class Work>
HWY_INLINE void InFours(size_t count, const Work& work) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    work(i);
    work(i + 1);
    work(i + 2);
    work(i + 3);
  }
  for (; i < count; ++i) work(i);
}

// The samples at and after each cell lie side by side: one load of 8 bytes a pixel brings both,
// where a gather of single floats would be two. Uses block.out and block.node[0] in between.
HWY_INLINE void EvalCurves(const PreparedLook& look, float code_max, size_t count, Block& block) {
  const D d;
  const DI di;
  const float last = static_cast<float>(look.curve_size - 1);
  const V scale = hn::Set(d, last / code_max);
  const V top = hn::Set(d, last);
  const V position_top = hn::Set(d, static_cast<float>(look.lut_size - 1));
  const VI last_cell = hn::Set(di, look.curve_size - 2);
  float* HWY_RESTRICT pairs = block.out;
  for (int c = 0; c < 3; ++c) {
    const float* HWY_RESTRICT curve =
        look.curves.get() + static_cast<size_t>(c) * static_cast<size_t>(look.curve_size);
    for (size_t i = 0; i < count; i += hn::Lanes(d)) {
      const V t = hn::Min(hn::Mul(hn::Load(d, block.in[c] + i), scale), top);
      const VI cell = hn::Min(hn::ConvertTo(di, t), last_cell);
      hn::Store(hn::Sub(t, hn::ConvertTo(d, cell)), d, block.position[c] + i);
      hn::Store(cell, di, block.node[0] + i);
    }
    InFours(count, [&](size_t i) HWY_ATTR {
      std::memcpy(pairs + 2 * i, curve + block.node[0][i], 2 * sizeof(float));
    });
    for (size_t i = 0; i < count; i += hn::Lanes(d)) {
      V low, high;
      hn::LoadInterleaved2(d, pairs + 2 * i, low, high);
      const V fraction = hn::Load(d, block.position[c] + i);
      const V position = hn::Add(low, hn::Mul(fraction, hn::Sub(high, low)));
      hn::Store(hn::Min(position, position_top), d, block.position[c] + i);
    }
  }
}

// Node order inside a cell: the corner nearest to 0, then one step along the axis with the largest
// fraction, then all but one step (the axis with the smallest is missing), then the far corner.
// Where two fractions are equal either order is right: the node in question has weight 0.
HWY_INLINE void Locate(const PreparedLook& look, size_t count, Block& block) {
  const D d;
  const DI di;
  const int32_t n = look.lut_size;
  const VI last_cell = hn::Set(di, n - 2);
  const VI nv = hn::Set(di, n);
  const VI step_r = hn::Set(di, 4);
  const VI step_g = hn::Set(di, 4 * n);
  const VI step_b = hn::Set(di, 4 * n * n);
  const VI all = hn::Set(di, 4 * (1 + n + n * n));
  const V one = hn::Set(d, 1.0f);
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const V pr = hn::Load(d, block.position[0] + i);
    const V pg = hn::Load(d, block.position[1] + i);
    const V pb = hn::Load(d, block.position[2] + i);
    const VI ir = hn::Min(hn::ConvertTo(di, pr), last_cell);
    const VI ig = hn::Min(hn::ConvertTo(di, pg), last_cell);
    const VI ib = hn::Min(hn::ConvertTo(di, pb), last_cell);
    const V fr = hn::Sub(pr, hn::ConvertTo(d, ir));
    const V fg = hn::Sub(pg, hn::ConvertTo(d, ig));
    const V fb = hn::Sub(pb, hn::ConvertTo(d, ib));
    const V high_gb = hn::Max(fg, fb);
    const V low_gb = hn::Min(fg, fb);
    const auto g_over_b = hn::RebindMask(di, hn::Ge(fg, fb));
    const auto r_is_high = hn::RebindMask(di, hn::Ge(fr, high_gb));
    const auto r_is_low = hn::RebindMask(di, hn::Le(fr, low_gb));
    const V high = hn::Max(fr, high_gb);
    const V low = hn::Min(fr, low_gb);
    const V middle = hn::Max(hn::Min(fr, high_gb), low_gb);
    const VI high_step_gb = hn::IfThenElse(g_over_b, step_g, step_b);
    const VI low_step_gb = hn::IfThenElse(g_over_b, step_b, step_g);
    const VI high_step = hn::IfThenElse(r_is_high, step_r, high_step_gb);
    const VI low_step = hn::IfThenElse(r_is_low, step_r, low_step_gb);
    const VI first = hn::ShiftLeft<2>(
        hn::Add(ir, hn::Mul(nv, hn::Add(ig, hn::Mul(nv, ib)))));
    hn::Store(first, di, block.node[0] + i);
    hn::Store(hn::Add(first, high_step), di, block.node[1] + i);
    hn::Store(hn::Add(first, hn::Sub(all, low_step)), di, block.node[2] + i);
    hn::Store(hn::Sub(one, high), d, block.weight[0] + i);
    hn::Store(hn::Sub(high, middle), d, block.weight[1] + i);
    hn::Store(hn::Sub(middle, low), d, block.weight[2] + i);
    hn::Store(low, d, block.weight[3] + i);
  }
}

HWY_INLINE void Blend(const PreparedLook& look, size_t count, Block& block) {
  const D4 d4;
  const float* HWY_RESTRICT nodes = look.nodes.get();
  const ptrdiff_t n = look.lut_size;
  const float* HWY_RESTRICT far_nodes = nodes + 4 * (1 + n + n * n);
  InFours(count, [&](size_t i) HWY_ATTR {
    const ptrdiff_t first = block.node[0][i];
    const float* a = nodes + first;
    const float* b = nodes + block.node[1][i];
    const float* c = nodes + block.node[2][i];
    const float* e = far_nodes + first;
    for (size_t lane = 0; lane < 4; lane += hn::Lanes(d4)) {
      const auto term = [&](int k, const float* node) HWY_ATTR {
        return hn::Mul(hn::Set(d4, block.weight[k][i]), hn::LoadU(d4, node + lane));
      };
      const auto outer = hn::Add(term(0, a), term(1, b)), inner = hn::Add(term(2, c), term(3, e));
      hn::Store(hn::Add(outer, inner), d4, block.out + 4 * i + lane);
    }
  });
}

// The cell's low corner and the three fractions.
HWY_INLINE void LocateTrilinear(const PreparedLook& look, size_t count, Block& block) {
  const D d;
  const DI di;
  const int32_t n = look.lut_size;
  const VI last_cell = hn::Set(di, n - 2);
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    VI node = hn::Zero(di);
    int32_t stride = 4;
    for (int c = 0; c < 3; ++c, stride *= n) {
      const V p = hn::Load(d, block.position[c] + i);
      const VI cell = hn::Min(hn::ConvertTo(di, p), last_cell);
      hn::Store(hn::Sub(p, hn::ConvertTo(d, cell)), d, block.weight[c] + i);
      node = hn::Add(node, hn::Mul(cell, hn::Set(di, stride)));
    }
    hn::Store(node, di, block.node[0] + i);
  }
}

using V4 = hn::Vec<D4>;

HWY_INLINE V4 Between(V4 low, V4 high, V4 fraction) {
  return hn::Add(low, hn::Mul(fraction, hn::Sub(high, low)));
}

// Red first, then green, then blue: seven steps of one kind.
HWY_INLINE void BlendTrilinear(const PreparedLook& look, size_t count, Block& block) {
  const D4 d4;
  const float* HWY_RESTRICT nodes = look.nodes.get();
  const ptrdiff_t g = 4 * static_cast<ptrdiff_t>(look.lut_size);
  const ptrdiff_t b = g * look.lut_size;
  for (size_t i = 0; i < count; ++i) {
    const V4 fr = hn::Set(d4, block.weight[0][i]);
    const V4 fg = hn::Set(d4, block.weight[1][i]);
    const V4 fb = hn::Set(d4, block.weight[2][i]);
    for (size_t lane = 0; lane < 4; lane += hn::Lanes(d4)) {
      const float* node = nodes + block.node[0][i] + lane;
      const auto row = [&](ptrdiff_t offset) {
        return Between(hn::LoadU(d4, node + offset), hn::LoadU(d4, node + offset + 4), fr);
      };
      const V4 low = Between(row(0), row(g), fg);
      const V4 high = Between(row(b), row(b + g), fg);
      hn::Store(Between(low, high, fb), d4, block.out + 4 * i + lane);
    }
  }
}

// Piecewise linear through the samples of one curve; x in [0, 1].
HWY_INLINE V EvalCurve(const float* curve, int size, V x) {
  const D d;
  const DI di;
  const V t = hn::Mul(x, hn::Set(d, static_cast<float>(size - 1)));
  const VI cell = hn::Min(hn::ConvertTo(di, t), hn::Set(di, size - 2));
  const V low = hn::GatherIndex(d, curve, cell);
  const V high = hn::GatherIndex(d, curve + 1, cell);
  return hn::Add(low, hn::Mul(hn::Sub(t, hn::ConvertTo(d, cell)), hn::Sub(high, low)));
}

HWY_INLINE void EvalOutputCurves(const PreparedLook& look, size_t count, Block& block) {
  const D d;
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  const int size = look.output_curve_size;
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    V red, green, blue, unused;
    hn::LoadInterleaved4(d, block.out + 4 * i, red, green, blue, unused);
    const auto curve = [&](V value, int c) {
      const V x = hn::Min(hn::Max(value, zero), one);
      return EvalCurve(look.output_curves.get() + c * size, size, x);
    };
    hn::StoreInterleaved4(curve(red, 0), curve(green, 1), curve(blue, 2), unused, d,
                          block.out + 4 * i);
  }
}

// block.in (or block.position, where has_position) to block.out.
HWY_INLINE void ApplyLook(const RenderJob& job, bool has_position, size_t count, Block& block) {
  const PreparedLook& look = job.look;
  if (!has_position) EvalCurves(look, job.src.code_max, count, block);
  if (job.trilinear) {
    LocateTrilinear(look, count, block);
    BlendTrilinear(look, count, block);
  } else {
    Locate(look, count, block);
    Blend(look, count, block);
  }
  if (look.output_curve_size > 0) EvalOutputCurves(look, count, block);
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#endif  // include guard, once per target
