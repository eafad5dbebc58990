// vera::render.out for the ExecuTorch runtime.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include "vera/vera.h"

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::KernelRuntimeContext;

int PixelFormat(const Tensor& image) {
  const bool alpha = image.size(2) == 4;
  switch (image.scalar_type()) {
    case ScalarType::Byte: return alpha ? VERA_PIXEL_FORMAT_RGBA8 : VERA_PIXEL_FORMAT_RGB8;
    case ScalarType::UInt16: return alpha ? VERA_PIXEL_FORMAT_RGBA16 : VERA_PIXEL_FORMAT_RGB16;
    case ScalarType::Float: return alpha ? VERA_PIXEL_FORMAT_RGBAF32 : VERA_PIXEL_FORMAT_RGBF32;
    default: return -1;
  }
}

bool ImageIsValid(const Tensor& image) {
  return image.dim() == 3 && (image.size(2) == 3 || image.size(2) == 4) &&
         PixelFormat(image) >= 0 && executorch::runtime::tensor_is_contiguous(image);
}

bool LookIsValid(const Tensor& curves, const Tensor& lut) {
  if (curves.dim() != 2 || curves.size(0) != 3 || lut.dim() != 4) return false;
  const auto n = lut.size(0);
  return lut.size(1) == n && lut.size(2) == n && lut.size(3) == 3 &&
         curves.scalar_type() == ScalarType::Float && lut.scalar_type() == ScalarType::Float &&
         executorch::runtime::tensor_is_contiguous(curves) &&
         executorch::runtime::tensor_is_contiguous(lut);
}

vera_image View(const Tensor& image, void* data) {
  vera_image view;
  view.data = data;
  view.height = image.size(0);
  view.width = image.size(1);
  view.row_stride_bytes = static_cast<ptrdiff_t>(image.size(1)) *
                          static_cast<ptrdiff_t>(image.size(2)) *
                          static_cast<ptrdiff_t>(image.element_size());
  view.format = PixelFormat(image);
  return view;
}

Tensor& RenderOut(KernelRuntimeContext& context, const Tensor& image, const Tensor& curves,
                  const Tensor& lut, double strength, Tensor& out) {
  ET_KERNEL_CHECK_MSG(context, ImageIsValid(image), InvalidArgument, out,
                      "vera::render: image must be contiguous (H, W, 3|4) uint8, uint16, float32");
  ET_KERNEL_CHECK_MSG(context, LookIsValid(curves, lut), InvalidArgument, out,
                      "vera::render: curves must be float32 (3, K), lut float32 (N, N, N, 3)");
  ET_KERNEL_CHECK_MSG(context, out.scalar_type() == image.scalar_type(), InvalidArgument, out,
                      "vera::render: out must have the dtype of image");
  ET_KERNEL_CHECK_MSG(
      context, executorch::runtime::resize_tensor(out, image.sizes()) == Error::Ok,
      InvalidArgument, out, "vera::render: out is too small for the image");
  const vera_baked_look look = {curves.const_data_ptr<float>(),
                                static_cast<int32_t>(curves.size(1)), lut.const_data_ptr<float>(),
                                static_cast<int32_t>(lut.size(0))};
  const vera_image src = View(image, const_cast<void*>(image.const_data_ptr()));
  vera_image dst = View(out, out.mutable_data_ptr());
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  options.strength = static_cast<float>(strength);
  const vera_status status = vera_render(&look, &src, &dst, &options);
  ET_KERNEL_CHECK_MSG(context, status != VERA_STATUS_OUT_OF_MEMORY, MemoryAllocationFailed, out,
                      "vera::render: not enough memory for the copy of the look");
  ET_KERNEL_CHECK_MSG(context, status == VERA_STATUS_OK, InvalidArgument, out,
                      "vera::render: %s (K in 2..4096, N in 2..129, strength in 0..1.5, finite "
                      "curves and lut)",
                      vera_status_text(status));
  return out;
}

}  // namespace

EXECUTORCH_LIBRARY(vera, "render.out", RenderOut);
