#include "vulkan/baker.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "cpu/check.h"
#include "ops/render/formats.h"
#include "ops/render/render_device.h"
#include "vulkan/bake_spirv.h"

namespace vera {

Module BakeModule(bool half) {
  if (half) return {kBakeHalfSpirv, sizeof(kBakeHalfSpirv), "Half"};
  return {kBakeFloatSpirv, sizeof(kBakeFloatSpirv), ""};
}

vera_status Baker::Upload(const vera_renderer& renderer, DeviceNetwork* network) const {
  const PackedRenderer& packed = renderer.packed;
  if (!FitsDevice(packed)) return VERA_STATUS_UNSUPPORTED_FORMAT;
  network->device = device_;
  network->renderer = &renderer;
  vera_status status = device_->Reserve(DeviceWeightBytes(packed, half_), &network->weights);
  if (status == VERA_STATUS_OK) {
    status = device_->Reserve(packed.layers.size() * sizeof(BakeLayer), &network->layers);
  }
  if (status != VERA_STATUS_OK) return status;
  PackDeviceWeights(packed, half_, network->weights.mapped,
                    static_cast<BakeLayer*>(network->layers.mapped));
  return VERA_STATUS_OK;
}

vera_status Baker::Run(BakeParams params, const vera_bake_options& options) {
  const int64_t total = params.node_count;
  while (params.first_node < params.node_count) {
    if (IsCancelled(options.cancel)) return VERA_STATUS_CANCELLED;
    const uint32_t nodes = std::min(kGpuBakeNodes, params.node_count - params.first_node);
    const uint32_t groups = (nodes + BakeTileNodes(half_) - 1) / BakeTileNodes(half_);
    const vera_status status = device_->Run([&](VkCommandBuffer commands) {
      pipeline_.Dispatch(&params, groups, 1, commands);
    });
    if (status != VERA_STATUS_OK) return status;
    params.first_node += nodes;
    if (options.progress != nullptr) options.progress(options.user, params.first_node, total);
  }
  return VERA_STATUS_OK;
}

vera_status Baker::Bake(const DeviceNetwork& network, const float* latents, const float* strengths,
                        const LatticeBake& lattice, int32_t lut_size, DeviceLut* lut) {
  const PackedRenderer& packed = network.renderer->packed;
  lut->device = device_;
  lut->size = lut_size;
  lut->half = half_;
  vera_status status =
      device_->Reserve(DeviceLookSize(packed, lut_size) * sizeof(float), &look_);
  if (status == VERA_STATUS_OK) {
    status = device_->Reserve(DeviceNodeBytes(lut_size, half_), &lut->nodes);
  }
  if (status != VERA_STATUS_OK) return status;
  BakeParams params;
  PackDeviceLook(packed, MakeBiases(packed, latents, strengths), lattice.axes.data(), lut_size,
                 half_, static_cast<float*>(look_.mapped), &params);
  constexpr VkDescriptorType kStorage = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
  status = pipeline_.Bind(*device_, module_, std::string("bakeLut") + module_.suffix,
                          sizeof(params),
                          {{0, kStorage, &network.weights},
                           {1, kStorage, &look_},
                           {2, kStorage, &network.layers},
                           {3, kStorage, &lut->nodes}});
  return status == VERA_STATUS_OK ? Run(params, lattice.options) : status;
}

void ReadNodes(const DeviceLut& lut, float* out) {
  const size_t n = static_cast<size_t>(lut.size), count = n * n * n;
  for (size_t i = 0; i < count; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      out[3 * i + c] = ReadValue(lut.nodes.mapped,
                                 lut.half ? VERA_VALUE_FLOAT16 : VERA_VALUE_FLOAT32, 4 * i + c);
    }
  }
}

}  // namespace vera
