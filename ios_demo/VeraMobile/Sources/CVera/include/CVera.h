/* What Swift sees of libvera: its C ABI and a few functions that Swift cannot write itself. */
#ifndef CVERA_H_
#define CVERA_H_

#include "vera/retoucher.h"
#include "vera/vera.h"
#include "vera/vera_shader.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sets a flag that another thread reads as `volatile`. */
static inline void cvera_set_flag(int32_t *flag, int32_t value) {
  __atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

static inline int32_t cvera_get_flag(const int32_t *flag) {
  return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

/* SHA-256 of a stream of bytes; NULL where there is no memory. */
typedef struct cvera_hash cvera_hash;
cvera_hash *cvera_hash_create(void);
void cvera_hash_update(cvera_hash *hash, const void *data, size_t size);
/* Writes 64 lower-case digits and a 0, and frees the hash. */
void cvera_hash_finish(cvera_hash *hash, char digits[65]);

#ifdef __cplusplus
}
#endif

#endif /* CVERA_H_ */
