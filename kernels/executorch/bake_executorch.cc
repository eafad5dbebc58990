// vera::bake.out for the ExecuTorch runtime.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <new>

#include "ops/bake/bake_tensors.h"
#include "vera/vera.h"

namespace {

using executorch::aten::ArrayRef;
using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::KernelRuntimeContext;

bool IsFloat(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Float &&
         executorch::runtime::tensor_is_contiguous(tensor);
}

bool InputsAreValid(const Tensor& latents, const Tensor& strengths, ArrayRef<Tensor> weights) {
  for (const Tensor& tensor : weights) {
    if (!IsFloat(tensor)) return false;
  }
  return IsFloat(latents) && IsFloat(strengths) && latents.dim() == 2 && latents.size(0) == 3 &&
         latents.size(1) >= 1 && latents.size(1) <= 65536 && strengths.dim() == 1 &&
         strengths.size(0) == 3 && vera::CountLayers(weights, latents.size(1)) > 0;
}

vera_status Bake(const Tensor& latents, const Tensor& strengths, ArrayRef<Tensor> weights,
                 bool residual, bool int8, int64_t lut_size, Tensor& out) {
  vera::OwnedRenderer renderer;
  const vera_status status =
      vera::MakeRenderer(weights, latents.size(1), residual, int8, &renderer);
  if (status != VERA_STATUS_OK) return status;
  vera_bake_options options = {};
  options.struct_size = sizeof(options);
  return vera_bake(renderer.get(), latents.const_data_ptr<float>(),
                   strengths.const_data_ptr<float>(), nullptr, static_cast<int32_t>(lut_size),
                   out.mutable_data_ptr<float>(), &options);
}

Tensor& BakeOut(KernelRuntimeContext& context, const Tensor& latents, const Tensor& strengths,
                ArrayRef<Tensor> weights, bool residual, bool int8, int64_t lut_size,
                Tensor& out) {
  ET_KERNEL_CHECK_MSG(context, InputsAreValid(latents, strengths, weights), InvalidArgument, out,
                      "vera::bake: use contiguous float32 latents (3, latent size), strengths (3,) "
                      "and weights that fit them: six for each layer, two for the output");
  ET_KERNEL_CHECK_MSG(context, lut_size >= 2 && lut_size <= 129 && IsFloat(out), InvalidArgument,
                      out, "vera::bake: LUT size must be in 2..129 and out float32");
  const SizesType n = static_cast<SizesType>(lut_size);
  const SizesType sizes[4] = {n, n, n, 3};
  ET_KERNEL_CHECK_MSG(context,
                      executorch::runtime::resize_tensor(out, {sizes, 4}) == Error::Ok,
                      InvalidArgument, out, "vera::bake: out is too small for the LUT");
  vera_status status = VERA_STATUS_OUT_OF_MEMORY;
  try {
    status = Bake(latents, strengths, weights, residual, int8, lut_size, out);
  } catch (const std::bad_alloc&) {
  }
  ET_KERNEL_CHECK_MSG(context, status != VERA_STATUS_OUT_OF_MEMORY, MemoryAllocationFailed, out,
                      "vera::bake: not enough memory for the packed weights");
  ET_KERNEL_CHECK_MSG(context, status == VERA_STATUS_OK, InvalidArgument, out,
                      "vera::bake: %s (finite weights and latents, strengths in 0..1.5)",
                      vera_status_text(status));
  return out;
}

}  // namespace

EXECUTORCH_LIBRARY(vera, "bake.out", BakeOut);
