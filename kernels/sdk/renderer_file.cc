#include "sdk/renderer_file.h"

#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "ops/render/formats.h"
#include "sdk/failure.h"
#include "sdk/json.h"

namespace vera {
namespace {

constexpr uint64_t kMaxHeaderBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxSide = 1 << 20;
constexpr int kMaxLayers = 8;

[[noreturn]] void Damaged(const std::string& what) {
  Fail(VERA_STATUS_BUNDLE_ERROR, "The renderer's file " + what + ": export again.");
}

uint64_t LittleEndian(std::string_view bytes, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

struct Tensor {
  std::vector<uint64_t> shape;
  std::vector<float> values;
};

// The tensors of a safetensors file.
class Tensors {
 public:
  explicit Tensors(std::string_view file) {
    const uint64_t size = file.size() < 8 ? 0 : LittleEndian(file, 0, 8);
    if (size == 0 || size > kMaxHeaderBytes || size > file.size() - 8) Damaged("has no header");
    if (!ParseJson(file.substr(8, size), &header_) || !header_.is_object()) {
      Damaged("has a header that is no JSON");
    }
    data_ = file.substr(8 + size);
  }

  std::string Fact(const char* key) const {
    const Json* facts = Member(header_, "__metadata__");
    const Json* found = facts == nullptr ? nullptr : Member(*facts, key);
    if (found == nullptr || !found->is_string()) Damaged(std::string("lacks ") + key);
    return found->get<std::string>();
  }

  bool Has(const std::string& name) const { return Member(header_, name.c_str()) != nullptr; }

  Tensor Read(const std::string& name, size_t dimensions) const {
    const Json* entry = Member(header_, name.c_str());
    const Json* shape = entry == nullptr ? nullptr : Member(*entry, "shape");
    const Json* offsets = entry == nullptr ? nullptr : Member(*entry, "data_offsets");
    const Json* dtype = entry == nullptr ? nullptr : Member(*entry, "dtype");
    if (shape == nullptr || offsets == nullptr || dtype == nullptr || !shape->is_array() ||
        shape->size() != dimensions || !offsets->is_array() || offsets->size() != 2) {
      Damaged("lacks " + name);
    }
    Tensor tensor;
    uint64_t count = 1;
    for (const Json& side : *shape) {
      tensor.shape.push_back(Whole(side, kMaxSide));
      count *= tensor.shape.back();  // at most two sides of 2^20
    }
    const bool is_half = *dtype == "F16";
    if (!is_half && *dtype != "F32") Damaged("has " + name + " of an unknown type");
    const uint64_t bytes = is_half ? 2 : 4;
    const uint64_t begin = Whole((*offsets)[0], data_.size());
    const uint64_t end = Whole((*offsets)[1], data_.size());
    if (end < begin || end - begin != count * bytes) Damaged("has " + name + " cut off");
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t bits = LittleEndian(data_, begin + i * bytes, bytes);
      float value = 0.0f;
      const uint32_t whole = static_cast<uint32_t>(bits);
      std::memcpy(&value, &whole, sizeof(value));
      tensor.values.push_back(is_half ? HalfToFloat(static_cast<uint16_t>(bits)) : value);
    }
    return tensor;
  }

 private:
  static uint64_t Whole(const Json& value, uint64_t most) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > most) Damaged("has a bad size");
    return value.get<uint64_t>();
  }

  Json header_;
  std::string_view data_;
};

// Tensors by name, kept while the network is made.
class Network {
 public:
  explicit Network(const Tensors& from) : from_(from) {}

  const float* Matrix(const std::string& name, uint64_t rows, uint64_t columns) {
    return Kept(name, {rows, columns});
  }
  const float* Vector(const std::string& name, uint64_t size) { return Kept(name, {size}); }

  // Rows of a matrix.
  uint64_t Rows(const std::string& name) { return Load(name, 2).shape[0]; }

 private:
  const Tensor& Load(const std::string& name, size_t dimensions) {
    const auto found = kept_.find(name);
    if (found != kept_.end()) return found->second;
    return kept_[name] = from_.Read(name, dimensions);
  }
  const float* Kept(const std::string& name, const std::vector<uint64_t>& shape) {
    const Tensor& tensor = Load(name, shape.size());
    if (tensor.shape != shape) Damaged("has " + name + " of another shape than the layers");
    return tensor.values.data();
  }

  const Tensors& from_;
  std::map<std::string, Tensor> kept_;
};

vera_renderer_layer Layer(Network* network, int index, uint64_t inputs, uint64_t latents) {
  const std::string i = "." + std::to_string(index) + ".";
  vera_renderer_layer layer = {};
  const uint64_t width = network->Rows("layers" + i + "weight");
  layer.weight = network->Matrix("layers" + i + "weight", width, inputs);
  layer.bias = network->Vector("layers" + i + "bias", width);
  layer.norm_weight = network->Vector("norms" + i + "weight", width);
  layer.norm_bias = network->Vector("norms" + i + "bias", width);
  layer.latent_weight = network->Matrix("latent_projections" + i + "weight", width, latents);
  layer.latent_bias = network->Vector("latent_projections" + i + "bias", width);
  layer.width = static_cast<int32_t>(width);
  return layer;
}

float NumberOf(const std::string& text) {
  Json value;
  if (!ParseJson(text, &value) || !value.is_number()) Damaged("has a bad norm_epsilon");
  return static_cast<float>(value.get<double>());
}

}  // namespace

Renderer ReadRenderer(std::string_view file, int32_t latent_size) {
  const Tensors tensors(file);
  if (tensors.Fact("format") != "vera-renderer" || tensors.Fact("version") != "1") {
    Damaged("is of another format or version");
  }
  const std::string output = tensors.Fact("output"), precision = tensors.Fact("precision");
  if ((output != "sigmoid" && output != "residual") ||
      (precision != "float32" && precision != "int8")) {
    Damaged("has an unknown output or precision");
  }
  Network network(tensors);
  std::vector<vera_renderer_layer> layers;
  uint64_t inputs = 3;
  const uint64_t latents = 3 * static_cast<uint64_t>(latent_size);
  for (int i = 0; i < kMaxLayers && tensors.Has("layers." + std::to_string(i) + ".weight"); ++i) {
    layers.push_back(Layer(&network, i, inputs, latents));
    inputs = static_cast<uint64_t>(layers.back().width);
  }
  vera_renderer_weights weights = {};
  weights.struct_size = sizeof(weights);
  weights.layers = layers.data();
  weights.layer_count = static_cast<int32_t>(layers.size());
  weights.out_weight = network.Matrix("out.weight", 3, inputs);
  weights.out_bias = network.Vector("out.bias", 3);
  weights.latent_size = latent_size;
  weights.output =
      output == "residual" ? VERA_RENDERER_OUTPUT_RESIDUAL : VERA_RENDERER_OUTPUT_SIGMOID;
  weights.precision = precision == "int8" ? VERA_PRECISION_INT8 : VERA_PRECISION_FLOAT32;
  weights.norm_epsilon = NumberOf(tensors.Fact("norm_epsilon"));
  vera_renderer* renderer = nullptr;
  const vera_status status = vera_renderer_create(&weights, &renderer);
  if (status == VERA_STATUS_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status != VERA_STATUS_OK) Damaged("has values that are not allowed");
  return Renderer(renderer);
}

}  // namespace vera
