// Bakes looks, and renders photos that lie in the host's memory tile by tile, on a Vulkan device.
#ifndef VERA_VULKAN_RENDERER_H_
#define VERA_VULKAN_RENDERER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ops/render/render.h"
#include "vulkan/baker.h"
#include "vulkan/device.h"
#include "vulkan/pipelines.h"

namespace vera {

// A tile is read, rendered and written back at once; the largest takes 2 x 16 MiB.
constexpr int64_t kGpuTilePixels = 1 << 20;
constexpr int64_t kGpuTileWidth = 4096;

// SPIR-V of one precision; a test gives another.
struct Shaders {
  Module render, bake;
};
inline Shaders ShadersOf(bool half) { return {RenderModule(half), BakeModule(half)}; }

class Renderer {
 public:
  // Trusts its arguments but for what only the device can tell.
  static vera_status Open(const DeviceRequest& request, const Shaders& shaders,
                          std::unique_ptr<Renderer>* renderer, std::string* why);

  // vera_gpu_render and, with a LUT, vera_gpu_render_lut, with all checks.
  vera_status Render(const vera_look* look, const DeviceLut* lut, const vera_frame* src,
                     const vera_frame* dst, const vera_render_options* options);

  // vera_gpu_renderer_create and vera_gpu_bake, with all checks; the results are the caller's.
  vera_status Upload(const vera_renderer* renderer, DeviceNetwork* network) const;
  vera_status Bake(const DeviceNetwork* network, const float* latents, const float* strengths,
                   const float* axes, int32_t lut_size, const vera_bake_options* options,
                   DeviceLut* lut);

  // vera_gpu_self_test; *why tells what differs.
  vera_status SelfTest(std::string* why);

  // Copies a look to the device and fills in all but the size of *params. A LUT that lies there
  // already stands for that of the look; otherwise `lut` is null.
  vera_status Upload(const vera_look& look, const DeviceLut* lut,
                     const vera_render_options& options, RenderParams* params);
  Bindings LookBindings(const DeviceLut* lut) const {
    return {&curves_, lut != nullptr ? &lut->nodes : &nodes_, &output_curves_};
  }

  const Device& device() const { return *device_; }
  Pipelines& pipelines() { return *pipelines_; }
  bool half() const { return half_; }

 private:
  Renderer() = default;
  struct Job;
  vera_status RenderTile(const Job& job, int64_t tile);
  vera_status SelfTestRender(std::string* why);
  vera_status SelfTestBake(std::string* why);
  vera_status SelfTestBakedRender(const DeviceLut& lut, const std::vector<float>& nodes,
                                  std::string* why);

  bool half_ = false;
  std::shared_ptr<Device> device_;  // outlives what follows
  std::unique_ptr<Pipelines> pipelines_;
  std::unique_ptr<Baker> baker_;
  Buffer curves_, nodes_, output_curves_, source_, destination_;
};

}  // namespace vera

#endif  // VERA_VULKAN_RENDERER_H_
