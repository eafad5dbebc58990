// A renderer and a look as bake.slang reads them: for Vulkan and for Metal.
#ifndef VERA_OPS_BAKE_BAKE_DEVICE_H_
#define VERA_OPS_BAKE_BAKE_DEVICE_H_

#include <cstddef>
#include <cstdint>

#include "ops/bake/bake.h"
#include "vera/vera_shader.h"

namespace vera {

using BakeLayer = vera_shader_bake_layer;
using BakeParams = vera_shader_bake_params;
static_assert(sizeof(BakeLayer) == 24 && sizeof(BakeParams) == 32, "as the shader has them");

constexpr uint32_t kBakeResidual = 1, kBakeHalfNodes = 16;
constexpr int kBakeMaxHiddenWidth = 256;  // but for the last hidden layer

// Nodes of a group of 128 threads.
constexpr uint32_t BakeTileNodes(bool half) { return half ? 16 : 8; }

// Whether the shader evaluates this network: in float32, hidden layers but the last at most 256
// wide.
bool FitsDevice(const PackedRenderer& renderer);

// Bytes of the weights, at least 16. What follows trusts that the renderer fits.
size_t DeviceWeightBytes(const PackedRenderer& renderer, bool half);

// weights: DeviceWeightBytes; layers: one for each.
void PackDeviceWeights(const PackedRenderer& renderer, bool half, void* weights,
                       BakeLayer* layers);

// Floats of what a look adds.
size_t DeviceLookSize(const PackedRenderer& renderer, int32_t lut_size);

// axes: 3 x lut_size; look: DeviceLookSize. The nodes are in half precision if the weights are.
void PackDeviceLook(const PackedRenderer& renderer, const Biases& biases, const float* axes,
                    int32_t lut_size, bool half, float* look, BakeParams* params);

}  // namespace vera

#endif  // VERA_OPS_BAKE_BAKE_DEVICE_H_
