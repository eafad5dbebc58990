// tokenizer.json, and texts and ids with what was read of it.
#include <cstdlib>
#include <string>
#include <vector>

#include "fuzz/json_input.h"
#include "sdk/failure.h"
#include "sdk/fake_bundle.h"
#include "sdk/prompt.h"
#include "sdk/tokenizer.h"
#include "sdk/words.h"

namespace {

// Few merges and bytes, in both ways of splitting.
vera::Json Good(bool qwen) {
  vera::Json file = vera::FakeTokenizer();
  if (!qwen) return file;
  file["normalizer"] = {{"type", "NFC"}};
  vera::Json& parts = file["pre_tokenizer"]["pretokenizers"];
  parts[0] = {{"type", "Split"},
              {"pattern", {{"Regex", std::string(vera::kQwenWords)}}},
              {"behavior", "Isolated"},
              {"invert", false}};
  parts[1]["use_regex"] = false;
  return file;
}

void Use(const vera::Tokenizer& tokenizer, vera::Input* input) {
  std::string text(reinterpret_cast<const char*>(input->data()), input->size());
  std::vector<int32_t> ids;
  try {
    ids = tokenizer.Encode(text);
  } catch (const vera::Failure& failure) {
    if (failure.status != VERA_STATUS_INVALID_ARGUMENT) std::abort();
  }
  for (const int32_t id : ids) {
    if (id < 0 || id > tokenizer.last_id()) std::abort();
  }
  while (input->size() > 0) ids.push_back(input->Take<int16_t>());
  tokenizer.Decode(ids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const vera::Json nano = Good(false), qwen = Good(true);
  static const vera::Tokenizer ready[2] = {vera::Tokenizer::Parse(nano.dump()),
                                           vera::Tokenizer::Parse(qwen.dump())};
  static const vera::Vocabulary vocabulary(ready[0]);
  vera::Input input(data, size);
  const bool is_qwen = input.Take<uint8_t>() % 2 == 1;
  if (input.Take<uint8_t>() % 4 != 0) {  // reading a file is slow beside its use
    const std::string text(reinterpret_cast<const char*>(input.data()), input.size());
    Use(ready[is_qwen], &input);
    try {
      vocabulary.Encode(text);
      vocabulary.Style(text, nullptr, 0);
    } catch (const vera::Failure& failure) {
      if (failure.status != VERA_STATUS_INVALID_ARGUMENT) std::abort();
    }
    return 0;
  }
  try {
    const std::string text = vera::ChangedText(&input, is_qwen ? qwen : nano);
    Use(vera::Tokenizer::Parse(text), &input);
  } catch (const vera::Failure& failure) {
    if (failure.status != VERA_STATUS_BUNDLE_ERROR) std::abort();
  }
  return 0;
}
