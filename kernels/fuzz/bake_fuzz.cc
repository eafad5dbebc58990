// vera_renderer_create, vera_bake, vera_bake_points and what fills the bake shader's buffers
// (vera_shader.h) with hostile shapes, sizes and values.
//
// Weights and colours lie in blocks of exactly the size that the C ABI asks for. In some calls a
// field is replaced by what must be refused: a larger valid size would be a lie of the caller.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

#include "fuzz/input.h"
#include "vera/vera.h"
#include "vera/vera_shader.h"

namespace vera {
namespace {

constexpr int kHostile = 40;  // one call in so many has a wrong field, per field

int32_t Wrong(Input* input, int32_t above) {
  constexpr int32_t kEdges[] = {0, -1, INT32_MAX, INT32_MIN};
  const int64_t i = input->Between(0, 4);
  return i < 4 ? kEdges[i] : above + static_cast<int32_t>(input->Between(0, 9999));
}

// Blocks of exactly `count` floats, of which now and then one is any bit pattern.
struct Floats {
  const float* Make(int64_t count, Input* input) {
    blocks.emplace_back(new float[static_cast<size_t>(count)]);
    float* values = blocks.back().get();
    const float scale = static_cast<float>(input->Between(-200, 200)) / 100.0f;
    for (int64_t i = 0; i < count; ++i) {
      values[i] = scale * static_cast<float>(i * 2654435761u % 4096) / 4096.0f;
    }
    if (count > 0 && input->Rarely(12)) {
      values[input->Between(0, count - 1)] = input->Take<float>();
    }
    return values;
  }
  std::deque<std::unique_ptr<float[]>> blocks;
};

struct FuzzNetwork {
  explicit FuzzNetwork(Input* input) {
    weights.struct_size = sizeof(weights);
    weights.latent_size = static_cast<int32_t>(input->Between(1, 9));
    weights.layer_count = static_cast<int32_t>(input->Between(1, 4));
    weights.output = static_cast<int32_t>(input->Between(0, 1));
    weights.precision = static_cast<int32_t>(input->Between(0, 1));
    weights.norm_epsilon = input->Rarely(8) ? input->Take<float>() : 1e-5f;
    int64_t inputs = 3;
    for (int32_t i = 0; i < weights.layer_count; ++i) inputs = AddLayer(inputs, input);
    weights.layers = layers.data();
    weights.out_weight = floats.Make(3 * inputs, input);
    weights.out_bias = floats.Make(3, input);
    if (input->Rarely(kHostile)) weights.layers = nullptr;
    if (input->Rarely(kHostile)) weights.out_weight = nullptr;
    if (input->Rarely(kHostile)) weights.layer_count = Wrong(input, 9);
    if (input->Rarely(kHostile)) weights.latent_size = Wrong(input, 65537);
    if (input->Rarely(kHostile)) weights.output = Wrong(input, 2);
    if (input->Rarely(kHostile)) weights.precision = Wrong(input, 2);
    if (input->Rarely(kHostile)) weights.reserved = input->Take<int32_t>();
    if (input->Rarely(kHostile)) weights.struct_size = input->Take<uint8_t>() % sizeof(weights);
  }
  int64_t AddLayer(int64_t inputs, Input* input) {
    const int64_t width = input->Between(1, 40), latents = 3 * int64_t{weights.latent_size};
    vera_renderer_layer layer = {};
    layer.weight = floats.Make(width * inputs, input);
    layer.bias = floats.Make(width, input);
    layer.norm_weight = floats.Make(width, input);
    layer.norm_bias = floats.Make(width, input);
    layer.latent_weight = floats.Make(width * latents, input);
    layer.latent_bias = floats.Make(width, input);
    layer.width = static_cast<int32_t>(width);
    if (input->Rarely(kHostile)) layer.width = Wrong(input, 4097);
    if (input->Rarely(kHostile)) layer.norm_bias = nullptr;
    if (input->Rarely(kHostile)) layer.reserved = input->Take<int32_t>();
    layers.push_back(layer);
    return width;
  }
  Floats floats;
  std::vector<vera_renderer_layer> layers;
  vera_renderer_weights weights = {};
};

vera_bake_options MakeOptions(Input* input, const volatile int32_t* cancel) {
  vera_bake_options options = {};
  options.struct_size = sizeof(options);
  options.threads = static_cast<int32_t>(input->Between(1, 3));
  if (input->Rarely(8)) options.cancel = cancel;
  if (input->Rarely(kHostile)) options.threads = input->Take<int32_t>();
  if (input->Rarely(kHostile)) options.reserved = input->Take<int32_t>();
  if (input->Rarely(kHostile)) options.struct_size = input->Take<uint8_t>() % sizeof(options);
  return options;
}

// A bake that succeeds gives colours.
void Check(vera_status status, const std::vector<float>& out) {
  if (status == VERA_STATUS_OK) {
    const bool colours = std::all_of(out.begin(), out.end(),
                                     [](float v) { return v >= 0.0f && v <= 1.0f; });
    if (!colours) std::abort();
  } else if (status != VERA_STATUS_INVALID_ARGUMENT && status != VERA_STATUS_CANCELLED) {
    std::abort();
  }
}

void FuzzLut(const vera_renderer* renderer, const float* latents, Floats* floats, Input* input) {
  const volatile int32_t cancel = static_cast<int32_t>(input->Between(0, 1));
  const vera_bake_options options = MakeOptions(input, &cancel);
  int32_t size = static_cast<int32_t>(input->Between(2, 9));
  const float* axes = input->Rarely(3) ? floats->Make(3 * size, input) : nullptr;
  const float* strengths = floats->Make(3, input);
  std::vector<float> lut(static_cast<size_t>(size * size * size * 3));
  if (input->Rarely(kHostile)) size = Wrong(input, 130);
  if (input->Rarely(kHostile)) strengths = nullptr;
  Check(vera_bake(renderer, latents, strengths, axes, size, lut.data(), &options), lut);
}

void FuzzPoints(const vera_renderer* renderer, const float* latents, Floats* floats,
                Input* input) {
  const volatile int32_t cancel = static_cast<int32_t>(input->Between(0, 1));
  const vera_bake_options options = MakeOptions(input, &cancel);
  int64_t count = input->Between(0, 200);
  const float* rgb = floats->Make(3 * count, input);
  std::vector<float> out(static_cast<size_t>(3 * count));
  if (input->Rarely(kHostile)) count = -1 - input->Between(0, 9);
  if (input->Rarely(kHostile)) rgb = nullptr;
  const float* strengths = floats->Make(3, input);
  Check(vera_bake_points(renderer, latents, strengths, rgb, count, out.data(), &options), out);
}

// Blocks of exactly the bytes that vera_shader_bake_size asks for.
void FuzzShader(const vera_renderer* renderer, const float* latents, Floats* floats,
                Input* input) {
  const int32_t size = input->Rarely(8) ? Wrong(input, 130)
                                        : static_cast<int32_t>(input->Between(2, 9));
  const vera_gpu_precision precision = static_cast<int32_t>(input->Between(0, 2));
  const float* strengths = floats->Make(3, input);
  const float* axes =
      size >= 2 && size <= 9 && input->Rarely(3) ? floats->Make(3 * size, input) : nullptr;
  vera_shader_bake_sizes sizes;
  if (vera_shader_bake_size(renderer, size, precision, &sizes) != VERA_STATUS_OK) return;
  std::unique_ptr<char[]> weights(new char[sizes.weights_bytes]);
  std::vector<vera_shader_bake_layer> layers(sizes.layers_bytes / sizeof(layers[0]));
  std::vector<float> look(sizes.look_bytes / sizeof(look[0]), HUGE_VALF);
  if (vera_shader_pack_weights(renderer, precision, weights.get(), layers.data()) !=
      VERA_STATUS_OK) {
    std::abort();
  }
  vera_shader_bake_params params;
  const vera_status status = vera_shader_pack_bake(renderer, latents, strengths, axes, size,
                                                   precision, look.data(), &params);
  if (status == VERA_STATUS_OK) {
    const bool filled = std::all_of(look.begin(), look.end(),
                                    [](float v) { return std::isfinite(v); });
    if (!filled || params.axes + 3 * size != static_cast<int32_t>(look.size())) std::abort();
  } else if (status != VERA_STATUS_INVALID_ARGUMENT) {
    std::abort();
  }
}

}  // namespace
}  // namespace vera

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vera::Input input(data, size);
  vera::FuzzNetwork network(&input);
  vera_renderer* renderer = nullptr;
  const int32_t latent_size = network.weights.latent_size;
  if (vera_renderer_create(&network.weights, &renderer) != VERA_STATUS_OK) {
    if (renderer != nullptr) std::abort();
    return 0;
  }
  for (int i = 0; i < 2; ++i) {
    const float* latents = network.floats.Make(3 * int64_t{latent_size}, &input);
    switch (input.Take<uint8_t>() % 3) {
      case 0: vera::FuzzLut(renderer, latents, &network.floats, &input); break;
      case 1: vera::FuzzPoints(renderer, latents, &network.floats, &input); break;
      default: vera::FuzzShader(renderer, latents, &network.floats, &input);
    }
  }
  vera_renderer_destroy(renderer);
  return 0;
}
