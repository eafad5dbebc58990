#include <algorithm>
#include <cmath>
#include <new>

#include "ops/render/render.h"

namespace vera {
namespace {

// Keeps every sum and product of RenderSpan finite; the largest half-precision number.
constexpr float kMaxLutMagnitude = 65504.0f;

std::unique_ptr<float[]> Allocate(size_t count) {
  return std::unique_ptr<float[]>(new (std::nothrow) float[count]);
}

// clamp(value) * scale for each; false if one is not finite.
bool CopyCurves(const void* values, vera_value_type type, size_t count, float scale, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const float value = ReadValue(values, type, i);
    if (!std::isfinite(value)) return false;
    out[i] = std::clamp(value, 0.0f, 1.0f) * scale;
  }
  return true;
}

// In double, so that the table holds the nearest float to the true position.
void PrepareCodes8(PreparedLook* out) {
  const int last = out->curve_size - 1;
  for (int c = 0; c < 3; ++c) {
    const float* curve = out->curves.get() + c * out->curve_size;
    for (int code = 0; code < 256; ++code) {
      const double t = code * last / 255.0;
      const int i = std::min(static_cast<int>(t), last - 1);
      const double low = curve[i];
      out->codes8[c * 256 + code] = static_cast<float>(low + (t - i) * (curve[i + 1] - low));
    }
  }
}

// NaN fails the comparison too.
bool PrepareNodes(const vera_look& look, size_t count, PreparedLook* out) {
  float* node = out->nodes.get();
  int bad = 0;
  for (size_t i = 0; i < count; ++i, node += 4) {
    for (size_t c = 0; c < 3; ++c) {
      node[c] = ReadValue(look.lut, look.lut_type, 3 * i + c);
      bad |= !(std::fabs(node[c]) <= kMaxLutMagnitude);
    }
    node[3] = 0.0f;
  }
  return bad == 0;
}

// The integer path has neither output curves nor dither nor trilinear interpolation.
bool MayBeEightBit(const vera_look& look, const RenderJob& job) {
  return job.src.sample == Sample::kUnsigned8 && job.src.layout != Layout::k420 &&
         job.dst.sample == Sample::kUnsigned8 && !job.trilinear && !job.dither &&
         look.output_curve_size == 0;
}

// Nodes in steps of 1/64 code; false if one is too large for that, or not a number.
bool ScaleNodes(const vera_look& look, size_t count, int16_t* out) {
  int bad = 0;
  for (size_t i = 0; i < count; ++i) {
    const float value = ReadValue(look.lut, look.lut_type, i);
    const bool fits = std::fabs(value) <= kFixedNodeMax;
    bad |= !fits;
    const double scaled = fits ? static_cast<double>(value) * (255 * kFixedCode) : 0.0;
    out[i] = static_cast<int16_t>(static_cast<int32_t>(scaled + 65536.5) - 65536);
  }
  return bad == 0;
}

void PrepareFixedCodes(PreparedLook* out) {
  const int last = out->curve_size - 1, n = out->lut_size;
  for (int c = 0; c < 3; ++c) {
    const float* curve = out->curves.get() + c * out->curve_size;
    for (int code = 0; code < 256; ++code) {
      const double t = code * last / 255.0;
      const int i = std::min(static_cast<int>(t), last - 1);
      const double low = curve[i];
      const double position = low + (t - i) * (curve[i + 1] - low);
      const int cell = std::min(static_cast<int>(position), n - 2);
      const int fraction = static_cast<int>((position - cell) * kFixedOne + 0.5);
      out->fixed_codes[c * 256 + code] = (c == 1 ? cell * n : cell) << 15 | fraction;
    }
  }
}

// Entry i, at n^2 + i, holds node i in its even places and the far node of its cell in the odd.
void PrepareFixedNodes(const int16_t* scaled, PreparedLook* out) {
  const ptrdiff_t n = out->lut_size, count = n * n * n, step = 1 + n + n * n;
  int16_t* entries = out->fixed_nodes.get();
  std::fill(entries, entries + 8 * (n * n + count), int16_t{0});
  for (ptrdiff_t i = 0; i < count; ++i) {
    int16_t* near_entry = entries + 8 * (n * n + i);
    int16_t* far_entry = near_entry - 8 * step;
    for (ptrdiff_t c = 0; c < 3; ++c) {
      near_entry[2 * c] = scaled[3 * i + c];
      if (i >= 1 + n) far_entry[2 * c + 1] = scaled[3 * i + c];
    }
  }
}

// Leaves out->fixed_nodes empty where the look does not fit into integers.
vera_status PrepareEightBit(const vera_look& look, PreparedLook* out) {
  const size_t n = static_cast<size_t>(look.lut_size), count = n * n * n;
  const std::unique_ptr<int16_t[]> scaled(new (std::nothrow) int16_t[3 * count]);
  if (!scaled) return VERA_STATUS_OUT_OF_MEMORY;
  if (!ScaleNodes(look, 3 * count, scaled.get())) return VERA_STATUS_OK;
  const size_t curve_count = 3 * static_cast<size_t>(look.curve_size);
  out->curves = Allocate(curve_count);
  out->fixed_codes.reset(new (std::nothrow) int32_t[3 * 256]);
  out->fixed_nodes.reset(new (std::nothrow) int16_t[8 * (n * n + count)]);
  if (!out->curves || !out->fixed_codes || !out->fixed_nodes) return VERA_STATUS_OUT_OF_MEMORY;
  if (!CopyCurves(look.curves, look.curve_type, curve_count, static_cast<float>(n - 1),
                  out->curves.get())) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  PrepareFixedCodes(out);
  PrepareFixedNodes(scaled.get(), out);
  return VERA_STATUS_OK;
}

bool AllocateAll(bool codes8, PreparedLook* out) {
  const size_t n = static_cast<size_t>(out->lut_size);
  const size_t output_count = 3 * static_cast<size_t>(out->output_curve_size);
  out->curves = Allocate(3 * static_cast<size_t>(out->curve_size));
  out->nodes = Allocate(4 * n * n * n);
  if (codes8) out->codes8 = Allocate(3 * 256);
  if (output_count > 0) out->output_curves = Allocate(output_count);
  return out->curves && out->nodes && (!codes8 || out->codes8) &&
         (output_count == 0 || out->output_curves);
}

}  // namespace

vera_status PrepareLook(const vera_look& look, RenderJob* job) {
  PreparedLook* out = &job->look;
  out->curve_size = look.curve_size;
  out->lut_size = look.lut_size;
  out->output_curve_size = look.output_curve_size;
  if (MayBeEightBit(look, *job)) {
    const vera_status status = PrepareEightBit(look, out);
    if (status != VERA_STATUS_OK || out->fixed_nodes) return status;
  }
  const bool codes8 =
      job->src.sample == Sample::kUnsigned8 && job->src.layout != Layout::k420;
  if (!AllocateAll(codes8, out)) return VERA_STATUS_OUT_OF_MEMORY;
  const size_t n = static_cast<size_t>(look.lut_size);
  const size_t curve_count = 3 * static_cast<size_t>(look.curve_size);
  const size_t output_count = 3 * static_cast<size_t>(look.output_curve_size);
  if (!CopyCurves(look.curves, look.curve_type, curve_count, static_cast<float>(n - 1),
                  out->curves.get()) ||
      !CopyCurves(look.output_curves, look.output_curve_type, output_count, 1.0f,
                  out->output_curves.get()) ||
      !PrepareNodes(look, n * n * n, out)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  if (codes8) PrepareCodes8(out);
  return VERA_STATUS_OK;
}

}  // namespace vera
