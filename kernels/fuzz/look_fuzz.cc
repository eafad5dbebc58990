// A look as JSON, and the renderer's weights as a file.
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "fuzz/json_input.h"
#include "sdk/failure.h"
#include "sdk/look.h"
#include "sdk/renderer_file.h"

namespace {

constexpr float kStrengths[3] = {1.0f, 0.5f, 1.5f};

void ReadLook(vera::Input* input) {
  static const vera::Json good = [] {
    vera_plan_result look;
    look.latent_size = 2;
    look.latents = {1, 2, 3, 4, 5, 6};
    look.text = "warm";
    return vera::Json::parse(vera::LookToJson(look, kStrengths));
  }();
  try {
    float strengths[3];
    const vera_plan_result look = vera::LookFromJson(vera::ChangedText(input, good), strengths);
    if (look.latents.size() != 3 * static_cast<size_t>(look.latent_size)) std::abort();
    for (const float value : look.latents) {
      if (!std::isfinite(value)) std::abort();
    }
    const std::string once = vera::LookToJson(look, strengths);
    if (vera::LookToJson(vera::LookFromJson(once, strengths), strengths) != once) std::abort();
  } catch (const vera::Failure& failure) {
    if (failure.status != VERA_STATUS_FILE_ERROR) std::abort();
  }
}

// One layer of two features, one latent.
vera::Json Header() {
  vera::Json header = {{"__metadata__",
                        {{"format", "vera-renderer"}, {"version", "1"}, {"output", "sigmoid"},
                         {"norm_epsilon", "1e-05"}, {"precision", "float32"}}}};
  int at = 0;
  const auto add = [&](const char* name, std::vector<int> shape) {
    int count = 4;
    for (const int side : shape) count *= side;
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {at, at + count}}};
    at += count;
  };
  add("layers.0.weight", {2, 3});
  add("layers.0.bias", {2});
  add("norms.0.weight", {2});
  add("norms.0.bias", {2});
  add("latent_projections.0.weight", {2, 3});
  add("latent_projections.0.bias", {2});
  add("out.weight", {3, 2});
  add("out.bias", {3});
  return header;
}

void ReadWeights(vera::Input* input) {
  static const vera::Json good = Header();
  const std::string header = vera::ChangedText(input, good);
  std::string file;
  uint64_t size = header.size();
  if (input->Rarely(8)) size = input->Take<uint64_t>();
  for (int i = 0; i < 8; ++i) file += static_cast<char>(size >> (8 * i));
  file += header + std::string(static_cast<size_t>(input->Between(100, 124)), '\x3c');
  try {
    vera::ReadRenderer(file, 1);
  } catch (const vera::Failure& failure) {
    if (failure.status != VERA_STATUS_BUNDLE_ERROR) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vera::Input input(data, size);
  if (input.Take<uint8_t>() % 2 == 0) {
    ReadLook(&input);
  } else {
    ReadWeights(&input);
  }
  return 0;
}
