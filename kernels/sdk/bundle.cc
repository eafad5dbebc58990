#include "sdk/bundle.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <system_error>
#include <utility>

#if !defined(_WIN32)
#include <sys/stat.h>
#endif

#include "cpu/check.h"
#include "sdk/failure.h"
#include "sdk/sha256.h"

namespace vera {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifestName = "bundle.json";
constexpr uintmax_t kManifestMaxBytes = uintmax_t{16} << 20;
constexpr size_t kChunkBytes = size_t{1} << 20;

[[noreturn]] void Damaged(const std::string& message) {
  Fail(VERA_STATUS_BUNDLE_ERROR, message);
}

struct Closer {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// What changes with a file: another stamp means that it has to be hashed again.
std::vector<int64_t> Stamp(const fs::path& path, const std::string& name, const BundleFile& file) {
  std::error_code error;
  const auto kind = fs::status(path, error).type();
  if (error || kind != fs::file_type::regular) {
    Damaged("Bundle file " + Quoted(name) + " (" + file.path + ") is no file: copy the bundle again.");
  }
  const uintmax_t size = fs::file_size(path, error);
  if (error || size != static_cast<uintmax_t>(file.size_bytes)) {
    Damaged("Bundle file " + Quoted(name) + " (" + file.path + ") has " + std::to_string(size) +
            " bytes: the manifest says " + std::to_string(file.size_bytes) +
            ". Copy the bundle again.");
  }
  const auto changed = fs::last_write_time(path, error);
  std::vector<int64_t> stamp = {static_cast<int64_t>(size),
                                static_cast<int64_t>(changed.time_since_epoch().count())};
#if !defined(_WIN32)
  struct stat facts = {};
  if (stat(path.c_str(), &facts) == 0) {
    stamp.push_back(static_cast<int64_t>(facts.st_ino));
    stamp.push_back(static_cast<int64_t>(facts.st_ctime));
#if defined(__linux__)
    stamp.push_back(static_cast<int64_t>(facts.st_ctim.tv_nsec));
#elif defined(__APPLE__)
    stamp.push_back(static_cast<int64_t>(facts.st_ctimespec.tv_nsec));
#endif
  }
#endif
  return stamp;
}

std::string HashOf(const fs::path& path, const std::string& name, const OnBytes& on_bytes) {
  const std::unique_ptr<std::FILE, Closer> file(std::fopen(path.string().c_str(), "rb"));
  if (file == nullptr) Damaged("Bundle file " + Quoted(name) + " cannot be read.");
  Sha256 hash;
  std::vector<char> chunk(kChunkBytes);
  while (true) {
    const size_t count = std::fread(chunk.data(), 1, chunk.size(), file.get());
    hash.Update(chunk.data(), count);
    if (!on_bytes(count)) Fail(VERA_STATUS_CANCELLED, "Opening the bundle was cancelled.");
    if (count < chunk.size()) break;
  }
  if (std::ferror(file.get()) != 0) {
    Damaged("Bundle file " + Quoted(name) + " cannot be read to its end: copy the bundle again.");
  }
  return hash.HexDigest();
}

bool IsInside(const fs::path& path, const fs::path& root) {
  const auto [in_root, in_path] =
      std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return in_root == root.end() && in_path != path.end();
}

}  // namespace

std::vector<std::string> PathParts(const std::string& path, const std::string& name) {
  std::vector<std::string> parts;
  std::string part;
  // backslashes and colons are path syntax on other systems, where this bundle may be opened too
  bool strange = path.empty() || path[0] == '/' ||
                 path.find_first_of(std::string("\\:\0", 3)) != std::string::npos;
  for (const char c : path + "/") {
    if (c != '/') {
      part += c;
      continue;
    }
    strange = strange || part == "..";
    if (!part.empty() && part != ".") parts.push_back(part);
    part.clear();
  }
  if (strange || parts.empty()) {
    Damaged("Bundle file " + Quoted(name) + " has the path " + Quoted(path) +
            ": a relative path inside the bundle is needed. Do not use this bundle; export again.");
  }
  return parts;
}

std::string ReadFile(const fs::path& path, uintmax_t max_bytes, vera_status status) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) Fail(status, path.string() + " cannot be read: check the file.");
  if (size > max_bytes) {
    Fail(status, path.string() + " has " + std::to_string(size) + " bytes: at most " +
                     std::to_string(max_bytes) + " are allowed.");
  }
  const std::unique_ptr<std::FILE, Closer> file(std::fopen(path.string().c_str(), "rb"));
  std::string content(static_cast<size_t>(size), '\0');
  if (file == nullptr ||
      std::fread(content.data(), 1, content.size(), file.get()) != content.size()) {
    Fail(status, path.string() + " cannot be read: check the file.");
  }
  return content;
}

