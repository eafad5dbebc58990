#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/bake/bake.h"

namespace vera {
namespace {

using Values = std::vector<double>;

// matrix x + bias, where the matrix has rows of x.size().
Values Linear(const float* matrix, const float* bias, size_t rows, const Values& x) {
  Values y(rows);
  for (size_t i = 0; i < rows; ++i) {
    double sum = static_cast<double>(bias[i]);
    for (size_t k = 0; k < x.size(); ++k) {
      sum += static_cast<double>(matrix[i * x.size() + k]) * x[k];
    }
    y[i] = sum;
  }
  return y;
}

void Relu(Values& x) {
  for (double& value : x) value = std::max(value, 0.0);
}

void LayerNorm(const float* weight, const float* bias, double epsilon, Values& x) {
  double mean = 0.0, variance = 0.0;
  for (const double value : x) mean += value / static_cast<double>(x.size());
  for (const double value : x) {
    variance += (value - mean) * (value - mean) / static_cast<double>(x.size());
  }
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = (x[i] - mean) / std::sqrt(variance + epsilon) * static_cast<double>(weight[i]) +
           static_cast<double>(bias[i]);
  }
}

}  // namespace

void EvaluateReference(const vera_renderer_weights& weights, const float* latents,
                       const float* strengths, const float* rgb, size_t count, double* out) {
  const size_t latent_size = static_cast<size_t>(weights.latent_size);
  Values steer(3 * latent_size);
  for (size_t i = 0; i < steer.size(); ++i) {
    steer[i] = static_cast<double>(latents[i]) * static_cast<double>(strengths[i / latent_size]);
  }
  Relu(steer);
  for (size_t point = 0; point < count; ++point) {
    Values x(3);
    for (size_t c = 0; c < 3; ++c) x[c] = 2.0 * static_cast<double>(rgb[3 * point + c]) - 1.0;
    for (int i = 0; i < weights.layer_count; ++i) {
      const vera_renderer_layer& layer = weights.layers[i];
      const size_t width = static_cast<size_t>(layer.width);
      x = Linear(layer.weight, layer.bias, width, x);
      Relu(x);
      LayerNorm(layer.norm_weight, layer.norm_bias, static_cast<double>(weights.norm_epsilon), x);
      const Values shift = Linear(layer.latent_weight, layer.latent_bias, width, steer);
      for (size_t k = 0; k < width; ++k) x[k] += shift[k];
    }
    x = Linear(weights.out_weight, weights.out_bias, 3, x);
    for (size_t c = 0; c < 3; ++c) {
      const double edited = static_cast<double>(rgb[3 * point + c]) + x[c];
      out[3 * point + c] = weights.output == VERA_RENDERER_OUTPUT_RESIDUAL
                               ? std::clamp(edited, 0.0, 1.0)
                               : 1.0 / (1.0 + std::exp(-x[c]));
    }
  }
}

}  // namespace vera
