// A renderer and a look as bake.slang reads them: for Vulkan and for Metal.
#ifndef VERA_OPS_BAKE_BAKE_DEVICE_H_
#define VERA_OPS_BAKE_BAKE_DEVICE_H_

#include <cstddef>
#include <cstdint>

#include "ops/bake/bake.h"

namespace vera {

// The structs of the shader.
struct BakeLayer {
  int32_t inputs, width, padded_width, weights, biases;
  float scale;
};
struct BakeParams {
  uint32_t first_node, node_count;
  int32_t lut_size, layer_count, output, axes;
  uint32_t flags;
  float norm_epsilon;
};
static_assert(sizeof(BakeLayer) == 24 && sizeof(BakeParams) == 32, "as the shader has them");

constexpr uint32_t kBakeResidual = 1, kBakeHalfNodes = 16;
constexpr int kBakeMaxHiddenWidth = 256;  // but for the last hidden layer

// Nodes of a group of 128 threads.
constexpr uint32_t BakeTileNodes(bool half) { return half ? 16 : 8; }

// Whether the shader evaluates this network: in float32, hidden layers but the last at most 256 wide.
bool FitsDevice(const PackedRenderer& renderer);

// Bytes of the weights, at least 16. What follows trusts that the renderer fits.
size_t DeviceWeightBytes(const PackedRenderer& renderer, bool half);

// weights: DeviceWeightBytes; layers: one for each.
void PackDeviceWeights(const PackedRenderer& renderer, bool half, void* weights,
                       BakeLayer* layers);

// Floats of what a look adds.
size_t DeviceLookSize(const PackedRenderer& renderer, int32_t lut_size);

// axes: 3 x lut_size; look: DeviceLookSize. *params gets all but first_node, and kBakeHalfNodes is
// not set.
void PackDeviceLook(const PackedRenderer& renderer, const Biases& biases, const float* axes,
                    int32_t lut_size, float* look, BakeParams* params);

}  // namespace vera

#endif  // VERA_OPS_BAKE_BAKE_DEVICE_H_
