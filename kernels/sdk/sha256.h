// SHA-256 (FIPS 180-4).
#ifndef VERA_SDK_SHA256_H_
#define VERA_SDK_SHA256_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace vera {

// Of the bytes given to Update, in any portions.
class Sha256 {
 public:
  void Update(const void* data, size_t size);
  // 64 lower-case digits; the object is used up.
  std::string HexDigest();

 private:
  std::array<uint32_t, 8> state_ = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                                    0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
  std::array<uint8_t, 64> rest_ = {};  // what does not fill a block yet
  size_t rest_size_ = 0;
  uint64_t total_ = 0;
};

// The blocks of 64 bytes at `data` are mixed into the state; the first in plain C++, the second with
// the machine's instructions where it has them.
void MixBlocksPlain(uint32_t* state, const uint8_t* data, size_t blocks);
void MixBlocks(uint32_t* state, const uint8_t* data, size_t blocks);

}  // namespace vera

#endif  // VERA_SDK_SHA256_H_
