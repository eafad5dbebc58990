// tokenizer.json, of the two kinds that Vera's checkpoints have.
#include <algorithm>
#include <string>

#include "sdk/failure.h"
#include "sdk/json.h"
#include "sdk/tokenizer.h"
#include "sdk/unicode.h"
#include "sdk/words.h"

namespace vera {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 22;
constexpr int64_t kMaxId = int64_t{1} << 24;

[[noreturn]] void Refuse(const std::string& message) {
  Fail(VERA_STATUS_BUNDLE_ERROR,
       "tokenizer.json " + message + ": use the checkpoint's own, and export again.");
}

// Byte-level tokens spell each byte as one character: those that print as themselves, the other
// bytes as U+0100 and on. -1 for a character that is no byte.
int ByteOf(char32_t c) {
  const auto prints = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  if (c < 256) return prints(static_cast<int>(c)) ? static_cast<int>(c) : -1;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    if (!prints(byte) && static_cast<char32_t>(next++) == c) return byte;
  }
  return -1;
}

struct ByteTable {
  ByteTable() {
    for (int c = 0; c < 512; ++c) bytes[c] = ByteOf(static_cast<char32_t>(c));
  }
  int bytes[512];
};

// The bytes that a token stands for: those that its characters spell, or its own.
std::string BytesOf(const std::string& token) {
  static const ByteTable table;
  std::u32string characters;
  DecodeUtf8(token, &characters);
  std::string bytes;
  for (const char32_t c : characters) {
    const int byte = c < 512 ? table.bytes[c] : -1;
    if (byte < 0) return token;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

bool IsNull(const Json& value, const char* key) {
  const Json* found = Member(value, key);
  return found == nullptr || found->is_null() || *found == "";
}

bool IsTrue(const Json& value, const char* key) {
  const Json* found = Member(value, key);
  return found != nullptr && found->is_boolean() && found->get<bool>();
}

std::string TypeOf(const Json& value) {
  const Json* type = Member(value, "type");
  return type != nullptr && type->is_string() ? type->get<std::string>() : "";
}

int32_t CheckedId(const Json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= static_cast<uint64_t>(kMaxId)) {
    Refuse("has an id that is no number from 0 to 16777215");
  }
  return static_cast<int32_t>(value.get<int64_t>());
}

}  // namespace

// Fills in a Tokenizer part by part.
class TokenizerReader {
 public:
  explicit TokenizerReader(Tokenizer* to) : to_(*to) {}

  void Read(const Json& file) {
    const Json* model = Member(file, "model");
    if (model == nullptr || TypeOf(*model) != "BPE") Refuse("is no byte-pair encoding");
    for (const char* key : {"truncation", "padding"}) {
      if (!IsNull(file, key)) Refuse(std::string("sets ") + key);
    }
    for (const char* key :
         {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!IsNull(*model, key)) Refuse(std::string("sets ") + key);
    }
    if (IsTrue(*model, "byte_fallback")) Refuse("sets byte_fallback");
    to_.ignores_merges_ = IsTrue(*model, "ignore_merges");
    ReadSteps(file);
    ReadVocab(*model);
    ReadMerges(*model);
    ReadAdded(file);
  }

 private:
  // Normalizer, splitter and decoder.
  void ReadSteps(const Json& file) {
    if (!IsNull(file, "normalizer")) {
      if (TypeOf(file["normalizer"]) != "NFC") Refuse("has another normalizer than NFC");
      to_.normalizes_ = true;
    }
    const Json* splitter = Member(file, "pre_tokenizer");
    const Json* parts = splitter == nullptr ? nullptr : Member(*splitter, "pretokenizers");
    if (parts == nullptr || TypeOf(*splitter) != "Sequence" || !parts->is_array() ||
        parts->size() != 2 || TypeOf((*parts)[1]) != "ByteLevel" ||
        IsTrue((*parts)[1], "add_prefix_space")) {
      Refuse("splits words in an unknown way");
    }
    const Json &first = (*parts)[0], &second = (*parts)[1];
    const Json* pattern = Member(first, "pattern");
    const Json* regex = pattern == nullptr ? nullptr : Member(*pattern, "Regex");
    const Json* behavior = Member(first, "behavior");
    to_.is_qwen_ = TypeOf(first) == "Split" && regex != nullptr && *regex == kQwenWords &&
                   behavior != nullptr && *behavior == "Isolated" && !IsTrue(first, "invert") &&
                   Member(second, "use_regex") != nullptr && !IsTrue(second, "use_regex");
    const bool is_nano = TypeOf(first) == "Digits" && IsTrue(first, "individual_digits") &&
                         (Member(second, "use_regex") == nullptr || IsTrue(second, "use_regex"));
    if (!to_.is_qwen_ && !is_nano) Refuse("splits words in an unknown way");
    const Json* decoder = Member(file, "decoder");
    if (decoder == nullptr || TypeOf(*decoder) != "ByteLevel") Refuse("has an unknown decoder");
  }

