// A bundle's folder: its manifest, and files that are what the manifest says.
#ifndef VERA_SDK_BUNDLE_H_
#define VERA_SDK_BUNDLE_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "vera/retoucher.h"

namespace vera {

struct BundleFile {
  std::string path, sha256, kind, backend;
  int64_t size_bytes = 0;
};

// What is read of bundle.json; all else of it is checked and left there.
struct Manifest {
  std::string text, name, recipe, created_by, commit, family, backend;
  std::map<std::string, BundleFile> files;
  vera_bundle_info info = {};
};

// The manifest in `text`; `source` is its name for messages. Fails with BUNDLE_ERROR for broken JSON,
// an unknown or missing key, a wrong type or a size out of range, BUNDLE_VERSION_ERROR for a
// format_version of a newer release.
Manifest ReadManifest(std::string text, const std::string& source);

// The parts of a file's path; fails with BUNDLE_ERROR for one that may lead out of the folder.
std::vector<std::string> PathParts(const std::string& path, const std::string& name);

// Contents of a file of at most `max_bytes`; fails with `status`.
std::string ReadFile(const std::filesystem::path& path, uintmax_t max_bytes, vera_status status);

// Called after each MiB with its bytes; false stops the work.
using OnBytes = std::function<bool(size_t)>;

class Bundle {
 public:
  // See vera_bundle_open.
  Bundle(const char* folder, const volatile int32_t* cancel, vera_progress progress, void* user);

  const Manifest& manifest() const { return manifest_; }

  // The path of the file that the manifest lists as `name`, hashed again when it changed since the
  // last check. Fails with INVALID_ARGUMENT for an unknown name, BUNDLE_ERROR.
  std::filesystem::path File(const std::string& name) const;

  // The file and the method (nullptr: no program) that hold the program `name`.
  std::filesystem::path Program(const std::string& name, const char** method) const;

  // Value of a key of vera_bundle_text; nullptr for an unknown one.
  const char* Text(std::string_view key) const;

 private:
  std::filesystem::path CheckedFile(const std::string& name, const BundleFile& file,
                                    const OnBytes& on_bytes) const;

  std::filesystem::path root_;
  Manifest manifest_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::vector<int64_t>> verified_;  // stamp of a file by its name
};

}  // namespace vera

#endif  // VERA_SDK_BUNDLE_H_
