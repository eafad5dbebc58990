// A prepared look as render.slang reads it: for Vulkan and for Metal.
#ifndef VERA_OPS_RENDER_RENDER_DEVICE_H_
#define VERA_OPS_RENDER_RENDER_DEVICE_H_

#include <cstddef>
#include <cstdint>

#include "ops/render/render.h"
#include "vera/vera_shader.h"

namespace vera {

using RenderParams = vera_shader_render_params;
static_assert(sizeof(RenderParams) == 32, "as the shader has it");

constexpr uint32_t kFlagTrilinear = 1, kFlagExtend = 2, kFlagDither = 4, kFlagBlueFirst = 8,
                   kFlagHalfNodes = 16;

// Whether the nodes of a look are stored in half precision on a device of that precision.
inline bool HalfNodes(const vera_look& look, bool half) {
  return half || (look.lut != nullptr && look.lut_type == VERA_VALUE_FLOAT16);
}

size_t DeviceCurveBytes(int32_t curve_size);  // for output curves too: never 0
size_t DeviceNodeBytes(int32_t lut_size, bool half_nodes);

// Curves, output curves (if any) and, unless `nodes` is null, the nodes. All but width and height
// of *params, for pixels that are not blue first.
void PackDeviceLook(const PreparedLook& look, const vera_render_options& options, bool half_nodes,
                    void* curves, void* nodes, void* output_curves, RenderParams* params);

}  // namespace vera

#endif  // VERA_OPS_RENDER_RENDER_DEVICE_H_
