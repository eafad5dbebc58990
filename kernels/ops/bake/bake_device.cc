#include "ops/bake/bake_device.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/render/formats.h"

namespace vera {
namespace {

constexpr size_t kElementBytes = 16;  // of `weights` in the shader

// Weight of a layer after the first, its inputs' LayerNorm weight folded in.
float WeightAt(const PackedLayer& layer, size_t input, size_t feature) {
  return layer.weights[feature / kRowBlock * layer.inputs * kRowBlock + input * kRowBlock +
                       feature % kRowBlock];
}

size_t WeightCount(const PackedLayer& layer) { return layer.inputs * layer.padded_width; }

// A power of two that brings the largest weight to [0.5, 1): halves end at 65504.
float ScaleOf(const PackedLayer& layer) {
  float largest = 0.0f;
  for (size_t i = 0; i < WeightCount(layer); ++i) {
    largest = std::max(largest, std::abs(layer.weights[i]));
  }
  int exponent = 0;
  std::frexp(largest, &exponent);
  return std::ldexp(1.0f, exponent);
}

void PackLayerWeights(const PackedLayer& layer, bool half, float scale, uint8_t* out) {
  for (size_t k = 0; k < layer.inputs; ++k) {
    for (size_t i = 0; i < layer.padded_width; ++i) {
      const float weight = WeightAt(layer, k, i) / scale;
      const uint16_t bits = FloatToHalf(weight);
      std::memcpy(out, half ? static_cast<const void*>(&bits) : &weight, half ? 2 : 4);
      out += half ? 2 : 4;
    }
  }
}

}  // namespace

bool FitsDevice(const PackedRenderer& renderer) {
  return !renderer.int8 && std::all_of(renderer.layers.begin(), renderer.layers.end() - 1,
                                       [](const PackedLayer& layer) {
                                         return layer.width <= kBakeMaxHiddenWidth;
                                       });
}

size_t DeviceWeightBytes(const PackedRenderer& renderer, bool half) {
  size_t count = 0;
  for (size_t i = 1; i < renderer.layers.size(); ++i) count += WeightCount(renderer.layers[i]);
  return std::max(count * (half ? 2 : 4), kElementBytes);
}

void PackDeviceWeights(const PackedRenderer& renderer, bool half, void* weights,
                       BakeLayer* layers) {
  uint8_t* out = static_cast<uint8_t*>(weights);
  std::memset(out, 0, kElementBytes);  // read by nobody where there is one layer
  size_t biases = 3 * renderer.layers[0].padded_width;
  for (const PackedLayer& layer : renderer.layers) {
    const bool first = &layer == renderer.layers.data();
    const size_t begin = static_cast<size_t>(out - static_cast<uint8_t*>(weights));
    const float scale = half && !first ? ScaleOf(layer) : 1.0f;
    *layers++ = {static_cast<int32_t>(layer.inputs),
                 static_cast<int32_t>(layer.width),
                 static_cast<int32_t>(layer.padded_width),
                 static_cast<int32_t>(begin / kElementBytes),
                 static_cast<int32_t>(biases),
                 scale};
    biases += layer.padded_width;
    if (first) continue;
    PackLayerWeights(layer, half, scale, out);
    out += WeightCount(layer) * (half ? 2 : 4);
  }
}

size_t DeviceLookSize(const PackedRenderer& renderer, int32_t lut_size) {
  size_t count = 3 * renderer.layers[0].padded_width;
  for (const PackedLayer& layer : renderer.layers) count += layer.padded_width;
  return count + 6 + 3 * renderer.layers.back().padded_width + 3 * static_cast<size_t>(lut_size);
}

void PackDeviceLook(const PackedRenderer& renderer, const Biases& biases, const float* axes,
                    int32_t lut_size, bool half, float* look, BakeParams* params) {
  const PackedLayer &first = renderer.layers[0], &last = renderer.layers.back();
  float* out = std::copy_n(first.weights.get(), 3 * first.padded_width, look);
  for (size_t i = 0; i < renderer.layers.size(); ++i) {
    out = std::copy_n(biases.layers[i].get(), renderer.layers[i].padded_width, out);
  }
  const uint32_t size = static_cast<uint32_t>(lut_size);
  *params = {};
  params->node_count = size * size * size;
  params->lut_size = lut_size;
  params->layer_count = static_cast<int32_t>(renderer.layers.size());
  params->output = static_cast<int32_t>(out - look);
  params->flags = (renderer.residual ? kBakeResidual : 0) | (half ? kBakeHalfNodes : 0);
  params->norm_epsilon = renderer.norm_epsilon;
  out = std::copy_n(biases.out, 3, out);
  float* sums = out;
  out += 3;
  double totals[3] = {};
  for (size_t i = 0; i < last.padded_width; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      *out = i < last.width ? renderer.out_weights[4 * i + c] : 0.0f;
      totals[c] += static_cast<double>(*out++);
    }
  }
  for (size_t c = 0; c < 3; ++c) sums[c] = static_cast<float>(totals[c]);
  params->axes = static_cast<int32_t>(out - look);
  std::copy_n(axes, 3 * size, out);
}

}  // namespace vera
