// vera::render for PyTorch on CPU: the functional form for graphs, the out form that ExecuTorch's
// memory planning asks for, and the gradients.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>

#include "ops/render/render_grad.h"
#include "vera/vera.h"

namespace {

int PixelFormat(const at::Tensor& image) {
  const bool alpha = image.size(2) == 4;
  switch (image.scalar_type()) {
    case at::kByte: return alpha ? VERA_PIXEL_FORMAT_RGBA8 : VERA_PIXEL_FORMAT_RGB8;
    case at::kUInt16: return alpha ? VERA_PIXEL_FORMAT_RGBA16 : VERA_PIXEL_FORMAT_RGB16;
    case at::kFloat: return alpha ? VERA_PIXEL_FORMAT_RGBAF32 : VERA_PIXEL_FORMAT_RGBF32;
    default: return -1;
  }
}

void Check(const at::Tensor& image, const at::Tensor& curves, const at::Tensor& lut,
           double strength) {
  TORCH_CHECK_VALUE(image.dim() == 3 && (image.size(2) == 3 || image.size(2) == 4),
                    "vera::render: image has shape ", image.sizes(),
                    ": use (H, W, 3) or (H, W, 4)");
  TORCH_CHECK_VALUE(PixelFormat(image) >= 0, "vera::render: image is ", image.scalar_type(),
                    ": use uint8, uint16 or float32");
  TORCH_CHECK_VALUE(curves.dim() == 2 && curves.size(0) == 3 && curves.size(1) >= 2 &&
                        curves.size(1) <= 4096 && curves.scalar_type() == at::kFloat,
                    "vera::render: curves are ", curves.scalar_type(), " ", curves.sizes(),
                    ": use float32 (3, K) with K in 2..4096");
  const int64_t n = lut.dim() == 4 ? lut.size(0) : 0;
  TORCH_CHECK_VALUE(n >= 2 && n <= 129 && lut.size(1) == n && lut.size(2) == n &&
                        lut.size(3) == 3 && lut.scalar_type() == at::kFloat,
                    "vera::render: lut is ", lut.scalar_type(), " ", lut.sizes(),
                    ": use float32 (N, N, N, 3), indexed [b][g][r], with N in 2..129");
  TORCH_CHECK_VALUE(strength >= 0.0 && strength <= 1.5, "vera::render: strength ", strength,
                    " is not allowed: use 0..1.5");
}

vera_image View(const at::Tensor& image, void* data) {
  vera_image view;
  view.data = data;
  view.height = image.size(0);
  view.width = image.size(1);
  view.row_stride_bytes = static_cast<ptrdiff_t>(image.size(1) * image.size(2)) *
                          static_cast<ptrdiff_t>(image.element_size());
  view.format = PixelFormat(image);
  return view;
}

void RenderInto(const at::Tensor& image, const at::Tensor& curves, const at::Tensor& lut,
                double strength, at::Tensor& out) {
  Check(image, curves, lut, strength);
  const at::Tensor pixels = image.contiguous();
  const at::Tensor curve_values = curves.contiguous();
  const at::Tensor lut_values = lut.contiguous();
  const vera_baked_look look = {curve_values.const_data_ptr<float>(),
                                static_cast<int32_t>(curves.size(1)),
                                lut_values.const_data_ptr<float>(),
                                static_cast<int32_t>(lut.size(0))};
  const vera_image src = View(pixels, const_cast<void*>(pixels.const_data_ptr()));
  vera_image dst = View(out, out.mutable_data_ptr());
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  options.strength = static_cast<float>(strength);
  options.threads = std::min(at::get_num_threads(), 64);
  const vera_status status = vera_render(&look, &src, &dst, &options);
  TORCH_CHECK_VALUE(status != VERA_STATUS_INVALID_ARGUMENT,
                    "vera::render: curves or lut hold a value that is not finite (or beyond "
                    "+-65504), or out overlaps image partly");
  TORCH_CHECK(status == VERA_STATUS_OK, "vera::render: ", vera_status_text(status));
}

at::Tensor Render(const at::Tensor& image, const at::Tensor& curves, const at::Tensor& lut,
                  double strength) {
  at::Tensor out = at::empty(image.sizes(), image.options().memory_format(std::nullopt));
  RenderInto(image, curves, lut, strength, out);
  return out;
}

at::Tensor& RenderOut(const at::Tensor& image, const at::Tensor& curves, const at::Tensor& lut,
                      double strength, at::Tensor& out) {
  TORCH_CHECK_VALUE(out.sizes() == image.sizes() && out.scalar_type() == image.scalar_type() &&
                        out.is_contiguous(),
                    "vera::render.out: out is ", out.scalar_type(), " ", out.sizes(),
                    ": use a contiguous tensor of the image's dtype and shape, ",
                    image.scalar_type(), " ", image.sizes());
  RenderInto(image, curves, lut, strength, out);
  return out;
}

// Sums of at most kChunks parts of the image in a fixed order: the gradients do not depend on the
// number of threads. A large LUT is summed in one part, to spare memory.
constexpr int64_t kChunks = 4;
constexpr int64_t kLargeLut = 65;

std::tuple<at::Tensor, at::Tensor, at::Tensor> RenderBackward(const at::Tensor& grad,
                                                              const at::Tensor& image,
                                                              const at::Tensor& curves,
                                                              const at::Tensor& lut,
                                                              double strength) {
  Check(image, curves, lut, strength);
  TORCH_CHECK_VALUE(image.scalar_type() == at::kFloat && grad.scalar_type() == at::kFloat &&
                        grad.sizes() == image.sizes(),
                    "vera::render_backward: image is ", image.scalar_type(), " ", image.sizes(),
                    ", grad is ", grad.scalar_type(), " ", grad.sizes(),
                    ": use float32 of one shape; integer images have no gradients");
  const at::Tensor pixels = image.contiguous(), grad_out = grad.contiguous();
  const at::Tensor curve_values = curves.contiguous(), lut_values = lut.contiguous();
  const int64_t chunks = lut.size(0) > kLargeLut ? 1 : kChunks;
  const auto sums = curves.options().dtype(at::kDouble);
  at::Tensor grad_in = at::empty_like(pixels);
  at::Tensor grad_curves = at::zeros({chunks, 3, curves.size(1)}, sums);
  at::Tensor grad_lut = at::zeros({chunks, lut.size(0), lut.size(0), lut.size(0), 3}, sums);
  const vera::GradLook look = {curve_values.const_data_ptr<float>(),
                               lut_values.const_data_ptr<float>(),
                               static_cast<int>(curves.size(1)), static_cast<int>(lut.size(0)),
                               strength};
  const int64_t count = image.size(0) * image.size(1), channels = image.size(2);
  at::parallel_for(0, chunks, 1, [&](int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      const int64_t begin = count * chunk / chunks, end = count * (chunk + 1) / chunks;
      vera::RenderBackward(look, pixels.const_data_ptr<float>() + begin * channels,
                           grad_out.const_data_ptr<float>() + begin * channels,
                           static_cast<size_t>(end - begin), static_cast<int>(channels),
                           grad_in.mutable_data_ptr<float>() + begin * channels,
                           grad_curves.mutable_data_ptr<double>() + chunk * 3 * curves.size(1),
                           grad_lut.mutable_data_ptr<double>() + chunk * lut.numel());
    }
  });
  return {grad_in, grad_curves.sum(0).to(at::kFloat), grad_lut.sum(0).to(at::kFloat)};
}

}  // namespace

TORCH_LIBRARY(vera, library) {
  library.def("render(Tensor image, Tensor curves, Tensor lut, float strength) -> Tensor");
  library.def(
      "render.out(Tensor image, Tensor curves, Tensor lut, float strength, *, "
      "Tensor(a!) out) -> Tensor(a!)");
  library.def(
      "render_backward(Tensor grad, Tensor image, Tensor curves, Tensor lut, float strength) -> "
      "(Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(vera, CPU, library) {
  library.impl("render", &Render);
  library.impl("render.out", &RenderOut);
  library.impl("render_backward", &RenderBackward);
}
