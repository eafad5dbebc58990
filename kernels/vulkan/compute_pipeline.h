// One entry point of a SPIR-V module as a Vulkan pipeline with one set of bindings.
#ifndef VERA_VULKAN_COMPUTE_PIPELINE_H_
#define VERA_VULKAN_COMPUTE_PIPELINE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "vulkan/device.h"

namespace vera {

// SPIR-V of one shader in one precision.
struct Module {
  const uint32_t* words;
  size_t bytes;
  const char* suffix;  // of the entry points' names
};

// A buffer, or the view of an image in general layout.
struct Resource {
  uint32_t binding;
  VkDescriptorType type;
  const Buffer* buffer = nullptr;
  VkImageView view = VK_NULL_HANDLE;
};

class ComputePipeline {
 public:
  ComputePipeline() = default;
  ~ComputePipeline();
  ComputePipeline(const ComputePipeline&) = delete;
  ComputePipeline& operator=(const ComputePipeline&) = delete;

  // Makes the entry point ready for Dispatch with these resources; made when first bound, always
  // with the same bindings, types and size of push constants. `device` must outlive this.
  vera_status Bind(const Device& device, const Module& module, const std::string& entry,
                   size_t push_bytes, const std::vector<Resource>& resources);
  void Dispatch(const void* push_constants, uint32_t groups_x, uint32_t groups_y,
                VkCommandBuffer commands) const;

 private:
  VkResult CreateLayouts(const std::vector<Resource>& resources);
  VkResult CreatePipeline(const Module& module, const std::string& entry);
  VkResult CreateSet(const std::vector<Resource>& resources);
  void UpdateSet(const std::vector<Resource>& resources) const;

  const Device* device_ = nullptr;
  uint32_t push_bytes_ = 0;
  VkDescriptorSetLayout set_layout_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipeline pipeline_ = VK_NULL_HANDLE;
  VkDescriptorPool pool_ = VK_NULL_HANDLE;
  VkDescriptorSet set_ = VK_NULL_HANDLE;
};

}  // namespace vera

#endif  // VERA_VULKAN_COMPUTE_PIPELINE_H_
