// Highway's own code, from dependencies.sh. Linux links the system's library instead.
#if defined(__APPLE__)
#include "hwy/abort.cc"
#include "hwy/aligned_allocator.cc"
#include "hwy/per_target.cc"
#include "hwy/targets.cc"
#endif
