#ifndef VERA_CPU_GUARD_H_
#define VERA_CPU_GUARD_H_

#include <new>

#include "vera/vera.h"

namespace vera {

// What a C function does, so that no exception leaves the library. `work` returns a vera_status.
template <typename Work>
vera_status Guarded(Work work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return VERA_STATUS_OUT_OF_MEMORY;
  } catch (...) {
    return VERA_STATUS_INTERNAL_ERROR;
  }
}

}  // namespace vera

#endif  // VERA_CPU_GUARD_H_