Bundle::Bundle(const char* folder, const volatile int32_t* cancel, vera_progress progress,
               void* user) {
  std::error_code error;
  const fs::path given = fs::u8path(folder);
  root_ = fs::canonical(given, error);
  if (error || !fs::is_directory(root_, error)) {
    Fail(VERA_STATUS_FILE_ERROR,
         given.string() + " is not a folder: give the folder that holds " + kManifestName + ".");
  }
  const fs::path source = root_ / kManifestName;
  if (!fs::is_regular_file(source, error)) {
    Damaged(given.string() + "/" + kManifestName +
            " is missing: give a folder that `vera export` wrote.");
  }
  manifest_ = ReadManifest(ReadFile(source, kManifestMaxBytes, VERA_STATUS_BUNDLE_ERROR),
                           kManifestName);
  int64_t done = 0;
  const OnBytes on_bytes = [&](size_t count) {
    done += static_cast<int64_t>(count);
    if (progress != nullptr) progress(user, done, std::max(done, manifest_.info.size_bytes));
    return !IsCancelled(cancel);
  };
  for (const auto& [name, file] : manifest_.files) CheckedFile(name, file, on_bytes);
}

fs::path Bundle::CheckedFile(const std::string& name, const BundleFile& file,
                             const OnBytes& on_bytes) const {
  fs::path path = root_;
  for (const std::string& part : PathParts(file.path, name)) path /= fs::u8path(part);
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) {
    Damaged("Bundle file " + Quoted(name) + " (" + file.path +
            ") is missing or unreadable: copy the bundle again.");
  }
  if (!IsInside(real, root_)) {
    Damaged("Bundle file " + Quoted(name) + " (" + file.path +
            ") is a link out of the bundle: only files inside are allowed. Do not use this bundle; "
            "export again.");
  }
  const std::vector<int64_t> stamp = Stamp(real, name, file);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = verified_.find(name);
    if (known != verified_.end() && known->second == stamp) return real;
  }
  const std::string found = HashOf(real, name, on_bytes);
  if (found != file.sha256) {
    Damaged("Bundle file " + Quoted(name) + " (" + file.path + ") was changed: its SHA-256 is " +
            found.substr(0, 16) + "..., the manifest says " + file.sha256.substr(0, 16) +
            ".... Copy the bundle again.");
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  verified_[name] = stamp;
  return real;
}

fs::path Bundle::File(const std::string& name) const {
  const auto found = manifest_.files.find(name);
  if (found == manifest_.files.end()) {
    std::string known;
    for (const auto& [one, file] : manifest_.files) known += (known.empty() ? "" : ", ") + one;
    Fail(VERA_STATUS_INVALID_ARGUMENT, "Bundle file " + Quoted(name) +
                                           " is unknown: this bundle has " +
                                           (known.empty() ? "none" : known) + ".");
  }
  return CheckedFile(name, found->second, [](size_t) { return true; });
}

fs::path Bundle::Program(const std::string& name, const char** method) const {
  const bool in_decoder = name == "embed" && manifest_.files.count("embed") == 0;
  const fs::path path = File(in_decoder ? "decoder" : name);
  const std::string& kind = manifest_.files.at(in_decoder ? "decoder" : name).kind;
  const bool is_file = kind == "tokenizer" || kind == "weights" || kind == "golden";
  if (method != nullptr) *method = is_file ? nullptr : in_decoder ? "embed" : "forward";
  return path;
}

const char* Bundle::Text(std::string_view key) const {
  const std::pair<const char*, const std::string*> texts[] = {
      {"name", &manifest_.name},         {"recipe", &manifest_.recipe},
      {"created_by", &manifest_.created_by}, {"commit", &manifest_.commit},
      {"family", &manifest_.family},     {"backend", &manifest_.backend},
      {"manifest", &manifest_.text}};
  for (const auto& [name, text] : texts) {
    if (key == name) return text->c_str();
  }
  return nullptr;
}

}  // namespace vera
