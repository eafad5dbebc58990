#include "ops/render/render_device.h"

#include <algorithm>
#include <cstring>

#include "ops/render/formats.h"

namespace vera {

size_t DeviceCurveBytes(int32_t curve_size) {
  return std::max<size_t>(3 * sizeof(float) * static_cast<size_t>(curve_size), 16);
}

size_t DeviceNodeBytes(int32_t lut_size, bool half_nodes) {
  const size_t n = static_cast<size_t>(lut_size);
  return n * n * n * (half_nodes ? 8 : 16);
}

void PackDeviceLook(const PreparedLook& look, const vera_render_options& options, bool half_nodes,
                    void* curves, void* nodes, void* output_curves, RenderParams* params) {
  const size_t curve_count = 3 * static_cast<size_t>(look.curve_size);
  const size_t output_count = 3 * static_cast<size_t>(look.output_curve_size);
  const size_t node_bytes = DeviceNodeBytes(look.lut_size, half_nodes);
  std::memcpy(curves, look.curves.get(), curve_count * sizeof(float));
  if (output_count > 0) {
    std::memcpy(output_curves, look.output_curves.get(), output_count * sizeof(float));
  }
  if (nodes != nullptr && !half_nodes) std::memcpy(nodes, look.nodes.get(), node_bytes);
  if (nodes != nullptr && half_nodes) {
    uint16_t* halves = static_cast<uint16_t*>(nodes);
    for (size_t i = 0; i < node_bytes / 2; ++i) halves[i] = FloatToHalf(look.nodes[i]);
  }
  *params = {};
  params->strength = options.strength;
  params->curve_size = look.curve_size;
  params->lut_size = look.lut_size;
  params->output_curve_size = look.output_curve_size;
  params->flags =
      (options.interpolation == VERA_INTERPOLATION_TRILINEAR ? kFlagTrilinear : 0) |
      (options.out_of_range == VERA_OUT_OF_RANGE_EXTEND ? kFlagExtend : 0) |
      (options.dither == VERA_DITHER_ORDERED ? kFlagDither : 0) |
      (half_nodes ? kFlagHalfNodes : 0);
  params->dither_phase = DitherPhase(options.origin_x, options.origin_y);
}

}  // namespace vera
