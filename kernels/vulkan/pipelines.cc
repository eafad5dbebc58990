#include "vulkan/pipelines.h"

#include <string>

#include "vulkan/render_spirv.h"

namespace vera {
namespace {

constexpr const char* kNames[kKernels] = {"renderRgba8",    "renderRgbaF16",    "renderRgbaF32",
                                          "renderTexture8", "renderTextureF16", "renderTextureF32"};

}  // namespace

Module RenderModule(bool half) {
  if (half) return {kRenderHalfSpirv, sizeof(kRenderHalfSpirv), "Half"};
  return {kRenderFloatSpirv, sizeof(kRenderFloatSpirv), ""};
}

vera_status Pipelines::Bind(Kernel kernel, const Bindings& bindings) {
  const uint32_t index = static_cast<uint32_t>(kernel);
  const bool texture = kernel >= Kernel::kTexture8;
  constexpr VkDescriptorType kStorage = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
  // Slang numbers source and destination on from one entry point to the next.
  return pipelines_[index].Bind(
      device_, module_, std::string(kNames[index]) + module_.suffix, sizeof(RenderParams),
      {{0, kStorage, bindings.curves},
       {1, kStorage, bindings.nodes},
       {2, kStorage, bindings.output_curves},
       {3 + 2 * index, texture ? VK_DESCRIPTOR_TYPE_SAMPLED_IMAGE : kStorage, bindings.source,
        bindings.source_view},
       {4 + 2 * index, texture ? VK_DESCRIPTOR_TYPE_STORAGE_IMAGE : kStorage,
        bindings.destination, bindings.destination_view}});
}

void Pipelines::Dispatch(Kernel kernel, const RenderParams& params,
                         VkCommandBuffer commands) const {
  pipelines_[static_cast<int>(kernel)].Dispatch(
      &params, (params.width + kGroupWidth - 1) / kGroupWidth,
      (params.height + kGroupHeight - 1) / kGroupHeight, commands);
}

}  // namespace vera
