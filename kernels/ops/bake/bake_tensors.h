// The network of vera::bake from a list of tensors, for PyTorch and for ExecuTorch.
//
// The list: weight, bias, LayerNorm weight and bias, latent weight and bias of each hidden
// layer, then weight and bias of the output. All are float32 and contiguous.
#ifndef VERA_OPS_BAKE_BAKE_TENSORS_H_
#define VERA_OPS_BAKE_BAKE_TENSORS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "vera/vera.h"

namespace vera {

constexpr float kTorchNormEpsilon = 1e-5f;  // the default of torch.nn.LayerNorm

struct RendererDeleter {
  void operator()(vera_renderer* renderer) const { vera_renderer_destroy(renderer); }
};
using OwnedRenderer = std::unique_ptr<vera_renderer, RendererDeleter>;

template <typename Tensor>
bool HasShape(const Tensor& tensor, int64_t rows, int64_t columns) {
  return columns == 0 ? tensor.dim() == 1 && tensor.size(0) == rows
                      : tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == columns;
}

// Number of hidden layers of a list of tensors that fit each other, else 0.
template <typename Tensors>
int32_t CountLayers(const Tensors& tensors, int64_t latent_size) {
  const size_t layers = tensors.size() / 6;
  if (layers < 1 || layers > 8 || tensors.size() != 6 * layers + 2) return 0;
  int64_t inputs = 3;
  for (size_t i = 0; i < layers; ++i) {
    const int64_t width = tensors[6 * i].dim() == 2 ? tensors[6 * i].size(0) : 0;
    for (size_t part = 0; part < 6; ++part) {
      const int64_t columns = part == 0 ? inputs : part == 4 ? 3 * latent_size : 0;
      if (width < 1 || width > 4096 || !HasShape(tensors[6 * i + part], width, columns)) return 0;
    }
    inputs = width;
  }
  const bool output = HasShape(tensors[6 * layers], 3, inputs) &&
                      HasShape(tensors[6 * layers + 1], 3, 0);
  return output ? static_cast<int32_t>(layers) : 0;
}

// A renderer from tensors that CountLayers accepts.
template <typename Tensors>
vera_status MakeRenderer(const Tensors& tensors, int64_t latent_size, bool residual, bool int8,
                         OwnedRenderer* renderer) {
  const auto data = [&](size_t i) { return tensors[i].template const_data_ptr<float>(); };
  std::vector<vera_renderer_layer> layers(tensors.size() / 6);
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i] = {data(6 * i),     data(6 * i + 1), data(6 * i + 2), data(6 * i + 3),
                 data(6 * i + 4), data(6 * i + 5), static_cast<int32_t>(tensors[6 * i].size(0)),
                 0};
  }
  vera_renderer_weights weights = {};
  weights.struct_size = sizeof(weights);
  weights.layers = layers.data();
  weights.out_weight = data(6 * layers.size());
  weights.out_bias = data(6 * layers.size() + 1);
  weights.layer_count = static_cast<int32_t>(layers.size());
  weights.latent_size = static_cast<int32_t>(latent_size);
  weights.output = residual ? VERA_RENDERER_OUTPUT_RESIDUAL : VERA_RENDERER_OUTPUT_SIGMOID;
  weights.precision = int8 ? VERA_PRECISION_INT8 : VERA_PRECISION_FLOAT32;
  weights.norm_epsilon = kTorchNormEpsilon;
  vera_renderer* made = nullptr;
  const vera_status status = vera_renderer_create(&weights, &made);
  renderer->reset(made);
  return status;
}

}  // namespace vera

#endif  // VERA_OPS_BAKE_BAKE_TENSORS_H_
