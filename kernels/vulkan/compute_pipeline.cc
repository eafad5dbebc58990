#include "vulkan/compute_pipeline.h"

namespace vera {

ComputePipeline::~ComputePipeline() {
  if (device_ == nullptr) return;
  const Functions& vk = device_->vk();
  vk.vkDestroyDescriptorPool(device_->handle(), pool_, nullptr);
  vk.vkDestroyPipeline(device_->handle(), pipeline_, nullptr);
  vk.vkDestroyPipelineLayout(device_->handle(), layout_, nullptr);
  vk.vkDestroyDescriptorSetLayout(device_->handle(), set_layout_, nullptr);
}

VkResult ComputePipeline::CreateLayouts(const std::vector<Resource>& resources) {
  std::vector<VkDescriptorSetLayoutBinding> bindings(resources.size());
  for (size_t i = 0; i < resources.size(); ++i) {
    bindings[i].binding = resources[i].binding;
    bindings[i].descriptorType = resources[i].type;
    bindings[i].descriptorCount = 1;
    bindings[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  }
  VkDescriptorSetLayoutCreateInfo set = {};
  set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  set.bindingCount = static_cast<uint32_t>(bindings.size());
  set.pBindings = bindings.data();
  const VkResult result =
      device_->vk().vkCreateDescriptorSetLayout(device_->handle(), &set, nullptr, &set_layout_);
  if (result != VK_SUCCESS) return result;
  const VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes_};
  VkPipelineLayoutCreateInfo layout = {};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.setLayoutCount = 1;
  layout.pSetLayouts = &set_layout_;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &push;
  return device_->vk().vkCreatePipelineLayout(device_->handle(), &layout, nullptr, &layout_);
}

VkResult ComputePipeline::CreatePipeline(const Module& module, const std::string& entry) {
  VkShaderModuleCreateInfo code = {};
  code.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  code.codeSize = module.bytes;
  code.pCode = module.words;
  VkShaderModule shader = VK_NULL_HANDLE;
  VkResult result =
      device_->vk().vkCreateShaderModule(device_->handle(), &code, nullptr, &shader);
  if (result != VK_SUCCESS) return result;
  VkComputePipelineCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = shader;
  info.stage.pName = entry.c_str();
  info.layout = layout_;
  result = device_->vk().vkCreateComputePipelines(device_->handle(), VK_NULL_HANDLE, 1, &info,
                                                  nullptr, &pipeline_);
  device_->vk().vkDestroyShaderModule(device_->handle(), shader, nullptr);
  return result;
}

VkResult ComputePipeline::CreateSet(const std::vector<Resource>& resources) {
  std::vector<VkDescriptorPoolSize> sizes;
  for (const Resource& resource : resources) sizes.push_back({resource.type, 1});
  VkDescriptorPoolCreateInfo pool = {};
  pool.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  pool.maxSets = 1;
  pool.poolSizeCount = static_cast<uint32_t>(sizes.size());
  pool.pPoolSizes = sizes.data();
  const VkResult result =
      device_->vk().vkCreateDescriptorPool(device_->handle(), &pool, nullptr, &pool_);
  if (result != VK_SUCCESS) return result;
  VkDescriptorSetAllocateInfo set = {};
  set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
  set.descriptorPool = pool_;
  set.descriptorSetCount = 1;
  set.pSetLayouts = &set_layout_;
  return device_->vk().vkAllocateDescriptorSets(device_->handle(), &set, &set_);
}

void ComputePipeline::UpdateSet(const std::vector<Resource>& resources) const {
  std::vector<VkDescriptorBufferInfo> buffers(resources.size());
  std::vector<VkDescriptorImageInfo> images(resources.size());
  std::vector<VkWriteDescriptorSet> writes(resources.size());
  for (size_t i = 0; i < resources.size(); ++i) {
    writes[i].sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
    writes[i].dstSet = set_;
    writes[i].dstBinding = resources[i].binding;
    writes[i].descriptorCount = 1;
    writes[i].descriptorType = resources[i].type;
    if (resources[i].view != VK_NULL_HANDLE) {
      images[i] = {VK_NULL_HANDLE, resources[i].view, VK_IMAGE_LAYOUT_GENERAL};
      writes[i].pImageInfo = &images[i];
    } else {
      buffers[i] = {resources[i].buffer->buffer, 0, VK_WHOLE_SIZE};
      writes[i].pBufferInfo = &buffers[i];
    }
  }
  device_->vk().vkUpdateDescriptorSets(device_->handle(), static_cast<uint32_t>(writes.size()),
                                       writes.data(), 0, nullptr);
}

vera_status ComputePipeline::Bind(const Device& device, const Module& module,
                                  const std::string& entry, size_t push_bytes,
                                  const std::vector<Resource>& resources) {
  device_ = &device;
  push_bytes_ = static_cast<uint32_t>(push_bytes);
  VkResult result = VK_SUCCESS;
  if (layout_ == VK_NULL_HANDLE) result = CreateLayouts(resources);
  if (result == VK_SUCCESS && pipeline_ == VK_NULL_HANDLE) result = CreatePipeline(module, entry);
  if (result == VK_SUCCESS && set_ == VK_NULL_HANDLE) result = CreateSet(resources);
  if (result == VK_SUCCESS) UpdateSet(resources);
  return ToStatus(result);
}

void ComputePipeline::Dispatch(const void* push_constants, uint32_t groups_x, uint32_t groups_y,
                               VkCommandBuffer commands) const {
  const Functions& vk = device_->vk();
  vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline_);
  vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout_, 0, 1, &set_, 0,
                             nullptr);
  vk.vkCmdPushConstants(commands, layout_, VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes_,
                        push_constants);
  vk.vkCmdDispatch(commands, groups_x, groups_y, 1);
}

}  // namespace vera
