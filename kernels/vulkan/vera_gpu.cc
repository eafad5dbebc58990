// The C ABI: opens, locks and forwards.
#include "vera/vera_gpu.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include "cpu/check.h"
#include "cpu/guard.h"
#include "vulkan/renderer.h"

struct vera_gpu {
  std::mutex mutex;
  std::unique_ptr<vera::Renderer> renderer;
};

struct vera_gpu_renderer {
  vera::DeviceNetwork network;
};

struct vera_gpu_lut {
  vera::DeviceLut lut;
};

namespace vera {
namespace {

bool ReadOpenOptions(const vera_gpu_options* from, vera_gpu_options* to) {
  return CopyStruct(from, sizeof(*to), sizeof(*to), to) && to->device_index >= -1 &&
         (to->precision == VERA_GPU_PRECISION_FLOAT || to->precision == VERA_GPU_PRECISION_HALF);
}

vera_status Open(const vera_gpu_options& options, vera_gpu** gpu, std::string* why) {
  DeviceRequest request;
  request.index = options.device_index;
  request.half = options.precision == VERA_GPU_PRECISION_HALF;
  std::unique_ptr<vera_gpu> made(new vera_gpu());
  vera_status status = Renderer::Open(request, ShadersOf(request.half), &made->renderer, why);
  if (status == VERA_STATUS_OK) status = made->renderer->SelfTest(why);
  if (status == VERA_STATUS_OK) *gpu = made.release();
  return status;
}

void CopyMessage(const std::string& text, char* message, size_t bytes) {
  if (message == nullptr || bytes == 0) return;
  const size_t length = std::min(text.size(), bytes - 1);
  std::memcpy(message, text.data(), length);
  message[length] = '\0';
}

}  // namespace
}  // namespace vera

vera_status vera_gpu_open(const vera_gpu_options* options, vera_gpu** gpu, char* message,
                          size_t message_bytes) {
  if (gpu == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  *gpu = nullptr;
  return vera::Guarded([&]() -> vera_status {
    vera_gpu_options given;
    std::string why;
    vera_status status = VERA_STATUS_INVALID_ARGUMENT;
    if (vera::ReadOpenOptions(options, &given)) status = vera::Open(given, gpu, &why);
    if (status != VERA_STATUS_OK && why.empty()) why = vera_status_text(status);
    vera::CopyMessage(why, message, message_bytes);
    return status;
  });
}

vera_status vera_gpu_self_test(vera_gpu* gpu) {
  if (gpu == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  return vera::Guarded([&] {
    const std::lock_guard<std::mutex> lock(gpu->mutex);
    std::string why;
    return gpu->renderer->SelfTest(&why);
  });
}

vera_status vera_gpu_render(vera_gpu* gpu, const vera_look* look, const vera_frame* src,
                            const vera_frame* dst, const vera_render_options* options) {
  if (gpu == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  return vera::Guarded([&] {
    const std::lock_guard<std::mutex> lock(gpu->mutex);
    return gpu->renderer->Render(look, nullptr, src, dst, options);
  });
}

vera_status vera_gpu_renderer_create(vera_gpu* gpu, const vera_renderer* renderer,
                                     vera_gpu_renderer** made) {
  if (made == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  *made = nullptr;
  if (gpu == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  return vera::Guarded([&] {
    const std::lock_guard<std::mutex> lock(gpu->mutex);
    auto uploaded = std::make_unique<vera_gpu_renderer>();
    const vera_status status = gpu->renderer->Upload(renderer, &uploaded->network);
    if (status == VERA_STATUS_OK) *made = uploaded.release();
    return status;
  });
}

void vera_gpu_renderer_destroy(vera_gpu_renderer* renderer) { delete renderer; }

vera_status vera_gpu_bake(vera_gpu* gpu, const vera_gpu_renderer* renderer, const float* latents,
                          const float* strengths, const float* axes, int32_t lut_size,
                          vera_gpu_lut** lut, const vera_bake_options* options) {
  if (lut == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  *lut = nullptr;
  if (gpu == nullptr || renderer == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  return vera::Guarded([&] {
    const std::lock_guard<std::mutex> lock(gpu->mutex);
    auto baked = std::make_unique<vera_gpu_lut>();
    const vera_status status = gpu->renderer->Bake(&renderer->network, latents, strengths, axes,
                                                   lut_size, options, &baked->lut);
    if (status == VERA_STATUS_OK) *lut = baked.release();
    return status;
  });
}

vera_status vera_gpu_lut_read(vera_gpu* gpu, const vera_gpu_lut* lut, float* out) {
  if (gpu == nullptr || lut == nullptr || out == nullptr ||
      lut->lut.device.get() != &gpu->renderer->device()) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  vera::ReadNodes(lut->lut, out);
  return VERA_STATUS_OK;
}

void vera_gpu_lut_destroy(vera_gpu_lut* lut) { delete lut; }

vera_status vera_gpu_render_lut(vera_gpu* gpu, const vera_look* look, const vera_gpu_lut* lut,
                                const vera_frame* src, const vera_frame* dst,
                                const vera_render_options* options) {
  if (gpu == nullptr || lut == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  return vera::Guarded([&] {
    const std::lock_guard<std::mutex> lock(gpu->mutex);
    return gpu->renderer->Render(look, &lut->lut, src, dst, options);
  });
}

const char* vera_gpu_device_name(const vera_gpu* gpu) {
  return gpu == nullptr ? nullptr : gpu->renderer->device().name().c_str();
}

void vera_gpu_close(vera_gpu* gpu) { delete gpu; }
