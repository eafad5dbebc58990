// Weights laid out for the tile loop, and what a look adds to them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "ops/bake/bake.h"

namespace vera {
namespace {

constexpr size_t kCodesPerWord = 4;
constexpr float kTinyWeight = 1e-30f;  // below it a scale would be no normal number

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

Aligned<float> Padded(const float* values, size_t count, size_t padded) {
  Aligned<float> copy = MakeAligned<float>(padded);
  std::copy(values, values + count, copy.get());
  return copy;
}

// rows x columns to columns x padded_rows.
Aligned<float> Transposed(const float* matrix, size_t rows, size_t columns, size_t padded_rows) {
  Aligned<float> out = MakeAligned<float>(columns * padded_rows);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t k = 0; k < columns; ++k) out[k * padded_rows + i] = matrix[i * columns + k];
  }
  return out;
}

// The row of a feature with the LayerNorm weight of its inputs folded in.
std::vector<float> FoldedRow(const float* row, const float* norm_weight, size_t inputs) {
  std::vector<float> folded(inputs);
  for (size_t k = 0; k < inputs; ++k) folded[k] = row[k] * norm_weight[k];
  return folded;
}

void PackFloat(const std::vector<float>& row, size_t feature, PackedLayer* layer) {
  float* block = &layer->weights[feature / kRowBlock * layer->inputs * kRowBlock];
  double sum = 0.0;
  for (size_t k = 0; k < row.size(); ++k) {
    block[k * kRowBlock + feature % kRowBlock] = row[k];
    sum += static_cast<double>(row[k]);
  }
  layer->weight_sums[feature] = static_cast<float>(sum);
}

void PackInt8(const std::vector<float>& row, size_t feature, PackedLayer* layer) {
  float largest = 0.0f;
  for (const float weight : row) largest = std::max(largest, std::abs(weight));
  if (largest < kTinyWeight) return;
  const float scale = largest / static_cast<float>(kCodeMax);
  const size_t words = RoundUp(layer->inputs, kCodesPerWord) / kCodesPerWord;
  uint32_t* block = &layer->codes[feature / kRowBlock * words * kRowBlock];
  layer->scales[feature] = scale;
  for (size_t k = 0; k < row.size(); ++k) {
    const int code = std::min(static_cast<int>(std::floor(row[k] / scale + 0.5f)), kCodeMax);
    const uint32_t byte = static_cast<uint8_t>(static_cast<int8_t>(code));
    block[k / kCodesPerWord * kRowBlock + feature % kRowBlock] |= byte << (8 * (k % kCodesPerWord));
    layer->code_sums[feature] += code;
    layer->errors[k * layer->padded_width + feature] = row[k] - static_cast<float>(code) * scale;
  }
}

void PackMatrix(const vera_renderer_layer& from, const float* norm_weight, bool int8,
                PackedLayer* layer) {
  const size_t padded = layer->padded_width;
  layer->columns = Transposed(from.weight, layer->width, layer->inputs, padded);
  if (int8) {
    const size_t words = RoundUp(layer->inputs, kCodesPerWord) / kCodesPerWord;
    layer->codes = MakeAligned<uint32_t>(words * padded);
    layer->code_sums = MakeAligned<int32_t>(padded);
    layer->scales = MakeAligned<float>(padded);
    layer->errors = MakeAligned<float>(layer->inputs * padded);
  } else {
    layer->weights = MakeAligned<float>(layer->inputs * padded);
    layer->weight_sums = MakeAligned<float>(padded);
  }
  for (size_t i = 0; i < layer->width; ++i) {
    const std::vector<float> row =
        FoldedRow(from.weight + i * layer->inputs, norm_weight, layer->inputs);
    int8 ? PackInt8(row, i, layer) : PackFloat(row, i, layer);
  }
}

PackedLayer PackLayer(const vera_renderer_weights& weights, int index, size_t inputs) {
  const vera_renderer_layer& from = weights.layers[index];
  PackedLayer layer;
  layer.inputs = inputs;
  layer.width = static_cast<size_t>(from.width);
  layer.padded_width = RoundUp(layer.width, kWidthMultiple);
  layer.bias = Padded(from.bias, layer.width, layer.padded_width);
  layer.shift = MakeAligned<float>(layer.padded_width);
  for (size_t i = 0; i < layer.width; ++i) {
    layer.shift[i] = from.norm_bias[i] + from.latent_bias[i];
  }
  layer.latent_columns =
      Transposed(from.latent_weight, layer.width, 3 * static_cast<size_t>(weights.latent_size),
                 layer.padded_width);
  if (index == 0) {
    layer.weights = Transposed(from.weight, layer.width, inputs, layer.padded_width);
  } else {
    const float* norm_weight = weights.layers[index - 1].norm_weight;
    PackMatrix(from, norm_weight, weights.precision == VERA_PRECISION_INT8, &layer);
  }
  return layer;
}

