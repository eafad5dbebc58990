// vera::bake for PyTorch on CPU: the LUT of a look from its latents and the renderer's weights.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "ops/bake/bake_tensors.h"
#include "vera/vera.h"

namespace {

int64_t Check(const at::Tensor& latents, const at::Tensor& strengths, at::TensorList weights,
              int64_t lut_size) {
  TORCH_CHECK_VALUE(latents.dim() == 2 && latents.size(0) == 3 && latents.size(1) >= 1 &&
                        latents.size(1) <= 65536 && latents.scalar_type() == at::kFloat,
                    "vera::bake: latents are ", latents.scalar_type(), " ", latents.sizes(),
                    ": use float32 (3, latent size)");
  TORCH_CHECK_VALUE(strengths.dim() == 1 && strengths.size(0) == 3 &&
                        strengths.scalar_type() == at::kFloat,
                    "vera::bake: strengths are ", strengths.scalar_type(), " ",
                    strengths.sizes(), ": use float32 (3,)");
  for (const at::Tensor& tensor : weights) {
    TORCH_CHECK_VALUE(tensor.scalar_type() == at::kFloat, "vera::bake: a weight is ",
                      tensor.scalar_type(), ": use float32");
  }
  TORCH_CHECK_VALUE(vera::CountLayers(weights, latents.size(1)) > 0,
                    "vera::bake: the ", weights.size(), " weights do not fit each other and ",
                    latents.size(1), " latents: use six for each layer (weight, bias, norm weight "
                    "and bias, latent weight and bias) and two for the output");
  TORCH_CHECK_VALUE(lut_size >= 2 && lut_size <= 129, "vera::bake: LUT size ", lut_size,
                    " is not allowed: use 2..129; 33 suits photos");
  return latents.size(1);
}

void BakeInto(const at::Tensor& latents, const at::Tensor& strengths, at::TensorList weights,
              bool residual, bool int8, int64_t lut_size, at::Tensor& out) {
  const int64_t latent_size = Check(latents, strengths, weights, lut_size);
  std::vector<at::Tensor> tensors;
  for (const at::Tensor& tensor : weights) tensors.push_back(tensor.contiguous());
  vera::OwnedRenderer renderer;
  vera_status status = vera::MakeRenderer(tensors, latent_size, residual, int8, &renderer);
  TORCH_CHECK_VALUE(status != VERA_STATUS_INVALID_ARGUMENT,
                    "vera::bake: a weight is not finite (or beyond +-65504)");
  TORCH_CHECK(status == VERA_STATUS_OK, "vera::bake: ", vera_status_text(status));
  vera_bake_options options = {};
  options.struct_size = sizeof(options);
  options.threads = std::min(at::get_num_threads(), 64);
  status = vera_bake(renderer.get(), latents.contiguous().const_data_ptr<float>(),
                     strengths.contiguous().const_data_ptr<float>(), nullptr,
                     static_cast<int32_t>(lut_size), out.mutable_data_ptr<float>(), &options);
  TORCH_CHECK_VALUE(status != VERA_STATUS_INVALID_ARGUMENT,
                    "vera::bake: latents are not finite (or beyond +-65504), or a strength is not "
                    "in 0..1.5");
  TORCH_CHECK(status == VERA_STATUS_OK, "vera::bake: ", vera_status_text(status));
}

at::Tensor BakeShape(const at::Tensor& latents, const at::Tensor& strengths,
                     at::TensorList weights, bool, bool, int64_t lut_size) {
  Check(latents, strengths, weights, lut_size);
  return at::empty({lut_size, lut_size, lut_size, 3}, latents.options());
}

at::Tensor Bake(const at::Tensor& latents, const at::Tensor& strengths, at::TensorList weights,
                bool residual, bool int8, int64_t lut_size) {
  at::Tensor out = BakeShape(latents, strengths, weights, residual, int8, lut_size);
  BakeInto(latents, strengths, weights, residual, int8, lut_size, out);
  return out;
}

at::Tensor& BakeOut(const at::Tensor& latents, const at::Tensor& strengths,
                    at::TensorList weights, bool residual, bool int8, int64_t lut_size,
                    at::Tensor& out) {
  TORCH_CHECK_VALUE(out.sizes() == at::IntArrayRef({lut_size, lut_size, lut_size, 3}) &&
                        out.scalar_type() == at::kFloat && out.is_contiguous(),
                    "vera::bake.out: out is ", out.scalar_type(), " ", out.sizes(),
                    ": use a contiguous float32 tensor of (N, N, N, 3)");
  BakeInto(latents, strengths, weights, residual, int8, lut_size, out);
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(vera, library) {
  library.def(
      "bake(Tensor latents, Tensor strengths, Tensor[] weights, bool residual, bool int8, "
      "int lut_size) -> Tensor");
  library.def(
      "bake.out(Tensor latents, Tensor strengths, Tensor[] weights, bool residual, bool int8, "
      "int lut_size, *, Tensor(a!) out) -> Tensor(a!)");
}

TORCH_LIBRARY_IMPL(vera, CPU, library) {
  library.impl("bake", &Bake);
  library.impl("bake.out", &BakeOut);
}

TORCH_LIBRARY_IMPL(vera, Meta, library) { library.impl("bake", &BakeShape); }
