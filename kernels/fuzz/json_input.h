// JSON that is nearly right: a good value with places changed by the bytes of a fuzzer.
#ifndef VERA_FUZZ_JSON_INPUT_H_
#define VERA_FUZZ_JSON_INPUT_H_

#include <cstdint>
#include <string>

#include "fuzz/input.h"
#include "sdk/json.h"

namespace vera {

inline std::string TakeText(Input* input, int64_t most) {
  std::string text;
  for (int64_t left = input->Between(0, most); left > 0; --left) {
    text += static_cast<char>(input->Take<uint8_t>() % 128);
  }
  return text;
}

inline Json TakeValue(Input* input) {
  switch (input->Between(0, 9)) {
    case 0: return nullptr;
    case 1: return true;
    case 2: return input->Take<int64_t>();
    case 3: return input->Take<uint64_t>();
    case 4: return static_cast<double>(input->Take<float>());
    case 5: return Json::array();
    case 6: return Json::object();
    case 7: return input->Between(0, 70000);
    case 8: return Json::array({1, "a", nullptr});
    default: return TakeText(input, 40);
  }
}

// A place in the value, chosen step by step; another value there, one more member, or none.
inline void ChangeOnePlace(Input* input, Json* value) {
  Json* at = value;
  Json* parent = nullptr;
  Json::iterator place;
  while ((at->is_object() || at->is_array()) && !at->empty() && !input->Rarely(5)) {
    if (input->size() == 0) break;
    parent = at;
    place = at->begin();
    std::advance(place, input->Between(0, static_cast<int64_t>(at->size()) - 1));
    at = &*place;
  }
  switch (input->Between(0, 3)) {
    case 0:
      if (parent != nullptr) parent->erase(place);
      return;
    case 1:
      if (at->is_object()) {
        (*at)[TakeText(input, 12)] = TakeValue(input);
        return;
      }
      if (at->is_array()) return at->push_back(TakeValue(input));
      [[fallthrough]];
    default:
      *at = TakeValue(input);
  }
}

// The text of `value` after a few changes, or of the fuzzer's bytes as they are.
inline std::string ChangedText(Input* input, Json value) {
  if (input->Rarely(4)) {
    const std::string text(reinterpret_cast<const char*>(input->data()), input->size());
    *input = Input(input->data(), 0);
    return text;
  }
  for (int64_t left = input->Between(0, 4); left > 0; --left) ChangeOnePlace(input, &value);
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace vera

#endif  // VERA_FUZZ_JSON_INPUT_H_
