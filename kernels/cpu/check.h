// What the C ABI accepts. Each function is false (or INVALID_ARGUMENT) for what vera.h forbids.
#ifndef VERA_CPU_CHECK_H_
#define VERA_CPU_CHECK_H_

#include <cstddef>
#include <cstdint>

#include "ops/render/formats.h"
#include "vera/vera.h"

namespace vera {

// Copies a caller's struct of another age: what it lacks becomes 0, what only it has must be 0.
bool CopyStruct(const void* from, size_t min_size, size_t size, void* to);

// Whether the caller wants the work to stop. Another thread may write it at any time.
inline bool IsCancelled(const volatile int32_t* cancel) {
  return cancel != nullptr && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0;
}

bool ReadOptions(const vera_render_options* from, vera_render_options* to);
bool ReadLook(const vera_look* from, vera_look* to);
// A look whose LUT lies elsewhere: NULL and of type 0, but with its size.
bool ReadCurves(const vera_look* from, vera_look* to);
bool ReadFrame(const vera_frame* from, vera_frame* to, FormatInfo* info);

// Whether formats and options fit each other and the images.
bool FramesFit(const vera_frame& src, const FormatInfo& src_info, const vera_frame& dst,
               const FormatInfo& dst_info, const vera_render_options& options);

// True if the pixels are the same in both or if none is shared, and no two planes of dst share
// one. Rows of equal stride may lie between each other: two halves of one canvas.
bool OverlapIsAllowed(const vera_frame& src, const FormatInfo& src_info, const vera_frame& dst,
                      const FormatInfo& dst_info);

}  // namespace vera

#endif  // VERA_CPU_CHECK_H_
