// bundle.json: as strict as vera_mobile/bundle.py.
#include <algorithm>
#include <initializer_list>
#include <utility>

#include "sdk/bundle.h"
#include "sdk/failure.h"
#include "sdk/json.h"

namespace vera {
namespace {

constexpr int64_t kFormatVersion = 1;
constexpr int64_t kDefaultPrefillTokens = 256;

[[noreturn]] void Damaged(const std::string& message) {
  Fail(VERA_STATUS_BUNDLE_ERROR, message + "; export again.");
}

enum class Kind { kText, kTextOrNull, kWhole, kNumber, kList, kObject };

struct Key {
  const char* name;
  Kind kind;
  bool required;
};

bool HasKind(const Json& value, Kind kind) {
  switch (kind) {
    case Kind::kText: return value.is_string();
    case Kind::kTextOrNull: return value.is_string() || value.is_null();
    case Kind::kWhole: return value.is_number_integer();
    case Kind::kNumber: return value.is_number();
    case Kind::kList: return value.is_array();
    case Kind::kObject: return value.is_object();
  }
  return false;
}

const char* KindName(Kind kind) {
  switch (kind) {
    case Kind::kText: return "a text";
    case Kind::kTextOrNull: return "a text or null";
    case Kind::kWhole: return "a whole number";
    case Kind::kNumber: return "a number";
    case Kind::kList: return "a list";
    case Kind::kObject: return "an object";
  }
  return "";
}

void CheckKind(const Json& value, Kind kind, const std::string& where) {
  if (HasKind(value, kind)) return;
  Damaged(where + " is " + value.type_name() + ": " + KindName(kind) + " is needed");
}

// An object with these keys and no others.
void CheckKeys(const Json& value, const std::string& where, std::initializer_list<Key> keys) {
  CheckKind(value, Kind::kObject, where);
  for (const auto& [name, member] : value.items()) {
    const auto known = std::find_if(keys.begin(), keys.end(),
                                    [&, &key = name](const Key& one) { return key == one.name; });
    if (known == keys.end()) Damaged(where + " has the unknown key " + Quoted(name));
    CheckKind(member, known->kind, where + "." + known->name);
  }
  for (const Key& key : keys) {
    if (key.required && !value.contains(key.name)) Damaged(where + " lacks " + key.name);
  }
}

void CheckTensors(const Json& tensors, const std::string& where) {
  for (const Json& tensor : tensors) {
    CheckKeys(tensor, where,
              {{"name", Kind::kText, true},
               {"dtype", Kind::kText, true},
               {"shape", Kind::kList, true}});
    for (const Json& size : tensor["shape"]) {
      if (!size.is_string() && !size.is_number_integer()) Damaged(where + " has a bad shape");
    }
  }
}

std::string TextOf(const Json& value, const char* key) {
  const Json* found = Member(value, key);
  return found != nullptr && found->is_string() ? found->get<std::string>() : "";
}

// A whole number in 0..2^62; others are told to be damaged.
int64_t WholeOf(const Json& value, const std::string& where) {
  CheckKind(value, Kind::kWhole, where);
  const bool fits = !value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{1} << 62;
  const int64_t number = fits ? value.get<int64_t>() : -1;
  if (number < 0) Damaged(where + " is out of range");
  return number;
}

BundleFile ReadEntry(const Json& entry, const std::string& where) {
  CheckKeys(entry, where,
            {{"path", Kind::kText, true},
             {"sha256", Kind::kText, true},
             {"size_bytes", Kind::kWhole, true},
             {"kind", Kind::kText, true},
             {"quantization", Kind::kTextOrNull, false},
             {"backend", Kind::kTextOrNull, false},
             {"inputs", Kind::kList, false},
             {"outputs", Kind::kList, false},
             {"operators", Kind::kList, false}});
  for (const char* key : {"inputs", "outputs"}) {
    if (const Json* tensors = Member(entry, key)) CheckTensors(*tensors, where + "." + key);
  }
  if (const Json* operators = Member(entry, "operators")) {
    for (const Json& one : *operators) {
      CheckKeys(one, where + ".operators",
                {{"name", Kind::kText, true},
                 {"count", Kind::kWhole, true},
                 {"backend", Kind::kText, true}});
    }
  }
  BundleFile file;
  file.path = TextOf(entry, "path");
  file.sha256 = TextOf(entry, "sha256");
  file.kind = TextOf(entry, "kind");
  file.backend = TextOf(entry, "backend");
  file.size_bytes = WholeOf(entry["size_bytes"], where + ".size_bytes");
  return file;
}

void CheckValues(const Json* table, Kind kind, const char* where) {
  if (table == nullptr) return;
  for (const Json& value : *table) CheckKind(value, kind, where);
}

int32_t SizeOf(const Json& values, const char* part, const char* key, int64_t most) {
  const std::string where = std::string("model.") + part + "." + key;
  const Json* table = Member(values, part);
  const Json* found = table == nullptr ? nullptr : Member(*table, key);
  if (found == nullptr) Damaged(where + " is missing");
  const int64_t size = WholeOf(*found, where);
  if (size < 1 || size > most) {
    Damaged(where + " is " + std::to_string(size) + ": allowed are 1.." + std::to_string(most));
  }
  return static_cast<int32_t>(size);
}

void ReadModel(const Json& model, Manifest* manifest) {
  vera_bundle_info& info = manifest->info;
  constexpr int kStride = 64;  // pixels of the photo per image token and axis
  info.image_size = SizeOf(model, "vision", "image_size", 8192);
  if (info.image_size % kStride != 0) Damaged("model.vision.image_size is no multiple of 64");
  info.image_tokens = info.image_size / kStride * (info.image_size / kStride);
  info.hidden_size = SizeOf(model, "language", "hidden_size", 65536);
  info.vocab_size = SizeOf(model, "language", "vocab_size", 1 << 24);
  info.max_length = SizeOf(model, "language", "max_length", 1 << 20);
  if (info.image_tokens >= info.max_length) {
    Damaged("model.language.max_length is " + std::to_string(info.max_length) +
            ": more than the image's tokens is needed");
  }
  info.latent_size = SizeOf(model, "renderer", "latent_size", 65536);
  const int32_t encoder_size = SizeOf(model, "encoder", "image_size", 8192);
  if (manifest->files.count("reference") != 0) info.reference_size = encoder_size;
  // only weights in the public form keep the public file's unused projection
  const Json* unused = Member(model["vision"], "unused_projection");
  if (unused != nullptr && !unused->is_boolean()) {
    Damaged("model.vision.unused_projection must be true or false");
  }
  manifest->family = unused != nullptr && unused->get<bool>() ? "vera-0.5b" : "vera-nano";
}

void CheckVersion(const Json& values, const std::string& source) {
  const Json* version = Member(values, "format_version");
  if (version == nullptr || !version->is_number_integer() ||
      (!version->is_number_unsigned() && version->get<int64_t>() < 1) || *version == 0) {
    Damaged(source + ": format_version is no number from 1 to " + std::to_string(kFormatVersion));
  }
  if (*version > kFormatVersion) {
    Fail(VERA_STATUS_BUNDLE_VERSION_ERROR,
         source + ": format_version " + version->dump() + " is newer than " +
             std::to_string(kFormatVersion) +
             ", the newest that this release reads: update the app, or export again with this "
             "release.");
  }
}

void ReadFiles(const Json& values, const std::string& source, Manifest* manifest) {
  const Json* files = Member(values, "files");
  if (files == nullptr) return;
  for (const auto& [name, entry] : files->items()) {
    const std::string where = source + ".files." + Quoted(name);
    manifest->files[name] = ReadEntry(entry, where);
    int64_t& total = manifest->info.size_bytes;
    total = std::min(total + manifest->files[name].size_bytes, int64_t{1} << 62);
  }
  manifest->info.file_count = static_cast<int32_t>(manifest->files.size());
  const auto decoder = manifest->files.find("decoder");
  if (decoder != manifest->files.end()) manifest->backend = decoder->second.backend;
}

}  // namespace

Manifest ReadManifest(std::string text, const std::string& source) {
  Json values;
  if (!ParseJson(text, &values)) Damaged(source + " is not valid JSON");
  CheckKind(values, Kind::kObject, source);
  CheckVersion(values, source);
  CheckKeys(values, source,
            {{"name", Kind::kText, true},
             {"model", Kind::kObject, true},
             {"recipe", Kind::kText, true},
             {"created_by", Kind::kText, true},
             {"commit", Kind::kTextOrNull, false},
             {"files", Kind::kObject, false},
             {"tokenizer", Kind::kObject, false},
             {"tolerances", Kind::kObject, false},
             {"limits", Kind::kObject, false},
             {"format_version", Kind::kWhole, false}});
  CheckValues(Member(values, "tokenizer"), Kind::kWhole, "tokenizer");
  CheckValues(Member(values, "tolerances"), Kind::kNumber, "tolerances");
  CheckValues(Member(values, "limits"), Kind::kWhole, "limits");
  Manifest manifest;
  ReadFiles(values, source, &manifest);
  ReadModel(values["model"], &manifest);
  const Json* limits = Member(values, "limits");
  const Json* prefill = limits == nullptr ? nullptr : Member(*limits, "prefill_tokens");
  const int64_t tokens =
      prefill == nullptr ? kDefaultPrefillTokens : WholeOf(*prefill, "limits.prefill_tokens");
  if (tokens < 1 || tokens > 1 << 20) Damaged("limits.prefill_tokens is out of range");
  manifest.info.prefill_tokens = static_cast<int32_t>(tokens);
  manifest.info.format_version = static_cast<int32_t>(kFormatVersion);
  manifest.name = TextOf(values, "name");
  manifest.recipe = TextOf(values, "recipe");
  manifest.created_by = TextOf(values, "created_by");
  manifest.commit = TextOf(values, "commit");
  manifest.text = std::move(text);
  return manifest;
}

}  // namespace vera
