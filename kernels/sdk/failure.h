// How the SDK's sources report errors to each other: thrown here, caught where the C ABI begins.
#ifndef VERA_SDK_FAILURE_H_
#define VERA_SDK_FAILURE_H_

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "vera/retoucher.h"

namespace vera {

// What failed, the value seen, what is allowed, what to do.
struct Failure {
  vera_status status;
  std::string message;
};

[[noreturn]] inline void Fail(vera_status status, std::string message) {
  throw Failure{status, std::move(message)};
}

// Fills in what the caller reads; a message that is too long ends after a whole character.
inline vera_status Report(vera_error* error, vera_status status, std::string_view message) {
  if (error == nullptr) return status;
  size_t size = std::min<size_t>(message.size(), VERA_MESSAGE_BYTES - 1);
  if (size < message.size()) {
    while (size > 0 && (static_cast<unsigned char>(message[size]) & 0xC0) == 0x80) --size;
  }
  error->status = status;
  if (size > 0) std::memcpy(error->message, message.data(), size);
  error->message[size] = 0;
  return status;
}

// Runs `work`; no exception leaves the library.
template <typename Work>
vera_status Guarded(vera_error* error, Work work) {
  try {
    work();
    return Report(error, VERA_STATUS_OK, "");
  } catch (const Failure& failure) {
    return Report(error, failure.status, failure.message);
  } catch (const std::bad_alloc&) {
    return Report(error, VERA_STATUS_OUT_OF_MEMORY, "not enough memory for the work");
  } catch (...) {
    return Report(error, VERA_STATUS_INTERNAL_ERROR, "a bug in the library; please report it");
  }
}

// A name of a file's content for a message: its beginning, without line breaks.
inline std::string Quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, 60)) {
    out += static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
  }
  // a character that was cut in two must not reach the message
  size_t kept = out.size();
  if (text.size() > 60) {
    while (kept > 1 && (static_cast<unsigned char>(out[kept - 1]) & 0xC0) == 0x80) --kept;
    if (kept > 1 && static_cast<unsigned char>(out[kept - 1]) >= 0xC0) --kept;
  }
  return out.substr(0, kept) + "'";
}

}  // namespace vera

#endif  // VERA_SDK_FAILURE_H_
