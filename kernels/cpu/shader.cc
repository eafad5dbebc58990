// The C ABI of vera_shader.h: checks every argument, then fills the buffers.
#include "vera/vera_shader.h"

#include <cstdint>

#include "cpu/bake_args.h"
#include "cpu/check.h"
#include "cpu/guard.h"
#include "ops/bake/bake_device.h"
#include "ops/render/render_device.h"

namespace vera {
namespace {

bool PrecisionIsValid(vera_gpu_precision precision) {
  return precision == VERA_GPU_PRECISION_FLOAT || precision == VERA_GPU_PRECISION_HALF;
}

// What is written: there, and aligned like a float.
bool IsBuffer(const void* buffer) {
  return buffer != nullptr && reinterpret_cast<uintptr_t>(buffer) % alignof(float) == 0;
}

bool IsHalf(vera_gpu_precision precision) { return precision == VERA_GPU_PRECISION_HALF; }

// With a LUT of its own, or without.
bool ReadEither(const vera_look* from, vera_look* to) {
  return ReadLook(from, to) || ReadCurves(from, to);
}

vera_status RenderSize(const vera_look* given, vera_gpu_precision precision,
                       vera_shader_render_sizes* sizes) {
  vera_look look;
  if (!ReadEither(given, &look) || !PrecisionIsValid(precision) || sizes == nullptr) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  sizes->curves_bytes = DeviceCurveBytes(look.curve_size);
  sizes->nodes_bytes = DeviceNodeBytes(look.lut_size, HalfNodes(look, IsHalf(precision)));
  sizes->output_curves_bytes = DeviceCurveBytes(look.output_curve_size);
  return VERA_STATUS_OK;
}

vera_status PackRender(const vera_look* given, const vera_render_options* given_options,
                       vera_pixel_format format, vera_gpu_precision precision, void* curves,
                       void* nodes, void* output_curves, vera_shader_render_params* params) {
  vera_look look;
  vera_render_options options;
  FormatInfo info;
  if (!ReadEither(given, &look) || !ReadOptions(given_options, &options) ||
      !GetFormatInfo(format, &info) || !PrecisionIsValid(precision) || !IsBuffer(curves) ||
      !IsBuffer(output_curves) || !IsBuffer(params) ||
      !(look.lut == nullptr ? nodes == nullptr : IsBuffer(nodes))) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  const bool eight = format == VERA_PIXEL_FORMAT_RGBA8 || format == VERA_PIXEL_FORMAT_BGRA8;
  if (!eight && format != VERA_PIXEL_FORMAT_RGBAF16 && format != VERA_PIXEL_FORMAT_RGBAF32) {
    return VERA_STATUS_UNSUPPORTED_FORMAT;
  }
  if (eight ? options.out_of_range != VERA_OUT_OF_RANGE_CLAMP
            : options.dither != VERA_DITHER_NONE) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  RenderJob job;  // as if for float pixels: the shader has one form of a look for all formats
  job.src.sample = job.dst.sample = Sample::kFloat;
  const vera_status status =
      look.lut == nullptr ? PrepareCurves(look, &job.look) : PrepareLook(look, &job);
  if (status != VERA_STATUS_OK) return status;
  PackDeviceLook(job.look, options, HalfNodes(look, IsHalf(precision)), curves, nodes,
                 output_curves, params);
  if (format == VERA_PIXEL_FORMAT_BGRA8) params->flags |= kFlagBlueFirst;
  return VERA_STATUS_OK;
}

vera_status BakeSize(const vera_renderer* renderer, int32_t lut_size, vera_gpu_precision precision,
                     vera_shader_bake_sizes* sizes) {
  if (renderer == nullptr || lut_size < 2 || lut_size > 129 || !PrecisionIsValid(precision) ||
      sizes == nullptr) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  const PackedRenderer& packed = renderer->packed;
  if (!FitsDevice(packed)) return VERA_STATUS_UNSUPPORTED_FORMAT;
  const bool half = IsHalf(precision);
  const uint32_t n = static_cast<uint32_t>(lut_size), group_nodes = BakeTileNodes(half);
  sizes->weights_bytes = DeviceWeightBytes(packed, half);
  sizes->layers_bytes = packed.layers.size() * sizeof(BakeLayer);
  sizes->look_bytes = DeviceLookSize(packed, lut_size) * sizeof(float);
  sizes->nodes_bytes = DeviceNodeBytes(lut_size, half);
  sizes->group_nodes = group_nodes;
  sizes->groups = (n * n * n + group_nodes - 1) / group_nodes;
  return VERA_STATUS_OK;
}

vera_status PackWeights(const vera_renderer* renderer, vera_gpu_precision precision, void* weights,
                        vera_shader_bake_layer* layers) {
  if (renderer == nullptr || !PrecisionIsValid(precision) || !IsBuffer(weights) ||
      !IsBuffer(layers)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  if (!FitsDevice(renderer->packed)) return VERA_STATUS_UNSUPPORTED_FORMAT;
  PackDeviceWeights(renderer->packed, IsHalf(precision), weights, layers);
  return VERA_STATUS_OK;
}

vera_status PackBake(const vera_renderer* renderer, const float* latents, const float* strengths,
                     const float* axes, int32_t lut_size, vera_gpu_precision precision,
                     float* look, vera_shader_bake_params* params) {
  vera_bake_options options = {};
  options.struct_size = sizeof(options);
  LatticeBake lattice;
  if (!ReadLatticeBake(renderer, latents, strengths, axes, lut_size, &options, &lattice) ||
      !PrecisionIsValid(precision) || !IsBuffer(look) || !IsBuffer(params)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  const PackedRenderer& packed = renderer->packed;
  if (!FitsDevice(packed)) return VERA_STATUS_UNSUPPORTED_FORMAT;
  PackDeviceLook(packed, MakeBiases(packed, latents, strengths), lattice.axes.data(), lut_size,
                 IsHalf(precision), look, params);
  return VERA_STATUS_OK;
}

}  // namespace
}  // namespace vera

vera_status vera_shader_render_size(const vera_look* look, vera_gpu_precision precision,
                                    vera_shader_render_sizes* sizes) {
  return vera::RenderSize(look, precision, sizes);
}

vera_status vera_shader_pack_render(const vera_look* look, const vera_render_options* options,
                                    vera_pixel_format format, vera_gpu_precision precision,
                                    void* curves, void* nodes, void* output_curves,
                                    vera_shader_render_params* params) {
  return vera::Guarded([&] {
    return vera::PackRender(look, options, format, precision, curves, nodes, output_curves,
                            params);
  });
}

vera_status vera_shader_bake_size(const vera_renderer* renderer, int32_t lut_size,
                                  vera_gpu_precision precision, vera_shader_bake_sizes* sizes) {
  return vera::BakeSize(renderer, lut_size, precision, sizes);
}

vera_status vera_shader_pack_weights(const vera_renderer* renderer, vera_gpu_precision precision,
                                     void* weights, vera_shader_bake_layer* layers) {
  return vera::PackWeights(renderer, precision, weights, layers);
}

vera_status vera_shader_pack_bake(const vera_renderer* renderer, const float* latents,
                                  const float* strengths, const float* axes, int32_t lut_size,
                                  vera_gpu_precision precision, float* look,
                                  vera_shader_bake_params* params) {
  return vera::Guarded([&] {
    return vera::PackBake(renderer, latents, strengths, axes, lut_size, precision, look, params);
  });
}
