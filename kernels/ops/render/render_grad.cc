#include "ops/render/render_grad.h"

#include <algorithm>

namespace vera {
namespace {

bool Inside(double v) { return v >= 0.0 && v <= 1.0; }
double Clamp01(double v) { return v > 0.0 ? std::min(v, 1.0) : 0.0; }

// One channel of one pixel on its way to the lattice.
struct Axis {
  double in;          // clamped
  bool in_counts;     // the clamp passes gradients
  size_t low;         // index of the curve sample below
  double fraction;    // between this sample and the next
  double slope;       // of the lattice position by the input
  double step;        // lattice positions by unit of curve value
  bool low_counts, high_counts;
  int cell;
  double position;    // inside the cell, 0..1
};

Axis Locate(const GradLook& look, int c, float sample) {
  Axis axis;
  axis.in = Clamp01(static_cast<double>(sample));
  axis.in_counts = Inside(static_cast<double>(sample));
  const int last = look.curve_size - 1;
  const double t = axis.in * last;
  const int i = std::min(static_cast<int>(t), last - 1);
  axis.low = static_cast<size_t>(c) * static_cast<size_t>(look.curve_size) + static_cast<size_t>(i);
  axis.fraction = t - i;
  const double low = static_cast<double>(look.curves[axis.low]);
  const double high = static_cast<double>(look.curves[axis.low + 1]);
  axis.low_counts = Inside(low);
  axis.high_counts = Inside(high);
  axis.step = look.lut_size - 1;
  const double rise = Clamp01(high) - Clamp01(low);
  axis.slope = last * rise * axis.step;
  const double position = (Clamp01(low) + axis.fraction * rise) * axis.step;
  axis.cell = std::min(static_cast<int>(position), look.lut_size - 2);
  axis.position = position - axis.cell;
  return axis;
}

// The tetrahedron around a point: four nodes (float index), their weights and the order of axes.
struct Tetrahedron {
  int order[3] = {0, 1, 2};
  size_t node[4];
  double weight[4];
};

Tetrahedron Surround(const GradLook& look, const Axis axes[3]) {
  Tetrahedron t;
  const size_t n = static_cast<size_t>(look.lut_size);
  const size_t stride[3] = {3, 3 * n, 3 * n * n};
  std::stable_sort(t.order, t.order + 3,
                   [&](int a, int b) { return axes[a].position > axes[b].position; });
  t.node[0] = 0;
  for (int c = 0; c < 3; ++c) t.node[0] += static_cast<size_t>(axes[c].cell) * stride[c];
  double above = 1.0;
  for (int step = 0; step < 3; ++step) {
    const double position = axes[t.order[step]].position;
    t.weight[step] = above - position;
    t.node[step + 1] = t.node[step] + stride[t.order[step]];
    above = position;
  }
  t.weight[3] = above;
  return t;
}

}  // namespace

void RenderBackward(const GradLook& look, const float* in, const float* grad_out, size_t count,
                    int channels, float* grad_in, double* grad_curves, double* grad_lut) {
  for (size_t i = 0; i < count; ++i, in += channels, grad_out += channels, grad_in += channels) {
    Axis axes[3];
    for (int c = 0; c < 3; ++c) axes[c] = Locate(look, c, in[c]);
    const Tetrahedron t = Surround(look, axes);
    double grad[3], by_rank[3] = {0.0, 0.0, 0.0};
    for (int c = 0; c < 3; ++c) {
      double edited = 0.0, value[4];
      for (int k = 0; k < 4; ++k) {
        value[k] = static_cast<double>(look.lut[t.node[k] + static_cast<size_t>(c)]);
        edited += t.weight[k] * value[k];
      }
      const double mixed = axes[c].in + look.strength * (edited - axes[c].in);
      grad[c] = Inside(mixed) ? static_cast<double>(grad_out[c]) : 0.0;
      const double to_lut = grad[c] * look.strength;
      for (int k = 0; k < 4; ++k) {
        grad_lut[t.node[k] + static_cast<size_t>(c)] += to_lut * t.weight[k];
      }
      for (int k = 0; k < 3; ++k) by_rank[k] += to_lut * (value[k + 1] - value[k]);
    }
    for (int rank = 0; rank < 3; ++rank) {
      const int c = t.order[rank];
      const Axis& axis = axes[c];
      const double to_value = by_rank[rank] * axis.step;
      if (axis.low_counts) grad_curves[axis.low] += to_value * (1.0 - axis.fraction);
      if (axis.high_counts) grad_curves[axis.low + 1] += to_value * axis.fraction;
      const double to_in = by_rank[rank] * axis.slope + grad[c] * (1.0 - look.strength);
      grad_in[c] = axis.in_counts ? static_cast<float>(to_in) : 0.0f;
    }
    if (channels == 4) grad_in[3] = grad_out[3];
  }
}

}  // namespace vera
