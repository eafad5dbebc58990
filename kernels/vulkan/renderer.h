// Renders photos that lie in the host's memory, tile by tile, on a Vulkan device.
#ifndef VERA_VULKAN_RENDERER_H_
#define VERA_VULKAN_RENDERER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "ops/render/render.h"
#include "vulkan/device.h"
#include "vulkan/pipelines.h"

namespace vera {

// A tile is read, rendered and written back at once; the largest takes 2 x 16 MiB.
constexpr int64_t kGpuTilePixels = 1 << 20;
constexpr int64_t kGpuTileWidth = 4096;

class Renderer {
 public:
  // Trusts its arguments but for what only the device can tell.
  static vera_status Open(const DeviceRequest& request, const Module& module,
                          std::unique_ptr<Renderer>* renderer, std::string* why);

  // vera_gpu_render, with all checks.
  vera_status Render(const vera_look* look, const vera_frame* src, const vera_frame* dst,
                     const vera_render_options* options);

  // vera_gpu_self_test; *why tells what differs.
  vera_status SelfTest(std::string* why);

  // Copies a look to the device and fills in all but the size of *params.
  vera_status Upload(const vera_look& look, const vera_render_options& options,
                     RenderParams* params);
  Bindings LookBindings() const { return {&curves_, &nodes_, &output_curves_}; }

  const Device& device() const { return *device_; }
  Pipelines& pipelines() { return *pipelines_; }
  bool half() const { return half_; }

 private:
  Renderer() = default;
  struct Job;
  vera_status RenderTile(const Job& job, int64_t tile);

  bool half_ = false;
  std::unique_ptr<Device> device_;  // outlives what follows
  std::unique_ptr<Pipelines> pipelines_;
  Buffer curves_, nodes_, output_curves_, source_, destination_;
};

}  // namespace vera

#endif  // VERA_VULKAN_RENDERER_H_
