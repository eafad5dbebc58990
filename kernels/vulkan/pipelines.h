// The shaders of ops/render/render.slang as Vulkan pipelines.
#ifndef VERA_VULKAN_PIPELINES_H_
#define VERA_VULKAN_PIPELINES_H_

#include <cstddef>
#include <cstdint>

#include "ops/render/render_device.h"
#include "vulkan/compute_pipeline.h"
#include "vulkan/device.h"

namespace vera {

// The entry points of each module, in the order in which gpu-shaders.sh names them.
enum class Kernel { kRgba8, kRgbaF16, kRgbaF32, kTexture8, kTextureF16, kTextureF32 };
constexpr int kKernels = 6;

constexpr uint32_t kGroupWidth = 16, kGroupHeight = 8;

Module RenderModule(bool half);

// What a kernel reads and writes: buffers, or views of images in general layout.
struct Bindings {
  const Buffer* curves;
  const Buffer* nodes;
  const Buffer* output_curves;
  const Buffer* source = nullptr;
  const Buffer* destination = nullptr;
  VkImageView source_view = VK_NULL_HANDLE;
  VkImageView destination_view = VK_NULL_HANDLE;
};

// Pipelines are made when a kernel is first bound. `device` must outlive this.
class Pipelines {
 public:
  Pipelines(const Device& device, const Module& module) : device_(device), module_(module) {}
  Pipelines(const Pipelines&) = delete;
  Pipelines& operator=(const Pipelines&) = delete;

  // Makes the kernel ready for Dispatch with these resources.
  vera_status Bind(Kernel kernel, const Bindings& bindings);
  void Dispatch(Kernel kernel, const RenderParams& params, VkCommandBuffer commands) const;

 private:
  const Device& device_;
  Module module_;
  ComputePipeline pipelines_[kKernels];
};

}  // namespace vera

#endif  // VERA_VULKAN_PIPELINES_H_
