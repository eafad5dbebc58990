#include "sdk/planner.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

#include "cpu/check.h"
#include "sdk/failure.h"

namespace vera {
namespace {

constexpr int64_t kBakeColours = 4096;  // in one call, as Python asks for them

void CheckFinite(const std::vector<float>& values, const char* what) {
  const bool finite = std::all_of(values.begin(), values.end(),
                                  [](float value) { return std::isfinite(value); });
  if (!finite) {
    Fail(VERA_STATUS_MODEL_ERROR, std::string(what) + " of the model are not finite: run `vera "
                                                      "verify` on the bundle.");
  }
}

// Tokens that an answer never holds may be -infinity.
void CheckLogits(const std::vector<float>& logits) {
  const bool usable = std::all_of(logits.begin(), logits.end(), [](float value) {
    return value < std::numeric_limits<float>::infinity();  // written so that NaN fails
  });
  if (!usable) {
    Fail(VERA_STATUS_MODEL_ERROR,
         "Logits of the model are not finite: run `vera verify` on the bundle.");
  }
}

}  // namespace

void CheckCancel(const volatile int32_t* cancel) {
  if (IsCancelled(cancel)) {
    Fail(VERA_STATUS_CANCELLED, "The work was cancelled; nothing was written.");
  }
}

Planner::Planner(const vera_planner* table, const vera_bundle_info& info, bool bakes)
    : info_(info) {
  if (!CopyStruct(table, sizeof(table_), sizeof(table_), &table_) ||
      table_.encode_image == nullptr || table_.embed == nullptr || table_.step == nullptr ||
      table_.head == nullptr || (bakes && table_.bake == nullptr)) {
    Fail(VERA_STATUS_INVALID_ARGUMENT,
         std::string("The planner lacks a function: encode_image, embed, step") +
             (bakes ? ", head and bake (this bundle has no renderer's file)" : " and head") +
             " are needed.");
  }
}

template <typename Call>
void Planner::Run(const char* what, Call call) {
  vera_error error = {};
  vera_status status;
  {
    const std::lock_guard<std::mutex> lock(turn_);
    status = call(&error);
  }
  if (status == VERA_STATUS_OK) return;
  error.message[VERA_MESSAGE_BYTES - 1] = 0;
  std::string message = error.message;
  if (message.empty()) {
    message = std::string("The planner's ") + what + " failed: " + vera_status_text(status) + ".";
  }
  Fail(status, message);
}

std::vector<float> Planner::EncodeImage(const std::vector<float>& pixels) {
  std::vector<float> tokens(static_cast<size_t>(info_.image_tokens) *
                            static_cast<size_t>(info_.hidden_size));
  Run("encode_image", [&](vera_error* error) {
    return table_.encode_image(table_.context, pixels.data(), tokens.data(), error);
  });
  CheckFinite(tokens, "Image tokens");
  return tokens;
}

std::vector<float> Planner::Embed(const std::vector<int32_t>& ids) {
  const std::vector<int64_t> wide(ids.begin(), ids.end());
  const size_t hidden = static_cast<size_t>(info_.hidden_size);
  const size_t most = static_cast<size_t>(info_.prefill_tokens);
  std::vector<float> embeds(ids.size() * hidden);
  for (size_t begin = 0; begin < ids.size(); begin += most) {
    const size_t count = std::min(most, ids.size() - begin);
    Run("embed", [&](vera_error* error) {
      return table_.embed(table_.context, wide.data() + begin, static_cast<int32_t>(count),
                          embeds.data() + begin * hidden, error);
    });
  }
  CheckFinite(embeds, "Embeddings");
  return embeds;
}

Planner::Place Planner::Step(const std::vector<float>& embeds, int32_t start,
                             vera_wanted_logits wanted, const volatile int32_t* cancel) {
  const size_t hidden = static_cast<size_t>(info_.hidden_size);
  const size_t most = static_cast<size_t>(info_.prefill_tokens), all = embeds.size() / hidden;
  if (static_cast<size_t>(start) + all > static_cast<size_t>(info_.max_length)) {
    Fail(VERA_STATUS_INVALID_ARGUMENT,
         std::to_string(all) + " tokens at position " + std::to_string(start) +
             " not allowed: use positions 0.." + std::to_string(info_.max_length - 1) +
             ". Shorten the wish.");
  }
  Place place;
  place.hidden.resize(hidden);
  if (wanted != VERA_LOGITS_NONE) place.logits.resize(static_cast<size_t>(info_.vocab_size));
  for (size_t begin = 0; begin < all; begin += most) {
    CheckCancel(cancel);
    const size_t count = std::min(most, all - begin);
    const vera_wanted_logits now = begin + count < all ? VERA_LOGITS_NONE : wanted;
    Run("step", [&](vera_error* error) {
      return table_.step(table_.context, embeds.data() + begin * hidden,
                         static_cast<int32_t>(count), start + static_cast<int32_t>(begin), now,
                         now == VERA_LOGITS_NONE ? nullptr : place.logits.data(),
                         place.hidden.data(), error);
    });
  }
  CheckFinite(place.hidden, "Hidden states");
  CheckLogits(place.logits);
  return place;
}

std::vector<float> Planner::Head(const std::vector<float>& hidden) {
  std::vector<float> latents(VERA_GROUP_COUNT * static_cast<size_t>(info_.latent_size));
  Run("head", [&](vera_error* error) {
    return table_.head(table_.context, hidden.data(), latents.data(), error);
  });
  CheckFinite(latents, "Latents");
  return latents;
}

std::vector<float> Planner::EncodeReference(const std::vector<float>& before,
                                            const std::vector<float>& after) {
  std::vector<float> latents(VERA_GROUP_COUNT * static_cast<size_t>(info_.latent_size));
  Run("encode_reference", [&](vera_error* error) {
    return table_.encode_reference(table_.context, before.data(), after.data(), latents.data(),
                                   error);
  });
  CheckFinite(latents, "Latents");
  return latents;
}

void Planner::Bake(const float* colours, int64_t count, const float* latents,
                   const volatile int32_t* cancel, float* out) {
  for (int64_t begin = 0; begin < count; begin += kBakeColours) {
    CheckCancel(cancel);
    const int64_t part = std::min(kBakeColours, count - begin);
    Run("bake", [&](vera_error* error) {
      return table_.bake(table_.context, colours + 3 * begin, part, latents, out + 3 * begin,
                         error);
    });
  }
  for (int64_t i = 0; i < 3 * count; ++i) {
    if (!std::isfinite(out[i])) {
      Fail(VERA_STATUS_MODEL_ERROR, "Colours of the model are not finite: run `vera verify`.");
    }
    out[i] = std::clamp(out[i], 0.0f, 1.0f);
  }
}

void Planner::Release(vera_stage stage) {
  if (table_.release == nullptr) return;
  const std::lock_guard<std::mutex> lock(turn_);
  table_.release(table_.context, stage);
}

}  // namespace vera
