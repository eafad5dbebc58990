#include "vulkan/renderer.h"

#include <algorithm>
#include <cstring>

#include "cpu/check.h"

namespace vera {
namespace {

const uint8_t* PixelAt(const vera_frame& frame, int pixel_bytes, int64_t x, int64_t y) {
  return static_cast<const uint8_t*>(frame.planes[0]) + y * frame.row_stride_bytes[0] +
         x * pixel_bytes;
}

bool KernelOf(vera_pixel_format format, Kernel* kernel) {
  switch (format) {
    case VERA_PIXEL_FORMAT_RGBA8:
    case VERA_PIXEL_FORMAT_BGRA8: *kernel = Kernel::kRgba8; return true;
    case VERA_PIXEL_FORMAT_RGBAF16: *kernel = Kernel::kRgbaF16; return true;
    case VERA_PIXEL_FORMAT_RGBAF32: *kernel = Kernel::kRgbaF32; return true;
    default: return false;
  }
}

}  // namespace

struct Renderer::Job {
  Job(const vera_frame& src_frame, const vera_frame& dst_frame)
      : src(src_frame),
        dst(dst_frame),
        tile_width(std::min(src.width, kGpuTileWidth)),
        tile_height(std::min(src.height, std::max<int64_t>(1, kGpuTilePixels / tile_width))),
        columns((src.width + tile_width - 1) / tile_width),
        tiles(columns * ((src.height + tile_height - 1) / tile_height)) {}
  const vera_frame& src;
  const vera_frame& dst;
  int64_t tile_width, tile_height, columns, tiles;
  Kernel kernel = Kernel::kRgba8;
  int pixel_bytes = 4;
  RenderParams params = {};
};

vera_status Renderer::Open(const DeviceRequest& request, const Shaders& shaders,
                           std::unique_ptr<Renderer>* renderer, std::string* why) {
  std::unique_ptr<Renderer> made(new Renderer());
  const vera_status status = Device::Open(request, &made->device_, why);
  if (status != VERA_STATUS_OK) return status;
  made->half_ = request.half;
  made->pipelines_ = std::make_unique<Pipelines>(*made->device_, shaders.render);
  made->baker_ = std::make_unique<Baker>(made->device_, shaders.bake, request.half);
  *renderer = std::move(made);
  return VERA_STATUS_OK;
}

vera_status Renderer::Upload(const vera_look& look, const DeviceLut* lut,
                             const vera_render_options& options, RenderParams* params) {
  RenderJob job;  // as if for float pixels: the device has one form of a look for all formats
  job.src.sample = job.dst.sample = Sample::kFloat;
  const bool half_nodes = lut != nullptr ? lut->half : HalfNodes(look, half_);
  vera_status status =
      lut != nullptr ? PrepareCurves(look, &job.look) : PrepareLook(look, &job);
  if (status == VERA_STATUS_OK && lut == nullptr) {
    status = device_->Reserve(DeviceNodeBytes(look.lut_size, half_nodes), &nodes_);
  }
  if (status == VERA_STATUS_OK) {
    status = device_->Reserve(DeviceCurveBytes(look.curve_size), &curves_);
  }
  // Bound even where it is not read, so it must exist.
  if (status == VERA_STATUS_OK) {
    status = device_->Reserve(DeviceCurveBytes(look.output_curve_size), &output_curves_);
  }
  if (status != VERA_STATUS_OK) return status;
  PackDeviceLook(job.look, options, half_nodes, curves_.mapped,
                 lut == nullptr ? nodes_.mapped : nullptr, output_curves_.mapped, params);
  return VERA_STATUS_OK;
}

vera_status Renderer::Upload(const vera_renderer* renderer, DeviceNetwork* network) const {
  if (renderer == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  return baker_->Upload(*renderer, network);
}

vera_status Renderer::Bake(const DeviceNetwork* network, const float* latents,
                           const float* strengths, const float* axes, int32_t lut_size,
                           const vera_bake_options* options, DeviceLut* lut) {
  LatticeBake lattice;
  if (network == nullptr || network->device != device_ ||
      !ReadLatticeBake(network->renderer, latents, strengths, axes, lut_size, options, &lattice)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  return baker_->Bake(*network, latents, strengths, lattice, lut_size, lut);
}

vera_status Renderer::RenderTile(const Job& job, int64_t tile) {
  const int64_t x = tile % job.columns * job.tile_width;
  const int64_t y = tile / job.columns * job.tile_height;
  RenderParams params = job.params;
  params.width = static_cast<uint32_t>(std::min(job.tile_width, job.src.width - x));
  params.height = static_cast<uint32_t>(std::min(job.tile_height, job.src.height - y));
  params.dither_phase += DitherPhase(x, y);
  const size_t row_bytes = static_cast<size_t>(params.width) * static_cast<size_t>(job.pixel_bytes);
  for (uint32_t row = 0; row < params.height; ++row) {
    std::memcpy(static_cast<uint8_t*>(source_.mapped) + row * row_bytes,
                PixelAt(job.src, job.pixel_bytes, x, y + row), row_bytes);
  }
  const vera_status status = device_->Run([&](VkCommandBuffer commands) {
    pipelines_->Dispatch(job.kernel, params, commands);
  });
  if (status != VERA_STATUS_OK) return status;
  for (uint32_t row = 0; row < params.height; ++row) {
    std::memcpy(const_cast<uint8_t*>(PixelAt(job.dst, job.pixel_bytes, x, y + row)),
                static_cast<const uint8_t*>(destination_.mapped) + row * row_bytes, row_bytes);
  }
  return VERA_STATUS_OK;
}

vera_status Renderer::Render(const vera_look* given_look, const DeviceLut* lut,
                             const vera_frame* given_src, const vera_frame* given_dst,
                             const vera_render_options* given) {
  vera_look look;
  vera_frame src, dst;
  vera_render_options options;
  FormatInfo src_info, dst_info;
  const bool look_is_valid =
      lut != nullptr ? lut->device == device_ && ReadCurves(given_look, &look) &&
                           look.lut_size == lut->size
                     : ReadLook(given_look, &look);
  if (!look_is_valid || !ReadOptions(given, &options) ||
      !ReadFrame(given_src, &src, &src_info) || !ReadFrame(given_dst, &dst, &dst_info) ||
      !FramesFit(src, src_info, dst, dst_info, options)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  const bool empty = src.width == 0 || src.height == 0;
  if (!empty && !OverlapIsAllowed(src, src_info, dst, dst_info)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  Kernel kernel;
  if (src.format != dst.format || !KernelOf(src.format, &kernel)) {
    return VERA_STATUS_UNSUPPORTED_FORMAT;
  }
  RenderParams params = {};
  vera_status status = Upload(look, lut, options, &params);
  if (status != VERA_STATUS_OK || empty) return status;
  if (src.format == VERA_PIXEL_FORMAT_BGRA8) params.flags |= kFlagBlueFirst;
  Job job(src, dst);
  job.kernel = kernel;
  job.pixel_bytes = src_info.pixel_bytes;
  job.params = params;
  const size_t tile_bytes =
      static_cast<size_t>(job.tile_width * job.tile_height * job.pixel_bytes);
  status = device_->Reserve(tile_bytes, &source_);
  if (status == VERA_STATUS_OK) status = device_->Reserve(tile_bytes, &destination_);
  Bindings bindings = LookBindings(lut);
  bindings.source = &source_;
  bindings.destination = &destination_;
  if (status == VERA_STATUS_OK) status = pipelines_->Bind(kernel, bindings);
  const int64_t total = src.width * src.height;
  for (int64_t tile = 0; tile < job.tiles && status == VERA_STATUS_OK; ++tile) {
    if (IsCancelled(options.cancel)) return VERA_STATUS_CANCELLED;
    status = RenderTile(job, tile);
    if (status != VERA_STATUS_OK || options.progress == nullptr) continue;
    const int64_t done = (tile + 1) * job.tile_width * job.tile_height;
    options.progress(options.user, tile + 1 == job.tiles ? total : std::min(done, total), total);
  }
  return status;
}

}  // namespace vera
