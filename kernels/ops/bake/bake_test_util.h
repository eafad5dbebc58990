// What the test and the benchmark of the bake operator share: a network of random weights.
#ifndef VERA_OPS_BAKE_BAKE_TEST_UTIL_H_
#define VERA_OPS_BAKE_BAKE_TEST_UTIL_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "vera/vera.h"

namespace vera {

struct Network {
  Network(const std::vector<int>& widths, int latent_size, bool residual,
          vera_precision precision) {
    int inputs = 3;
    for (const int width : widths) {
      // Uniform weights whose products keep the size of their inputs, as training starts with.
      const float bound = 1.7f / Root(static_cast<float>(inputs));
      const float latent_bound = 1.0f / Root(3.0f * static_cast<float>(latent_size));
      vera_renderer_layer layer = {};
      layer.weight = Fill(width * inputs, 0.0f, bound);
      layer.bias = Fill(width, 0.0f, 0.5f);
      layer.norm_weight = Fill(width, 1.0f, 0.3f);
      layer.norm_bias = Fill(width, 0.0f, 0.1f);
      layer.latent_weight = Fill(width * 3 * latent_size, 0.0f, latent_bound);
      layer.latent_bias = Fill(width, 0.0f, latent_bound);
      layer.width = width;
      layers.push_back(layer);
      inputs = width;
    }
    weights.struct_size = sizeof(weights);
    weights.layers = layers.data();
    weights.out_weight = Fill(3 * inputs, 0.0f, 1.7f / Root(static_cast<float>(inputs)));
    weights.out_bias = Fill(3, 0.0f, 0.1f);
    weights.layer_count = static_cast<int32_t>(layers.size());
    weights.latent_size = latent_size;
    weights.output = residual ? VERA_RENDERER_OUTPUT_RESIDUAL : VERA_RENDERER_OUTPUT_SIGMOID;
    weights.precision = precision;
    weights.norm_epsilon = 1e-5f;
    Fill(3 * latent_size, 0.0f, 1.0f);
    latents = values.back();
  }
  Network(const Network&) = delete;

  // Uniform in centre +- bound. Exactly rounded operations only, the same on every machine.
  const float* Fill(int count, float centre, float bound) {
    std::vector<float> numbers;
    for (int i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      const float unit = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
      numbers.push_back(centre + bound * unit);
    }
    values.push_back(std::move(numbers));
    return values.back().data();
  }

  static float Root(float x) {  // Newton's method; any start
    float root = x;
    for (int i = 0; i < 30; ++i) root = 0.5f * (root + x / root);
    return root;
  }

  uint32_t state = 1;
  std::deque<std::vector<float>> values;  // whose vectors never move
  std::vector<vera_renderer_layer> layers;
  std::vector<float> latents;
  vera_renderer_weights weights = {};
};

inline vera_bake_options BakeOptions(int threads = 1) {
  vera_bake_options options = {};
  options.struct_size = sizeof(options);
  options.threads = threads;
  return options;
}

}  // namespace vera

#endif  // VERA_OPS_BAKE_BAKE_TEST_UTIL_H_
