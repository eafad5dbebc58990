#include "ops/decoder/decoder.h"

#include <cmath>
#include <cstdlib>
#include <mutex>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace vera {

// VERA_DECODER_SETS: X(set) for each instruction set that the build compiled, the fastest first.
#define X(set)                          \
  namespace set {                       \
  extern const DecoderFunctions kDecoder; \
  }
VERA_DECODER_SETS
#undef X

namespace {

// one of these for each set that cmake/decoder.cmake may name
[[maybe_unused]] bool Runs_plain() { return true; }
[[maybe_unused]] bool Runs_neon() { return true; }
#if defined(__x86_64__) || defined(__i386__)
[[maybe_unused]] bool Runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
[[maybe_unused]] bool Runs_avx512vnni() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#elif defined(__aarch64__)
[[maybe_unused]] bool Runs_neon_dotprod() {
#if defined(__APPLE__)
  return true;  // from the A11 on, older than any phone with iOS 18
#elif defined(__linux__)
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProduct) != 0;
#else
  return false;
#endif
}
#endif

struct Table {
  const DecoderFunctions* usable[4];
  int count = 0;

  Table() {
#define X(set) \
  if (Runs_##set()) usable[count++] = &set::kDecoder;
    VERA_DECODER_SETS
#undef X
  }
};

const Table& Usable() {
  static const Table table;
  return table;
}

bool IsFinite(float x) { return std::isfinite(x); }

bool MatrixIsValid(const vera_matrix& m) {
  if (m.weights == nullptr || m.scales == nullptr || m.rows < 1 || m.columns < 32) return false;
  if (m.columns % 32 != 0 || m.columns > 1 << 16 || m.rows > 1 << 24) return false;
  if (m.bits == 8) return m.group == 0;
  return m.bits == 4 && m.group >= 32 && m.group % 32 == 0 && m.columns % m.group == 0;
}

bool ShapeIsValid(const vera_decoder_shape& s) {
  const bool sizes = s.hidden >= 32 && s.heads >= 1 && s.kv_heads >= 1 && s.inner >= 32 &&
                     s.heads <= 1024 && s.hidden <= 1 << 16 && s.inner <= 1 << 16;
  return sizes && s.heads % s.kv_heads == 0 && s.head_dim >= 32 && s.head_dim <= 256 &&
         s.head_dim % 32 == 0 && s.max_length >= 16 && s.max_length % 16 == 0 &&
         s.max_length <= 1 << 20 && IsFinite(s.rms_eps) && s.rms_eps > 0 && s.cosines != nullptr &&
         s.sines != nullptr;
}

bool HasShape(const vera_matrix& m, int rows, int columns) {
  return MatrixIsValid(m) && m.rows == rows && m.columns == columns;
}

bool LayerIsValid(const vera_decoder_shape& s, const vera_decoder_layer& l) {
  const int queries = s.heads * s.head_dim, row = queries + 2 * s.kv_heads * s.head_dim;
  return HasShape(l.qkv, row, s.hidden) && HasShape(l.output, s.hidden, queries) &&
         HasShape(l.gate_up, 2 * s.inner, s.hidden) && HasShape(l.down, s.hidden, s.inner) &&
         l.attention_norm != nullptr && l.mlp_norm != nullptr && l.qkv_bias != nullptr &&
         l.keys != nullptr && l.values != nullptr;
}

bool AllFinite(const float* x, size_t count) {
  float zero = 0;
  for (size_t i = 0; i < count; ++i) zero += x[i] * 0;
  return zero == 0;
}

}  // namespace

Buffer::~Buffer() { std::free(data_); }

void* Buffer::Grow(size_t bytes) {
  if (bytes <= size_) return data_;
  std::free(data_);
  size_ = (bytes + 63) / 64 * 64;
  // Android has aligned_alloc from API 28 on.
  if (posix_memalign(&data_, 64, size_) != 0) {
    data_ = nullptr;
    size_ = 0;
  }
  return data_;
}

Pool& SharedPool() {
  static Pool* pool = new Pool;  // never destroyed: its threads may outlive static objects
  return *pool;
}

Buffer& DecoderMemory() {
  static Buffer* buffer = new Buffer;
  return *buffer;
}

