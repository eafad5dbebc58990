#include "sdk/tokenizer.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "sdk/failure.h"
#include "sdk/unicode.h"
#include "sdk/words.h"

namespace vera {
namespace {

uint64_t PairKey(int32_t first, int32_t second) {
  return static_cast<uint64_t>(static_cast<uint32_t>(first)) << 32 |
         static_cast<uint32_t>(second);
}

// A token of a word on its way: linked, so that merging costs no copying.
struct Piece {
  int32_t id, previous, next;
  bool alive;
};

struct Candidate {
  int32_t rank, at, id;
  // the lowest rank first, then the leftmost
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

}  // namespace

size_t Tokenizer::MatchAdded(const AddedTokens& added, std::string_view text, int32_t* id) const {
  if (added.empty()) return 0;
  for (const auto& [token, number] : added[static_cast<unsigned char>(text[0])]) {
    if (text.substr(0, token.size()) == token) {
      *id = number;
      return token.size();
    }
  }
  return 0;
}

template <typename OnText>
void Tokenizer::SplitAdded(const AddedTokens& added, std::string_view text,
                           std::vector<int32_t>* ids, OnText on_text) const {
  size_t begin = 0, at = 0;
  while (at < text.size()) {
    int32_t id = 0;
    const size_t size = MatchAdded(added, text.substr(at), &id);
    if (size == 0) {
      ++at;
      continue;
    }
    if (begin < at) on_text(text.substr(begin, at - begin));
    ids->push_back(id);
    at += size;
    begin = at;
  }
  if (begin < text.size()) on_text(text.substr(begin));
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text) const {
  std::vector<int32_t> ids;
  SplitAdded(as_written_, text, &ids, [&](std::string_view part) {
    std::u32string characters;
    if (!DecodeUtf8(part, &characters)) {
      Fail(VERA_STATUS_INVALID_ARGUMENT, "A text is no UTF-8: give UTF-8.");
    }
    if (normalizes_) characters = Nfc(characters);
    SplitAdded(normalized_, EncodeUtf8(characters), &ids, [&](std::string_view rest) {
      std::u32string words;
      DecodeUtf8(rest, &words);
      (is_qwen_ ? SplitQwenWords : SplitNanoWords)(words, [&](std::u32string_view word) {
        EncodeWord(EncodeUtf8(std::u32string(word)), &ids);
      });
    });
  });
  return ids;
}

void Tokenizer::EncodeWord(std::string_view bytes, std::vector<int32_t>* ids) const {
  if (ignores_merges_) {
    const auto whole = words_.find(std::string(bytes));
    if (whole != words_.end()) return ids->push_back(whole->second);
  }
  std::vector<Piece> pieces;
  for (const char byte : bytes) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
    const int32_t at = static_cast<int32_t>(pieces.size());
    if (id >= 0) pieces.push_back({id, at - 1, at + 1, true});
  }
  if (pieces.empty()) return;
  pieces.back().next = -1;
  std::priority_queue<Candidate> queue;
  const auto offer = [&](int32_t at) {
    if (at < 0 || pieces[static_cast<size_t>(at)].next < 0) return;
    const Piece& piece = pieces[static_cast<size_t>(at)];
    const auto merge = merges_.find(PairKey(piece.id, pieces[static_cast<size_t>(piece.next)].id));
    if (merge != merges_.end()) queue.push({merge->second.rank, at, merge->second.id});
  };
  for (size_t i = 0; i < pieces.size(); ++i) offer(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Piece& piece = pieces[static_cast<size_t>(best.at)];
    if (!piece.alive || piece.next < 0) continue;
    Piece& next = pieces[static_cast<size_t>(piece.next)];
    const auto merge = merges_.find(PairKey(piece.id, next.id));
    // one of the two may have become another token since
    if (merge == merges_.end() || merge->second.id != best.id) continue;
    piece.id = best.id;
    piece.next = next.next;
    next.alive = false;
    if (piece.next >= 0) pieces[static_cast<size_t>(piece.next)].previous = best.at;
    offer(piece.previous);
    offer(best.at);
  }
  for (int32_t at = 0; at >= 0; at = pieces[static_cast<size_t>(at)].next) {
    ids->push_back(pieces[static_cast<size_t>(at)].id);
  }
}

std::string Tokenizer::Decode(const std::vector<int32_t>& ids) const {
  std::string bytes;
  for (const int32_t id : ids) {
    const auto found = bytes_.find(id);
    if (found != bytes_.end() && specials_.count(id) == 0) bytes += found->second;
  }
  return LossyUtf8(bytes);
}

int32_t Tokenizer::IdOf(const std::string& token) const {
  const auto added = added_ids_.find(token);
  if (added != added_ids_.end()) return added->second;
  const auto found = vocab_.find(token);
  return found == vocab_.end() ? -1 : found->second;
}

}  // namespace vera
