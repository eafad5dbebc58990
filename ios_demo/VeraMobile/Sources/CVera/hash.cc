// The core's SHA-256 for the downloader.
#include "settings.h"

#include <cstring>
#include <new>

#include "CVera.h"
#include "sdk/sha256.h"

struct cvera_hash {
  vera::Sha256 state;
};

cvera_hash* cvera_hash_create() { return new (std::nothrow) cvera_hash; }

void cvera_hash_update(cvera_hash* hash, const void* data, size_t size) {
  hash->state.Update(data, size);
}

void cvera_hash_finish(cvera_hash* hash, char digits[65]) {
  std::strcpy(digits, hash->state.HexDigest().c_str());
  delete hash;
}
