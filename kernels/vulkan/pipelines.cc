#include "vulkan/pipelines.h"

#include "vulkan/render_spirv.h"

namespace vera {
namespace {

constexpr uint32_t kBindings = 5;
constexpr const char* kNames[kKernels] = {"renderRgba8", "renderRgbaF16", "renderRgbaF32",
                                          "renderTexture8", "renderTextureF16"};

bool IsTexture(Kernel kernel) {
  return kernel == Kernel::kTexture8 || kernel == Kernel::kTextureF16;
}

// Curves, nodes and output curves, then source and destination, which Slang numbers on from one
// entry point to the next.
uint32_t BindingOf(Kernel kernel, uint32_t i) {
  return i < 3 ? i : i + 2 * static_cast<uint32_t>(kernel);
}

VkDescriptorType TypeOf(Kernel kernel, uint32_t i) {
  if (i < 3 || !IsTexture(kernel)) return VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
  return i == 3 ? VK_DESCRIPTOR_TYPE_SAMPLED_IMAGE : VK_DESCRIPTOR_TYPE_STORAGE_IMAGE;
}

}  // namespace

Module ModuleOf(bool half) {
  if (half) return {kRenderHalfSpirv, sizeof(kRenderHalfSpirv), "Half"};
  return {kRenderFloatSpirv, sizeof(kRenderFloatSpirv), ""};
}

Pipelines::~Pipelines() {
  const Functions& vk = device_.vk();
  for (const Pipeline& p : pipelines_) {
    vk.vkDestroyDescriptorPool(device_.handle(), p.pool, nullptr);
    vk.vkDestroyPipeline(device_.handle(), p.pipeline, nullptr);
    vk.vkDestroyPipelineLayout(device_.handle(), p.layout, nullptr);
    vk.vkDestroyDescriptorSetLayout(device_.handle(), p.set_layout, nullptr);
  }
  vk.vkDestroyShaderModule(device_.handle(), shader_, nullptr);
}

VkResult Pipelines::CreateLayouts(Kernel kernel, Pipeline* made) {
  VkDescriptorSetLayoutBinding bindings[kBindings] = {};
  for (uint32_t i = 0; i < kBindings; ++i) {
    bindings[i].binding = BindingOf(kernel, i);
    bindings[i].descriptorType = TypeOf(kernel, i);
    bindings[i].descriptorCount = 1;
    bindings[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  }
  VkDescriptorSetLayoutCreateInfo set = {};
  set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  set.bindingCount = kBindings;
  set.pBindings = bindings;
  const VkResult result = device_.vk().vkCreateDescriptorSetLayout(device_.handle(), &set, nullptr,
                                                                   &made->set_layout);
  if (result != VK_SUCCESS) return result;
  const VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(RenderParams)};
  VkPipelineLayoutCreateInfo layout = {};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.setLayoutCount = 1;
  layout.pSetLayouts = &made->set_layout;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &push;
  return device_.vk().vkCreatePipelineLayout(device_.handle(), &layout, nullptr, &made->layout);
}

VkResult Pipelines::CreatePipeline(Kernel kernel, Pipeline* made) {
  if (shader_ == VK_NULL_HANDLE) {
    VkShaderModuleCreateInfo shader = {};
    shader.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
    shader.codeSize = module_.bytes;
    shader.pCode = module_.words;
    const VkResult result =
        device_.vk().vkCreateShaderModule(device_.handle(), &shader, nullptr, &shader_);
    if (result != VK_SUCCESS) return result;
  }
  const std::string name = std::string(kNames[static_cast<int>(kernel)]) + module_.suffix;
  VkComputePipelineCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = shader_;
  info.stage.pName = name.c_str();
  info.layout = made->layout;
  return device_.vk().vkCreateComputePipelines(device_.handle(), VK_NULL_HANDLE, 1, &info, nullptr,
                                               &made->pipeline);
}

VkResult Pipelines::CreateSet(Kernel kernel, Pipeline* made) {
  VkDescriptorPoolSize sizes[kBindings];
  for (uint32_t i = 0; i < kBindings; ++i) sizes[i] = {TypeOf(kernel, i), 1};
  VkDescriptorPoolCreateInfo pool = {};
  pool.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  pool.maxSets = 1;
  pool.poolSizeCount = kBindings;
  pool.pPoolSizes = sizes;
  const VkResult result =
      device_.vk().vkCreateDescriptorPool(device_.handle(), &pool, nullptr, &made->pool);
  if (result != VK_SUCCESS) return result;
  VkDescriptorSetAllocateInfo set = {};
  set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
  set.descriptorPool = made->pool;
  set.descriptorSetCount = 1;
  set.pSetLayouts = &made->set_layout;
  return device_.vk().vkAllocateDescriptorSets(device_.handle(), &set, &made->set);
}

void Pipelines::UpdateSet(Kernel kernel, const Bindings& bindings) const {
  const Buffer* const buffers[kBindings] = {bindings.curves, bindings.nodes,
                                            bindings.output_curves, bindings.source,
                                            bindings.destination};
  const VkImageView views[kBindings] = {VK_NULL_HANDLE, VK_NULL_HANDLE, VK_NULL_HANDLE,
                                        bindings.source_view, bindings.destination_view};
  VkDescriptorBufferInfo buffer_infos[kBindings];
  VkDescriptorImageInfo image_infos[kBindings];
  VkWriteDescriptorSet writes[kBindings] = {};
  for (uint32_t i = 0; i < kBindings; ++i) {
    writes[i].sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
    writes[i].dstSet = pipelines_[static_cast<int>(kernel)].set;
    writes[i].dstBinding = BindingOf(kernel, i);
    writes[i].descriptorCount = 1;
    writes[i].descriptorType = TypeOf(kernel, i);
    if (views[i] != VK_NULL_HANDLE) {
      image_infos[i] = {VK_NULL_HANDLE, views[i], VK_IMAGE_LAYOUT_GENERAL};
      writes[i].pImageInfo = &image_infos[i];
    } else {
      buffer_infos[i] = {buffers[i]->buffer, 0, VK_WHOLE_SIZE};
      writes[i].pBufferInfo = &buffer_infos[i];
    }
  }
  device_.vk().vkUpdateDescriptorSets(device_.handle(), kBindings, writes, 0, nullptr);
}

vera_status Pipelines::Bind(Kernel kernel, const Bindings& bindings) {
  Pipeline* const made = &pipelines_[static_cast<int>(kernel)];
  VkResult result = VK_SUCCESS;
  if (made->layout == VK_NULL_HANDLE) result = CreateLayouts(kernel, made);
  if (result == VK_SUCCESS && made->pipeline == VK_NULL_HANDLE) {
    result = CreatePipeline(kernel, made);
  }
  if (result == VK_SUCCESS && made->set == VK_NULL_HANDLE) result = CreateSet(kernel, made);
  if (result == VK_SUCCESS) UpdateSet(kernel, bindings);
  return ToStatus(result);
}

void Pipelines::Dispatch(Kernel kernel, const RenderParams& params,
                         VkCommandBuffer commands) const {
  const Pipeline& p = pipelines_[static_cast<int>(kernel)];
  const Functions& vk = device_.vk();
  vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, p.pipeline);
  vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, p.layout, 0, 1, &p.set, 0,
                             nullptr);
  vk.vkCmdPushConstants(commands, p.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(params),
                        &params);
  vk.vkCmdDispatch(commands, (params.width + kGroupWidth - 1) / kGroupWidth,
                   (params.height + kGroupHeight - 1) / kGroupHeight, 1);
}

}  // namespace vera
