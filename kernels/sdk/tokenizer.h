// Byte-level byte-pair encoding, read from a tokenizer.json of either family: vera-nano's (digits
// apart, GPT-2's words) and Qwen2's (its own words, normalization form C). The same ids as the
// `tokenizers` library gives.
#ifndef VERA_SDK_TOKENIZER_H_
#define VERA_SDK_TOKENIZER_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace vera {

class Tokenizer {
 public:
  // Reads a tokenizer.json; fails with BUNDLE_ERROR for text that is none, or of another kind.
  static Tokenizer Parse(std::string_view json);

  // Ids of a text (UTF-8); added tokens in it are taken as such. Fails with INVALID_ARGUMENT for
  // text that is not UTF-8.
  std::vector<int32_t> Encode(std::string_view text) const;

  // Text of ids; special tokens and ids that stand for nothing are left out.
  std::string Decode(const std::vector<int32_t>& ids) const;

  // Id of a whole token, or -1.
  int32_t IdOf(const std::string& token) const;

  // Tokens in all, as the library counts them.
  int32_t size() const { return size_; }
  // The highest id.
  int32_t last_id() const { return last_id_; }

  // Contents of the special tokens by their ids.
  const std::map<int32_t, std::string>& specials() const { return specials_; }

 private:
  friend class TokenizerReader;
  struct Merge {
    int32_t rank, id;
  };
  // By their first byte, longest first.
  using AddedTokens = std::vector<std::vector<std::pair<std::string, int32_t>>>;

  // Ids of the added tokens in `text`; on_text gets what lies between them.
  template <typename OnText>
  void SplitAdded(const AddedTokens& added, std::string_view text, std::vector<int32_t>* ids,
                  OnText on_text) const;
  size_t MatchAdded(const AddedTokens& added, std::string_view text, int32_t* id) const;
  void EncodeWord(std::string_view bytes, std::vector<int32_t>* ids) const;

  bool is_qwen_ = false;         // how text is split into words
  bool normalizes_ = false;      // form C
  bool ignores_merges_ = false;  // a word that is a token is that token
  int32_t size_ = 0, last_id_ = 0;
  std::array<int32_t, 256> byte_ids_ = {};             // -1: the byte is no token
  std::unordered_map<std::string, int32_t> vocab_;     // by the token as the file spells it
  std::unordered_map<std::string, int32_t> words_;     // by its bytes, where they are needed
  std::unordered_map<int32_t, std::string> bytes_;     // what an id stands for
  std::unordered_map<uint64_t, Merge> merges_;         // by the pair of ids
  std::unordered_map<std::string, int32_t> added_ids_;
  std::map<int32_t, std::string> specials_;
  AddedTokens as_written_, normalized_;  // looked for before and after normalization
};

}  // namespace vera

#endif  // VERA_SDK_TOKENIZER_H_
