// A bundle in a temporary folder and a planner without a model, for tests.
#ifndef VERA_SDK_FAKE_BUNDLE_H_
#define VERA_SDK_FAKE_BUNDLE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "sdk/json.h"
#include "sdk/sha256.h"
#include "sdk/unicode.h"
#include "vera/retoucher.h"

namespace vera {

constexpr int kFakeHidden = 8, kFakeLatents = 4, kFakeVocab = 320, kFakeImage = 64;

// vera-nano's special tokens, all bytes, and a few merges.
inline Json FakeTokenizer() {
  Json vocab = Json::object(), added = Json::array();
  int id = 0;
  for (const char* special : {"<pad>", "<auto>", "<style>", "<param>", "<answer>",
                              "<retouch_light>", "<retouch_color&temp>", "<retouch_colormixer>"}) {
    added.push_back({{"id", id}, {"content", special}, {"special", true}, {"normalized", false}});
    vocab[special] = id++;
  }
  const auto prints = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelled;
    AppendUtf8(static_cast<char32_t>(prints(byte) ? byte : next++), &spelled);
    vocab[spelled] = id++;
  }
  Json merges = Json::array();
  for (const auto& [left, right] : {std::pair("a", "b"), std::pair("ab", "c"), std::pair("b", "c"),
                                    std::pair("o", "o"), std::pair("oo", "oo")}) {
    merges.push_back({left, right});
    vocab[std::string(left) + right] = id++;
  }
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Digits"}, {"individual_digits", true}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}}}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

inline Json FakeModel() {
  return {{"name", "fake"},
          {"vision", {{"image_size", kFakeImage}}},
          {"language", {{"hidden_size", kFakeHidden}, {"vocab_size", kFakeVocab}, {"max_length", 96}}},
          {"renderer", {{"latent_size", kFakeLatents}}},
          {"encoder", {{"image_size", 32}}}};
}

// A folder that goes away with this object.
class FakeBundle {
 public:
  FakeBundle() {
    static std::atomic<int> made{0};
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    root_ = std::filesystem::temp_directory_path() /
            ("vera-" + std::to_string(now) + "-" + std::to_string(made++));
    std::filesystem::create_directories(root_);
    manifest = {{"name", "fake"}, {"model", FakeModel()}, {"recipe", "none"},
                {"created_by", "test"}, {"format_version", 1}, {"files", Json::object()},
                {"limits", {{"prefill_tokens", 16}}}};
    AddFile("tokenizer", "tokenizer.json", FakeTokenizer().dump(), "tokenizer");
    AddFile("decoder", "decoder.pte", std::string(3000, 'd'), "executorch");
    Write();
  }
  ~FakeBundle() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  FakeBundle(const FakeBundle&) = delete;

  void AddFile(const std::string& name, const std::string& path, const std::string& content,
               const std::string& kind) {
    Store(path, content);
    Sha256 hash;
    hash.Update(content.data(), content.size());
    manifest["files"][name] = {{"path", path}, {"sha256", hash.HexDigest()},
                               {"size_bytes", content.size()}, {"kind", kind}};
  }
  void Store(const std::string& path, const std::string& content) const {
    std::ofstream(root_ / path, std::ios::binary) << content;
  }
  void Write() const { Store("bundle.json", manifest.dump()); }
  const std::filesystem::path& root() const { return root_; }

  Json manifest;

 private:
  std::filesystem::path root_;
};

// Outputs are plain functions of the inputs; every call is counted.
struct FakePlanner {
  int answer_tokens = 12;  // after so many the answer ends
  std::chrono::milliseconds step_time{0};
  vera_status step_fails = VERA_STATUS_OK;
  bool step_is_nan = false;
  std::atomic<int> running{0}, overlaps{0}, steps{0}, released{0}, images{0};
  std::atomic<int32_t> first_token{-1};

  // Notes two calls at once, which must not be.
  struct Call {
    explicit Call(FakePlanner* of) : planner(*of) {
      if (planner.running.fetch_add(1) != 0) ++planner.overlaps;
    }
    ~Call() { --planner.running; }
    FakePlanner& planner;
  };

  vera_planner Table() {
    vera_planner table = {};
    table.struct_size = sizeof(table);
    table.context = this;
    table.encode_image = [](void* self, const float* pixels, float* tokens, vera_error*) {
      const Call call(static_cast<FakePlanner*>(self));
      ++call.planner.images;
      for (int i = 0; i < kFakeHidden; ++i) tokens[i] = pixels[i * 7] - 0.5f;
      return vera_status{VERA_STATUS_OK};
    };
    table.embed = [](void* self, const int64_t* ids, int32_t count, float* embeds, vera_error*) {
      const Call call(static_cast<FakePlanner*>(self));
      for (int i = 0; i < count * kFakeHidden; ++i) {
        embeds[i] = static_cast<float>((ids[i / kFakeHidden] * 31 + i % kFakeHidden * 17) % 64) / 64;
      }
      return vera_status{VERA_STATUS_OK};
    };
    table.step = Step;
    table.head = [](void* self, const float* hidden, float* latents, vera_error*) {
      const Call call(static_cast<FakePlanner*>(self));
      for (int g = 0; g < 3; ++g) {
        for (int i = 0; i < kFakeLatents; ++i) {
          latents[g * kFakeLatents + i] = hidden[g * kFakeHidden + i];
        }
      }
      return vera_status{VERA_STATUS_OK};
    };
    table.bake = [](void* self, const float* colours, int64_t count, const float* latents,
                    float* out, vera_error*) {
      const Call call(static_cast<FakePlanner*>(self));
      for (int64_t i = 0; i < 3 * count; ++i) {
        out[i] = colours[i] * colours[i] * (1.0f - latents[0] / 4) + colours[i] * latents[0] / 4;
      }
      return vera_status{VERA_STATUS_OK};
    };
    table.release = [](void* self, vera_stage) { ++static_cast<FakePlanner*>(self)->released; };
    return table;
  }

 private:
  static vera_status Step(void* self, const float* embeds, int32_t count, int32_t start,
                          vera_wanted_logits wanted, float* logits, float* hidden,
                          vera_error* error) {
    const Call call(static_cast<FakePlanner*>(self));
    FakePlanner& planner = call.planner;
    const int step = planner.steps++;
    if (planner.step_time.count() > 0) std::this_thread::sleep_for(planner.step_time);
    if (planner.step_fails != VERA_STATUS_OK) {
      std::string("no memory for step").copy(error->message, VERA_MESSAGE_BYTES - 1);
      return planner.step_fails;
    }
    float sum = static_cast<float>(start % 5) / 5;
    for (int i = 0; i < count * kFakeHidden; ++i) sum += embeds[i] * static_cast<float>(i % 3 + 1);
    for (int i = 0; i < kFakeHidden; ++i) {
      hidden[i] = sum / static_cast<float>(count * (i + 1));
      if (planner.step_is_nan) hidden[i] *= std::numeric_limits<float>::quiet_NaN();
    }
    if (wanted == VERA_LOGITS_NONE) return VERA_STATUS_OK;
    const int shift = static_cast<int>(sum * 8);
    for (int i = 0; i < kFakeVocab; ++i) logits[i] = static_cast<float>((i * 37 + shift) % 101) / 10;
    if (step % 1000 >= planner.answer_tokens) logits[0] = 1000.0f;  // <pad>, which is ruled out
    if (step % 1000 >= planner.answer_tokens) logits[5] = 500.0f;   // the first retouch token
    return VERA_STATUS_OK;
  }
};

}  // namespace vera

#endif  // VERA_SDK_FAKE_BUNDLE_H_
