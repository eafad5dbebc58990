// The entry points for textures, which apps use with pictures that the GPU already holds.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>

#include "vulkan/gpu_test_util.h"
#include "vulkan/renderer.h"

namespace vera {
namespace {

// An image in general layout and its view.
class Image {
 public:
  Image(const Device& device, VkFormat format, uint32_t width, uint32_t height,
        VkImageUsageFlags usage)
      : device_(device) {
    VkImageCreateInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO;
    info.imageType = VK_IMAGE_TYPE_2D;
    info.format = format;
    info.extent = {width, height, 1};
    info.mipLevels = info.arrayLayers = 1;
    info.samples = VK_SAMPLE_COUNT_1_BIT;
    info.usage = usage | VK_IMAGE_USAGE_TRANSFER_SRC_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT;
    EXPECT_EQ(0, device.vk().vkCreateImage(device.handle(), &info, nullptr, &image));
    VkMemoryRequirements needs;
    device.vk().vkGetImageMemoryRequirements(device.handle(), image, &needs);
    VkMemoryAllocateInfo memory = {};
    memory.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
    memory.allocationSize = needs.size;
    memory.memoryTypeIndex = device.MemoryType(needs.memoryTypeBits, 0);
    EXPECT_EQ(0, device.vk().vkAllocateMemory(device.handle(), &memory, nullptr, &memory_));
    EXPECT_EQ(0, device.vk().vkBindImageMemory(device.handle(), image, memory_, 0));
    VkImageViewCreateInfo view_info = {};
    view_info.sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO;
    view_info.image = image;
    view_info.viewType = VK_IMAGE_VIEW_TYPE_2D;
    view_info.format = format;
    view_info.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
    EXPECT_EQ(0, device.vk().vkCreateImageView(device.handle(), &view_info, nullptr, &view));
  }
  ~Image() {
    device_.vk().vkDestroyImageView(device_.handle(), view, nullptr);
    device_.vk().vkDestroyImage(device_.handle(), image, nullptr);
    device_.vk().vkFreeMemory(device_.handle(), memory_, nullptr);
  }
  // Everything before is done before everything after; the contents are lost if `fresh`.
  void Barrier(VkCommandBuffer commands, bool fresh) const {
    VkImageMemoryBarrier barrier = {};
    barrier.sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER;
    barrier.srcAccessMask = barrier.dstAccessMask =
        VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT;
    barrier.oldLayout = fresh ? VK_IMAGE_LAYOUT_UNDEFINED : VK_IMAGE_LAYOUT_GENERAL;
    barrier.newLayout = VK_IMAGE_LAYOUT_GENERAL;
    barrier.srcQueueFamilyIndex = barrier.dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
    barrier.image = image;
    barrier.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
    device_.vk().vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                                      VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, 0, 0, nullptr, 0,
                                      nullptr, 1, &barrier);
  }
  VkImage image = VK_NULL_HANDLE;
  VkImageView view = VK_NULL_HANDLE;

 private:
  const Device& device_;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
};

// Renders through two images; src and dst are packed pictures of the kernel's format.
void RenderImages(Renderer* renderer, const vera_look& look, Kernel kernel, const Pixels& src,
                  const vera_render_options& options, Pixels* dst) {
  const Device& device = renderer->device();
  const VkFormat format = kernel == Kernel::kTexture8    ? VK_FORMAT_R8G8B8A8_UNORM
                          : kernel == Kernel::kTextureF16 ? VK_FORMAT_R16G16B16A16_SFLOAT
                                                          : VK_FORMAT_R32G32B32A32_SFLOAT;
  RenderParams params;
  ASSERT_EQ(0, renderer->Upload(look, nullptr, options, &params));
  params.width = static_cast<uint32_t>(src.frame.width);
  params.height = static_cast<uint32_t>(src.frame.height);
  const Image from(device, format, params.width, params.height, VK_IMAGE_USAGE_SAMPLED_BIT);
  const Image to(device, format, params.width, params.height, VK_IMAGE_USAGE_STORAGE_BIT);
  Buffer staging;
  ASSERT_EQ(0, device.Reserve(src.bytes.size(), &staging));
  std::memcpy(staging.mapped, src.bytes.data(), src.bytes.size());
  Bindings bindings = renderer->LookBindings(nullptr);
  bindings.source_view = from.view;
  bindings.destination_view = to.view;
  ASSERT_EQ(0, renderer->pipelines().Bind(kernel, bindings));
  VkBufferImageCopy copy = {};
  copy.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1};
  copy.imageExtent = {params.width, params.height, 1};
  ASSERT_EQ(0, device.Run([&](VkCommandBuffer commands) {
    const Functions& vk = device.vk();
    from.Barrier(commands, true);
    to.Barrier(commands, true);
    vk.vkCmdCopyBufferToImage(commands, staging.buffer, from.image, VK_IMAGE_LAYOUT_GENERAL, 1,
                              &copy);
    from.Barrier(commands, false);
    renderer->pipelines().Dispatch(kernel, params, commands);
    to.Barrier(commands, false);
    vk.vkCmdCopyImageToBuffer(commands, to.image, VK_IMAGE_LAYOUT_GENERAL, staging.buffer, 1,
                              &copy);
  }));
  std::memcpy(dst->bytes.data(), staging.mapped, dst->bytes.size());
}

TEST(TextureVulkanTest, TexturesMatchReference) {
  if (SkipIsAskedFor()) GTEST_SKIP() << "VERA_GPU_TESTS_SKIP=1";
  const Look look = MakeLook(33, 17, false);
  for (const bool half : {false, true}) {
    DeviceRequest request;
    request.index = DeviceIndex();
    request.half = half;
    std::unique_ptr<Renderer> renderer;
    std::string why;
    ASSERT_EQ(0, Renderer::Open(request, ShadersOf(half), &renderer, &why)) << why;
    for (const Kernel kernel : {Kernel::kTexture8, Kernel::kTextureF16, Kernel::kTextureF32}) {
      for (const int kind : {0, 1, 2}) {
        const bool eight = kernel == Kernel::kTexture8;
        const bool floats = kernel == Kernel::kTextureF32;
        Pixels src(eight    ? VERA_PIXEL_FORMAT_RGBA8
                   : floats ? VERA_PIXEL_FORMAT_RGBAF32
                            : VERA_PIXEL_FORMAT_RGBAF16,
                   277, 43, 0);
        src.Fill();
        Pixels expected(src), actual(src);
        vera_render_options options = Options(kind == 0 ? 1.0f : 0.7f);
        options.interpolation = kind == 1;
        if (kind == 2 && eight) options.dither = VERA_DITHER_ORDERED;
        if (kind == 2 && !eight) options.out_of_range = VERA_OUT_OF_RANGE_EXTEND;
        RenderReference(Full(look.view), src.frame, expected.frame, options);
        ASSERT_NO_FATAL_FAILURE(
            RenderImages(renderer.get(), Full(look.view), kernel, src, options, &actual));
        const Difference found = Compare(expected, actual);
        std::printf("%s %s, kind %d: largest error %.3g, %.4f equal\n", half ? "half" : "float",
                    eight ? "texture8" : floats ? "textureF32" : "textureF16", kind, found.largest,
                    found.equal);
        if (half && !eight) {
          EXPECT_LE(found.largest, 0.002);
        } else {
          EXPECT_LE(found.worst, 1.0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace vera
