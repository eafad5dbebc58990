#include "vulkan/device.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace vera {
namespace {

// A tile takes milliseconds on a GPU and under a second on a software device. Waiting in short
// turns costs nothing and gets over a driver that misses its own signal.
constexpr uint64_t kTurnNs = 100'000'000;
constexpr int kTurns = 600;
constexpr uint32_t kStorageBuffers = 5;  // of the render shader; Vulkan promises 4
constexpr vera_status kNoDevice = VERA_STATUS_UNSUPPORTED_FORMAT;
constexpr char kHalfExtension[] = "VK_KHR_shader_float16_int8";

vera_status Refuse(const std::string& reason, std::string* why) {
  *why = reason;
  return kNoDevice;
}

std::string Text(VkResult result) { return "Vulkan error " + std::to_string(result); }

template <typename T>
T Described(VkStructureType type) {
  T value = {};
  value.sType = type;
  return value;
}

}  // namespace

vera_status ToStatus(VkResult result) {
  switch (result) {
    case VK_SUCCESS: return VERA_STATUS_OK;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return VERA_STATUS_OUT_OF_MEMORY;
    default: return VERA_STATUS_INTERNAL_ERROR;
  }
}

void Buffer::Free() {
  if (device == nullptr) return;
  device->vk().vkDestroyBuffer(device->handle(), buffer, nullptr);
  device->vk().vkFreeMemory(device->handle(), memory, nullptr);
  buffer = VK_NULL_HANDLE;
  memory = VK_NULL_HANDLE;
  mapped = nullptr;
  bytes = 0;
}

vera_status Device::Open(const DeviceRequest& request, std::shared_ptr<Device>* device,
                         std::string* why) {
  std::unique_ptr<Device> made(new Device());
  vera_status status = made->LoadLibrary(request.library, why);
  if (status == VERA_STATUS_OK) status = made->CreateInstance(why);
  if (status == VERA_STATUS_OK) status = made->ChoosePhysicalDevice(request, why);
  if (status == VERA_STATUS_OK && request.half) status = made->CheckHalf(why);
  if (status == VERA_STATUS_OK) status = made->CreateDevice(request.half, why);
  if (status == VERA_STATUS_OK) status = made->CreateCommands();
  if (status == VERA_STATUS_OK) *device = std::move(made);
  return status;
}

Device::~Device() {
  if (device_ != VK_NULL_HANDLE) {
    vk_.vkDeviceWaitIdle(device_);  // work may still run after a timeout
    vk_.vkDestroyFence(device_, fence_, nullptr);
    vk_.vkDestroyCommandPool(device_, pool_, nullptr);
    vk_.vkDestroyDevice(device_, nullptr);
  }
  if (instance_ != VK_NULL_HANDLE) vk_.vkDestroyInstance(instance_, nullptr);
  if (library_ != nullptr) dlclose(library_);
}

vera_status Device::LoadLibrary(const char* library, std::string* why) {
  // Linux has the numbered name, Android the plain one.
  for (const char* name : {"libvulkan.so.1", "libvulkan.so"}) {
    if (library_ == nullptr) {
      library_ = dlopen(library != nullptr ? library : name, RTLD_NOW | RTLD_LOCAL);
    }
  }
  if (library_ == nullptr) return Refuse("no Vulkan library on this machine", why);
  get_instance_proc_ =
      reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library_, "vkGetInstanceProcAddr"));
  if (get_instance_proc_ == nullptr) return Refuse("the Vulkan library is damaged", why);
  return VERA_STATUS_OK;
}

vera_status Device::CreateInstance(std::string* why) {
  // Absent in Vulkan 1.0, whose vkCreateInstance refuses any other version.
  if (get_instance_proc_(nullptr, "vkEnumerateInstanceVersion") == nullptr) {
    return Refuse("Vulkan 1.0; 1.1 is needed", why);
  }
  const auto create = reinterpret_cast<PFN_vkCreateInstance>(
      get_instance_proc_(nullptr, "vkCreateInstance"));
  if (create == nullptr) return Refuse("the Vulkan library is damaged", why);
  auto application = Described<VkApplicationInfo>(VK_STRUCTURE_TYPE_APPLICATION_INFO);
  application.pApplicationName = "vera";
  application.apiVersion = VK_API_VERSION_1_1;
  auto info = Described<VkInstanceCreateInfo>(VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO);
  info.pApplicationInfo = &application;
  const VkResult result = create(&info, nullptr, &instance_);
  if (result != VK_SUCCESS) {
    instance_ = VK_NULL_HANDLE;
    return Refuse("no Vulkan driver: " + Text(result), why);
  }
#define VERA_LOAD(name) \
  vk_.name = reinterpret_cast<PFN_##name>(get_instance_proc_(instance_, #name));
  VERA_VULKAN_INSTANCE_FUNCTIONS(VERA_LOAD)
#undef VERA_LOAD
  return VERA_STATUS_OK;
}

