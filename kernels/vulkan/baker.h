// Bakes LUTs on a Vulkan device, where they stay for a render.
#ifndef VERA_VULKAN_BAKER_H_
#define VERA_VULKAN_BAKER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/bake_args.h"
#include "ops/bake/bake_device.h"
#include "vulkan/compute_pipeline.h"
#include "vulkan/device.h"

namespace vera {

// One submission: a few milliseconds on a phone's GPU, so that a bake stops in time.
constexpr uint32_t kGpuBakeNodes = 4096;

// The weights of a renderer on a device. Keeps the device, not the renderer.
struct DeviceNetwork {
  std::shared_ptr<const Device> device;
  const vera_renderer* renderer = nullptr;
  Buffer weights, layers;
};

// Nodes as render.slang reads them.
struct DeviceLut {
  std::shared_ptr<const Device> device;
  int32_t size = 0;
  bool half = false;  // how the nodes are stored
  Buffer nodes;
};

Module BakeModule(bool half);

class Baker {
 public:
  Baker(std::shared_ptr<const Device> device, const Module& module, bool half)
      : device_(std::move(device)), module_(module), half_(half) {}

  // UNSUPPORTED_FORMAT if the shader does not evaluate such a network.
  vera_status Upload(const vera_renderer& renderer, DeviceNetwork* network) const;

  // Trusts its arguments, which ReadLatticeBake has checked.
  vera_status Bake(const DeviceNetwork& network, const float* latents, const float* strengths,
                   const LatticeBake& lattice, int32_t lut_size, DeviceLut* lut);

 private:
  vera_status Run(BakeParams params, const vera_bake_options& options);

  std::shared_ptr<const Device> device_;
  Module module_;
  bool half_;
  Buffer look_;
  ComputePipeline pipeline_;
};

// lut.size^3 x 3 floats.
void ReadNodes(const DeviceLut& lut, float* out);

}  // namespace vera

#endif  // VERA_VULKAN_BAKER_H_