  void ReadVocab(const Json& model) {
    const Json* vocab = Member(model, "vocab");
    if (vocab == nullptr || !vocab->is_object() || vocab->size() > kMaxTokens) {
      Refuse("has no vocabulary, or too large a one");
    }
    to_.byte_ids_.fill(-1);
    for (const auto& [token, value] : vocab->items()) {
      const int32_t id = CheckedId(value);
      if (!to_.bytes_.emplace(id, BytesOf(token)).second) Refuse("has an id twice");
      to_.vocab_.emplace(token, id);
      to_.last_id_ = std::max(to_.last_id_, id);
    }
    for (const auto& [token, id] : to_.vocab_) {
      const std::string& bytes = to_.bytes_.at(id);
      std::u32string characters;
      DecodeUtf8(token, &characters);
      if (bytes.size() == 1 && characters.size() == 1) {
        to_.byte_ids_[static_cast<unsigned char>(bytes[0])] = id;
      }
      if (to_.ignores_merges_ && characters.size() == bytes.size()) to_.words_[bytes] = id;
    }
    to_.size_ = static_cast<int32_t>(to_.vocab_.size());
  }

  int32_t Known(const std::string& token) const {
    const auto found = to_.vocab_.find(token);
    if (found == to_.vocab_.end()) Refuse("merges " + Quoted(token) + ", which is no token");
    return found->second;
  }

  void ReadMerges(const Json& model) {
    const Json* merges = Member(model, "merges");
    if (merges == nullptr || !merges->is_array() || merges->size() > kMaxTokens) {
      Refuse("has no merges, or too many");
    }
    int32_t rank = 0;
    for (const Json& merge : *merges) {
      std::string left, right;
      if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0].get<std::string>();
        right = merge[1].get<std::string>();
      } else if (merge.is_string()) {
        const std::string pair = merge.get<std::string>();
        const size_t space = pair.find(' ');
        if (space == std::string::npos || pair.find(' ', space + 1) != std::string::npos) {
          Refuse("has a merge that is no pair");
        }
        left = pair.substr(0, space);
        right = pair.substr(space + 1);
      } else {
        Refuse("has a merge that is no pair");
      }
      const uint64_t first = static_cast<uint32_t>(Known(left));
      const uint64_t second = static_cast<uint32_t>(Known(right));
      to_.merges_[first << 32 | second] = {rank++, Known(left + right)};
    }
  }

  void ReadAdded(const Json& file) {
    const Json* added = Member(file, "added_tokens");
    if (added == nullptr) return;
    if (!added->is_array() || added->size() > kMaxTokens) Refuse("has bad added tokens");
    to_.as_written_.resize(256);
    to_.normalized_.resize(256);
    for (const Json& token : *added) ReadOneAdded(token);
    for (auto* table : {&to_.as_written_, &to_.normalized_}) {
      for (auto& tokens : *table) {
        std::stable_sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) {
          return a.first.size() > b.first.size();
        });
      }
    }
  }

  void ReadOneAdded(const Json& token) {
    const Json *content = Member(token, "content"), *number = Member(token, "id");
    if (content == nullptr || number == nullptr || !content->is_string()) {
      Refuse("has an added token without content or id");
    }
    for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
      if (IsTrue(token, flag)) Refuse(std::string("has an added token with ") + flag);
    }
    const std::string text = content->get<std::string>();
    const int32_t id = CheckedId(*number);
    if (text.empty()) Refuse("has an added token without content");
    const auto known = to_.vocab_.find(text);
    const bool is_new = known == to_.vocab_.end();
    if (!is_new && known->second != id) Refuse("gives " + Quoted(text) + " two ids");
    if (is_new && !to_.bytes_.emplace(id, BytesOf(text)).second) Refuse("has an id twice");
    if (!to_.added_ids_.emplace(text, id).second) Refuse("adds " + Quoted(text) + " twice");
    if (is_new) ++to_.size_;
    to_.last_id_ = std::max(to_.last_id_, id);
    if (IsTrue(token, "special")) to_.specials_[id] = text;
    const bool normalized = IsTrue(token, "normalized");
    std::u32string characters;
    DecodeUtf8(text, &characters);
    const std::string sought =
        normalized && to_.normalizes_ ? EncodeUtf8(Nfc(characters)) : text;
    auto& table = normalized ? to_.normalized_ : to_.as_written_;
    table[static_cast<unsigned char>(sought[0])].emplace_back(sought, id);
  }

  Tokenizer& to_;
};

Tokenizer Tokenizer::Parse(std::string_view json) {
  Json file;
  if (!ParseJson(json, &file)) Refuse("is not valid JSON");
  Tokenizer tokenizer;
  TokenizerReader(&tokenizer).Read(file);
  return tokenizer;
}

}  // namespace vera
