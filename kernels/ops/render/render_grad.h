// Gradients of curve + LUT + mix for float32 pixels, for training and fitting. Part of libvera_ops.
#ifndef VERA_OPS_RENDER_RENDER_GRAD_H_
#define VERA_OPS_RENDER_RENDER_GRAD_H_

#include <cstddef>
#include <cstdint>

namespace vera {

struct GradLook {
  const float* curves;  // 3 x curve_size
  const float* lut;     // lut_size^3 x 3
  int curve_size;
  int lut_size;
  double strength;
};

// For pixels [0, count) of `channels` floats: writes grad_in (alpha's is passed on) and adds to
// grad_curves (3 x curve_size) and grad_lut (lut_size^3 x 3), all for the given grad_out.
//
// Clamps count as in torch.clamp: 1 inside and at the ends of [0, 1], 0 outside and for NaN. Where
// fractions of a position are equal, and at lattice nodes, it is the derivative of the
// tetrahedron (cell) that the forward pass uses.
void RenderBackward(const GradLook& look, const float* in, const float* grad_out, size_t count,
                    int channels, float* grad_in, double* grad_curves, double* grad_lut);

}  // namespace vera

#endif  // VERA_OPS_RENDER_RENDER_GRAD_H_
