// bundle.json and its paths: refused or read, never more.
#include <cstdlib>
#include <string>

#include "fuzz/json_input.h"
#include "sdk/bundle.h"
#include "sdk/failure.h"
#include "sdk/fake_bundle.h"

namespace {

vera::Json Good() {
  const vera::Json file = {{"path", "a/b.pte"},
                           {"sha256", "00"},
                           {"size_bytes", 5},
                           {"kind", "executorch"},
                           {"backend", "xnnpack"},
                           {"inputs", {{{"name", "x"}, {"dtype", "float32"}, {"shape", {1, "1..4"}}}}},
                           {"operators", {{{"name", "o"}, {"count", 1}, {"backend", "b"}}}}};
  return {{"name", "n"},      {"model", vera::FakeModel()}, {"recipe", "r"},
          {"created_by", "c"}, {"format_version", 1},        {"files", {{"decoder", file}}},
          {"limits", {{"prefill_tokens", 16}}}};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const vera::Json good = Good();
  vera::Input input(data, size);
  try {
    const vera::Manifest manifest = vera::ReadManifest(vera::ChangedText(&input, good), "fuzz");
    const vera_bundle_info& info = manifest.info;
    if (info.image_size < 64 || info.hidden_size < 1 || info.prefill_tokens < 1) std::abort();
    for (const auto& [name, file] : manifest.files) {
      for (const std::string& part : vera::PathParts(file.path, name)) {
        if (part.empty() || part == ".." || part.find('/') != std::string::npos) std::abort();
      }
    }
  } catch (const vera::Failure& failure) {
    if (failure.status != VERA_STATUS_BUNDLE_ERROR &&
        failure.status != VERA_STATUS_BUNDLE_VERSION_ERROR) {
      std::abort();
    }
  }
  return 0;
}
