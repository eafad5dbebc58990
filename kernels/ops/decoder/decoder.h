// The decoder's work as tables of functions, one table for each instruction set in the library.
#ifndef VERA_OPS_DECODER_DECODER_H_
#define VERA_OPS_DECODER_DECODER_H_

#include <cstddef>

#include "cpu/pool.h"
#include "vera/decoder.h"

namespace vera {

// Memory that grows and stays. Its functions are compiled for any machine: a std::vector in the files
// that are compiled for one instruction set could leave that set's code where all others find it.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // At least `bytes` bytes, aligned to 64; what was there is lost when it grows. Null where the
  // system has no more.
  void* Grow(size_t bytes);

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// The threads of all calls of the decoder and of the vision tower.
Pool& SharedPool();

// The memory of all these calls; whoever holds the pool holds it.
Buffer& DecoderMemory();

// The arguments were checked; the pool is held by the caller. False where memory is short.
struct DecoderFunctions {
  const char* name;
  bool (*layer)(Pool& pool, const vera_decoder_shape& shape, const vera_decoder_layer& layer,
                float* x, int32_t tokens, int32_t start);
  bool (*matrix)(Pool& pool, const vera_matrix& matrix, const float* x, int32_t tokens,
                 const int32_t* blocks, int32_t block_count, float* out);
  void (*rows)(const vera_matrix& matrix, const int64_t* ids, int32_t count, float* out);
  void (*quantize)(Pool& pool, const float* matrix, int64_t rows, int32_t columns, int32_t group,
                   const float* importance, int8_t* codes, uint16_t* scales);
  void (*norm)(const float* x, const float* weight, int size, float eps, float* out);
};

// The fastest table that this machine can run.
const DecoderFunctions& Decoder();

// All tables that this machine can run, the fastest first; for tests.
const DecoderFunctions* const* AllDecoders(int* count);

}  // namespace vera

#endif  // VERA_OPS_DECODER_DECODER_H_