const DecoderFunctions& Decoder() { return *Usable().usable[0]; }

const DecoderFunctions* const* AllDecoders(int* count) {
  *count = Usable().count;
  return Usable().usable;
}

}  // namespace vera

extern "C" {

vera_status vera_decoder_layer_run(const vera_decoder_shape* shape,
                                   const vera_decoder_layer* layer, float* x, int32_t tokens,
                                   int32_t start) {
  if (shape == nullptr || layer == nullptr || x == nullptr || tokens < 1 || start < 0 ||
      !vera::ShapeIsValid(*shape) || tokens > shape->max_length ||
      start > shape->max_length - tokens || !vera::LayerIsValid(*shape, *layer) ||
      !vera::AllFinite(x, static_cast<size_t>(tokens) * shape->hidden)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  vera::Pool& pool = vera::SharedPool();
  const std::lock_guard<std::mutex> lock(pool.Owner());
  return vera::Decoder().layer(pool, *shape, *layer, x, tokens, start) ? VERA_STATUS_OK
                                                                       : VERA_STATUS_OUT_OF_MEMORY;
}

vera_status vera_matrix_run(const vera_matrix* matrix, const float* x, int32_t tokens,
                            const int32_t* blocks, int32_t block_count, float* out) {
  if (matrix == nullptr || x == nullptr || out == nullptr || tokens < 1 ||
      !vera::MatrixIsValid(*matrix) || (blocks != nullptr && block_count < 1) ||
      !vera::AllFinite(x, static_cast<size_t>(tokens) * matrix->columns)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  for (int32_t i = 0; blocks != nullptr && i < block_count; ++i) {
    if (blocks[i] < 0 || blocks[i] >= (matrix->rows + 15) / 16) return VERA_STATUS_INVALID_ARGUMENT;
  }
  vera::Pool& pool = vera::SharedPool();
  const std::lock_guard<std::mutex> lock(pool.Owner());
  return vera::Decoder().matrix(pool, *matrix, x, tokens, blocks, block_count, out)
             ? VERA_STATUS_OK
             : VERA_STATUS_OUT_OF_MEMORY;
}

vera_status vera_matrix_rows(const vera_matrix* matrix, const int64_t* ids, int32_t count,
                             float* out) {
  if (matrix == nullptr || ids == nullptr || out == nullptr || count < 1 ||
      !vera::MatrixIsValid(*matrix)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  for (int32_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= matrix->rows) return VERA_STATUS_INVALID_ARGUMENT;
  }
  vera::Decoder().rows(*matrix, ids, count, out);
  return VERA_STATUS_OK;
}

vera_status vera_quantize_groups(const float* matrix, int64_t rows, int32_t columns, int32_t group,
                                 const float* importance, int8_t* codes, uint16_t* scales) {
  if (matrix == nullptr || codes == nullptr || scales == nullptr || rows < 1 || columns < 32 ||
      group < 32 || group % 32 != 0 || columns % group != 0 || rows > 1 << 24 ||
      columns > 1 << 16 || !vera::AllFinite(matrix, static_cast<size_t>(rows) * columns) ||
      (importance != nullptr && !vera::AllFinite(importance, columns))) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  vera::Pool& pool = vera::SharedPool();
  const std::lock_guard<std::mutex> lock(pool.Owner());
  vera::Decoder().quantize(pool, matrix, rows, columns, group, importance, codes, scales);
  return VERA_STATUS_OK;
}

vera_status vera_rms_norm(const float* x, const float* weight, int32_t size, float eps, float* out) {
  if (x == nullptr || weight == nullptr || out == nullptr || size < 16 || size % 16 != 0 ||
      !(eps > 0) || !vera::AllFinite(x, size)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  vera::Decoder().norm(x, weight, size, eps, out);
  return VERA_STATUS_OK;
}

vera_status vera_set_decoder_threads(int32_t threads) {
  if (threads < 0 || threads > 64) return VERA_STATUS_INVALID_ARGUMENT;
  vera::SharedPool().SetThreads(threads);
  return VERA_STATUS_OK;
}

const char* vera_decoder_instructions(void) { return vera::Decoder().name; }

}  // extern "C"