vera_status Device::ChoosePhysicalDevice(const DeviceRequest& request, std::string* why) {
  uint32_t count = 0;
  vk_.vkEnumeratePhysicalDevices(instance_, &count, nullptr);
  std::vector<VkPhysicalDevice> found(count);
  const VkResult result = vk_.vkEnumeratePhysicalDevices(instance_, &count, found.data());
  if (result != VK_SUCCESS) return Refuse("no Vulkan device: " + Text(result), why);
  found.resize(count);
  for (size_t i = 0; i < found.size(); ++i) {
    VkPhysicalDeviceProperties properties;
    vk_.vkGetPhysicalDeviceProperties(found[i], &properties);
    const bool software = properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    const bool fits = request.index < 0 ? !software && properties.apiVersion >= VK_API_VERSION_1_1
                                        : static_cast<size_t>(request.index) == i;
    if (!fits) continue;
    physical_ = found[i];
    name_ = properties.deviceName;
    api_version_ = properties.apiVersion;
    storage_buffers_ = properties.limits.maxPerStageDescriptorStorageBuffers;
    break;
  }
  if (physical_ == VK_NULL_HANDLE) {
    return Refuse("no such Vulkan device among " + std::to_string(found.size()), why);
  }
  if (api_version_ < VK_API_VERSION_1_1) return Refuse(name_ + " has Vulkan 1.0 only", why);
  if (storage_buffers_ < kStorageBuffers) {
    return Refuse(name_ + " gives a shader " + std::to_string(storage_buffers_) +
                      " storage buffers; 5 are needed", why);
  }
  vk_.vkGetPhysicalDeviceMemoryProperties(physical_, &memory_);
  uint32_t families = 0;
  vk_.vkGetPhysicalDeviceQueueFamilyProperties(physical_, &families, nullptr);
  std::vector<VkQueueFamilyProperties> queues(families);
  vk_.vkGetPhysicalDeviceQueueFamilyProperties(physical_, &families, queues.data());
  for (queue_family_ = 0; queue_family_ < families; ++queue_family_) {
    if (queues[queue_family_].queueFlags & VK_QUEUE_COMPUTE_BIT) return VERA_STATUS_OK;
  }
  return Refuse(name_ + " has no queue for compute", why);
}

vera_status Device::CheckHalf(std::string* why) {
  uint32_t count = 0;
  vk_.vkEnumerateDeviceExtensionProperties(physical_, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vk_.vkEnumerateDeviceExtensionProperties(physical_, nullptr, &count, extensions.data());
  const bool listed =
      std::any_of(extensions.begin(), extensions.end(), [](const VkExtensionProperties& e) {
        return std::strcmp(e.extensionName, kHalfExtension) == 0;
      });
  auto half = Described<VkPhysicalDeviceShaderFloat16Int8Features>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
  auto features =
      Described<VkPhysicalDeviceFeatures2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
  features.pNext = &half;
  if (listed) vk_.vkGetPhysicalDeviceFeatures2(physical_, &features);
  if (!half.shaderFloat16) return Refuse(name_ + " has no half precision in shaders", why);
  return VERA_STATUS_OK;
}

vera_status Device::CreateDevice(bool half, std::string* why) {
  const float priority = 1.0f;
  auto queue = Described<VkDeviceQueueCreateInfo>(VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO);
  queue.queueFamilyIndex = queue_family_;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  auto half_features = Described<VkPhysicalDeviceShaderFloat16Int8Features>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
  half_features.shaderFloat16 = VK_TRUE;
  const char* const extension = kHalfExtension;
  auto info = Described<VkDeviceCreateInfo>(VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO);
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  if (half) {
    info.pNext = &half_features;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &extension;
  }
  const VkResult result = vk_.vkCreateDevice(physical_, &info, nullptr, &device_);
  if (result != VK_SUCCESS) {
    device_ = VK_NULL_HANDLE;
    return Refuse(name_ + " cannot be opened: " + Text(result), why);
  }
#define VERA_LOAD(name) \
  vk_.name = reinterpret_cast<PFN_##name>(vk_.vkGetDeviceProcAddr(device_, #name));
  VERA_VULKAN_DEVICE_FUNCTIONS(VERA_LOAD)
#undef VERA_LOAD
  vk_.vkGetDeviceQueue(device_, queue_family_, 0, &queue_);
  return VERA_STATUS_OK;
}

vera_status Device::CreateCommands() {
  auto pool = Described<VkCommandPoolCreateInfo>(VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO);
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = queue_family_;
  VkResult result = vk_.vkCreateCommandPool(device_, &pool, nullptr, &pool_);
  if (result != VK_SUCCESS) return ToStatus(result);
  auto commands =
      Described<VkCommandBufferAllocateInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO);
  commands.commandPool = pool_;
  commands.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  commands.commandBufferCount = 1;
  result = vk_.vkAllocateCommandBuffers(device_, &commands, &commands_);
  if (result != VK_SUCCESS) return ToStatus(result);
  const auto fence = Described<VkFenceCreateInfo>(VK_STRUCTURE_TYPE_FENCE_CREATE_INFO);
  return ToStatus(vk_.vkCreateFence(device_, &fence, nullptr, &fence_));
}