void PackOutput(const vera_renderer_weights& weights, size_t inputs, PackedRenderer* renderer) {
  const float* norm_weight = weights.layers[weights.layer_count - 1].norm_weight;
  renderer->out_weights = MakeAligned<float>(4 * inputs);
  renderer->out_columns.resize(3 * inputs);
  for (size_t c = 0; c < 3; ++c) {
    renderer->out_bias[c] = weights.out_bias[c];
    for (size_t k = 0; k < inputs; ++k) {
      const float weight = weights.out_weight[c * inputs + k];
      renderer->out_columns[3 * k + c] = weight;
      renderer->out_weights[4 * k + c] = weight * norm_weight[k];
    }
  }
}

}  // namespace

template <typename T>
Aligned<T> MakeAligned(size_t count) {
  Aligned<T> values = hwy::AllocateAligned<T>(std::max<size_t>(count, 1));
  if (values == nullptr) throw std::bad_alloc();
  std::memset(values.get(), 0, count * sizeof(T));
  return values;
}
template Aligned<float> MakeAligned(size_t);
template Aligned<uint32_t> MakeAligned(size_t);
template Aligned<int32_t> MakeAligned(size_t);

TileMemory::TileMemory(const PackedRenderer& renderer) {
  for (Aligned<float>& part : features) {
    part = MakeAligned<float>(renderer.max_padded_width * kTilePoints);
  }
  live.resize(renderer.max_padded_width * kTilePoints);
}

void PackRenderer(const vera_renderer_weights& weights, PackedRenderer* renderer) {
  size_t inputs = 3;
  for (int i = 0; i < weights.layer_count; ++i) {
    renderer->layers.push_back(PackLayer(weights, i, inputs));
    inputs = renderer->layers.back().width;
    renderer->max_padded_width =
        std::max(renderer->max_padded_width, renderer->layers.back().padded_width);
  }
  PackOutput(weights, inputs, renderer);
  renderer->latent_size = static_cast<size_t>(weights.latent_size);
  renderer->norm_epsilon = weights.norm_epsilon;
  renderer->int8 = weights.precision == VERA_PRECISION_INT8;
  renderer->residual = weights.output == VERA_RENDERER_OUTPUT_RESIDUAL;
}

Biases MakeBiases(const PackedRenderer& renderer, const float* latents, const float* strengths) {
  std::vector<float> steer(3 * renderer.latent_size);
  for (size_t i = 0; i < steer.size(); ++i) {
    steer[i] = std::max(latents[i] * strengths[i / renderer.latent_size], 0.0f);
  }
  Biases biases;
  Aligned<float> shift;  // of the layer before
  for (const PackedLayer& layer : renderer.layers) {
    const size_t padded = layer.padded_width;
    biases.layers.push_back(Padded(layer.bias.get(), padded, padded));
    if (shift != nullptr) {
      AddProduct(layer.columns.get(), shift.get(), layer.inputs, padded,
                 biases.layers.back().get());
    }
    shift = Padded(layer.shift.get(), padded, padded);
    AddProduct(layer.latent_columns.get(), steer.data(), steer.size(), padded, shift.get());
  }
  for (size_t c = 0; c < 3; ++c) {
    double sum = static_cast<double>(renderer.out_bias[c]);
    for (size_t k = 0; k < renderer.layers.back().width; ++k) {
      sum += static_cast<double>(renderer.out_columns[3 * k + c]) * static_cast<double>(shift[k]);
    }
    biases.out[c] = static_cast<float>(sum);
  }
  if (renderer.int8) {
    for (const PackedLayer& layer : renderer.layers) {
      biases.slopes.push_back(MakeAligned<float>(3 * layer.padded_width));
    }
    TileMemory memory(renderer);
    CorrectErrors(renderer, memory, &biases);
  }
  return biases;
}

}  // namespace vera
