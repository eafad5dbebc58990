// A Vulkan 1.1 device with one queue for compute, loaded at run time, and what lies in its memory.
#ifndef VERA_VULKAN_DEVICE_H_
#define VERA_VULKAN_DEVICE_H_

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "vera/vera.h"

namespace vera {

#define VERA_VULKAN_INSTANCE_FUNCTIONS(X)                                                         \
  X(vkDestroyInstance) X(vkEnumeratePhysicalDevices) X(vkGetPhysicalDeviceProperties)             \
  X(vkGetPhysicalDeviceFeatures2) X(vkGetPhysicalDeviceMemoryProperties)                          \
  X(vkGetPhysicalDeviceQueueFamilyProperties) X(vkEnumerateDeviceExtensionProperties)             \
  X(vkCreateDevice) X(vkGetDeviceProcAddr)

#define VERA_VULKAN_DEVICE_FUNCTIONS(X)                                                           \
  X(vkDestroyDevice) X(vkDeviceWaitIdle) X(vkGetDeviceQueue) X(vkCreateCommandPool)               \
  X(vkDestroyCommandPool) X(vkAllocateCommandBuffers) X(vkBeginCommandBuffer)                     \
  X(vkEndCommandBuffer) X(vkCreateFence) X(vkDestroyFence) X(vkResetFences) X(vkWaitForFences)    \
  X(vkQueueSubmit) X(vkCreateBuffer) X(vkDestroyBuffer) X(vkGetBufferMemoryRequirements)          \
  X(vkAllocateMemory) X(vkFreeMemory) X(vkBindBufferMemory) X(vkMapMemory)                        \
  X(vkCreateShaderModule) X(vkDestroyShaderModule) X(vkCreateDescriptorSetLayout)                 \
  X(vkDestroyDescriptorSetLayout) X(vkCreatePipelineLayout) X(vkDestroyPipelineLayout)            \
  X(vkCreateComputePipelines) X(vkDestroyPipeline) X(vkCreateDescriptorPool)                      \
  X(vkDestroyDescriptorPool) X(vkAllocateDescriptorSets) X(vkUpdateDescriptorSets)                \
  X(vkCmdBindPipeline) X(vkCmdBindDescriptorSets) X(vkCmdPushConstants) X(vkCmdDispatch)          \
  X(vkCmdPipelineBarrier) X(vkCreateImage) X(vkDestroyImage) X(vkGetImageMemoryRequirements)      \
  X(vkBindImageMemory) X(vkCreateImageView) X(vkDestroyImageView) X(vkCmdCopyBufferToImage)       \
  X(vkCmdCopyImageToBuffer)

struct Functions {
#define VERA_DECLARE(name) PFN_##name name = nullptr;
  VERA_VULKAN_INSTANCE_FUNCTIONS(VERA_DECLARE)
  VERA_VULKAN_DEVICE_FUNCTIONS(VERA_DECLARE)
#undef VERA_DECLARE
};

class Device;

// Memory that the host sees, mapped as long as it lives.
struct Buffer {
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { Free(); }
  void Free();
  const Device* device = nullptr;
  VkBuffer buffer = VK_NULL_HANDLE;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  void* mapped = nullptr;
  size_t bytes = 0;
};

// What is asked of a system; the names of the library are another in a test.
struct DeviceRequest {
  int index = -1;  // -1: the first that is not a software renderer
  bool half = false;
  const char* library = nullptr;  // nullptr: what the platform calls Vulkan
};

class Device {
 public:
  // UNSUPPORTED_FORMAT with the reason in *why where there is none that fits.
  static vera_status Open(const DeviceRequest& request, std::shared_ptr<Device>* device,
                          std::string* why);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Makes *buffer hold at least `bytes`; what it held is lost if it has to grow.
  vera_status Reserve(size_t bytes, Buffer* buffer) const;

  // Index of a memory type with these bits; UINT32_MAX if there is none.
  uint32_t MemoryType(uint32_t allowed, VkMemoryPropertyFlags wanted) const;

  // Records commands, runs them and waits. Writes of the host before and of the device after are
  // visible to the other, and those of the device to later runs.
  vera_status Run(const std::function<void(VkCommandBuffer)>& record) const;

  const std::string& name() const { return name_; }
  VkDevice handle() const { return device_; }
  const Functions& vk() const { return vk_; }

 private:
  Device() = default;
  vera_status LoadLibrary(const char* library, std::string* why);
  vera_status CreateInstance(std::string* why);
  vera_status ChoosePhysicalDevice(const DeviceRequest& request, std::string* why);
  vera_status CheckHalf(std::string* why);
  vera_status CreateDevice(bool half, std::string* why);
  vera_status CreateCommands();

  void* library_ = nullptr;
  PFN_vkGetInstanceProcAddr get_instance_proc_ = nullptr;
  Functions vk_;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkPhysicalDevice physical_ = VK_NULL_HANDLE;
  VkPhysicalDeviceMemoryProperties memory_ = {};
  uint32_t api_version_ = 0;
  uint32_t storage_buffers_ = 0;  // that one shader may have
  uint32_t queue_family_ = 0;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
  VkFence fence_ = VK_NULL_HANDLE;
  std::string name_;
};

// INTERNAL_ERROR for what is no lack of memory.
vera_status ToStatus(VkResult result);

}  // namespace vera

#endif  // VERA_VULKAN_DEVICE_H_