uint32_t Device::MemoryType(uint32_t allowed, VkMemoryPropertyFlags wanted) const {
  for (uint32_t i = 0; i < memory_.memoryTypeCount; ++i) {
    const VkMemoryPropertyFlags flags = memory_.memoryTypes[i].propertyFlags;
    if ((allowed >> i & 1) && (flags & wanted) == wanted) return i;
  }
  return UINT32_MAX;
}

vera_status Device::Reserve(size_t bytes, Buffer* buffer) const {
  if (buffer->bytes >= bytes) return VERA_STATUS_OK;
  buffer->Free();
  buffer->device = this;
  auto info = Described<VkBufferCreateInfo>(VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO);
  info.size = bytes;
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
               VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  VkResult result = vk_.vkCreateBuffer(device_, &info, nullptr, &buffer->buffer);
  if (result != VK_SUCCESS) return ToStatus(result);
  VkMemoryRequirements needs;
  vk_.vkGetBufferMemoryRequirements(device_, buffer->buffer, &needs);
  // Every device has visible and coherent memory; reading it back is slow where it is not cached.
  constexpr VkMemoryPropertyFlags kSeen =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  auto memory = Described<VkMemoryAllocateInfo>(VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO);
  memory.allocationSize = needs.size;
  memory.memoryTypeIndex =
      MemoryType(needs.memoryTypeBits, kSeen | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
  if (memory.memoryTypeIndex == UINT32_MAX) {
    memory.memoryTypeIndex = MemoryType(needs.memoryTypeBits, kSeen);
  }
  result = vk_.vkAllocateMemory(device_, &memory, nullptr, &buffer->memory);
  if (result != VK_SUCCESS) return ToStatus(result);
  result = vk_.vkBindBufferMemory(device_, buffer->buffer, buffer->memory, 0);
  if (result != VK_SUCCESS) return ToStatus(result);
  result = vk_.vkMapMemory(device_, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->mapped);
  if (result == VK_SUCCESS) buffer->bytes = bytes;
  return ToStatus(result);
}

vera_status Device::Run(const std::function<void(VkCommandBuffer)>& record) const {
  auto begin = Described<VkCommandBufferBeginInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO);
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  VkResult result = vk_.vkBeginCommandBuffer(commands_, &begin);
  if (result != VK_SUCCESS) return ToStatus(result);
  record(commands_);
  // Submission itself makes the host's writes visible. The way back needs a barrier, and so does a
  // later submission that reads what this one wrote.
  auto barrier = Described<VkMemoryBarrier>(VK_STRUCTURE_TYPE_MEMORY_BARRIER);
  barrier.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_HOST_READ_BIT | VK_ACCESS_SHADER_READ_BIT;
  vk_.vkCmdPipelineBarrier(
      commands_, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
      VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &barrier, 0, nullptr,
      0, nullptr);
  result = vk_.vkEndCommandBuffer(commands_);
  if (result != VK_SUCCESS) return ToStatus(result);
  auto submit = Described<VkSubmitInfo>(VK_STRUCTURE_TYPE_SUBMIT_INFO);
  submit.commandBufferCount = 1;
  submit.pCommandBuffers = &commands_;
  result = vk_.vkQueueSubmit(queue_, 1, &submit, fence_);
  if (result != VK_SUCCESS) return ToStatus(result);
  result = VK_TIMEOUT;
  for (int turn = 0; turn < kTurns && result == VK_TIMEOUT; ++turn) {
    result = vk_.vkWaitForFences(device_, 1, &fence_, VK_TRUE, kTurnNs);
  }
  if (result != VK_SUCCESS) return ToStatus(result);
  return ToStatus(vk_.vkResetFences(device_, 1, &fence_));
}

}  // namespace vera
