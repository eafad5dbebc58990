// The pictures that the model's towers see.
#ifndef VERA_SDK_PICTURE_H_
#define VERA_SDK_PICTURE_H_

#include <cstdint>

#include "vera/retoucher.h"

namespace vera {

enum class Family { kNano, kChat };

// The photo for the vision tower: out (3, size, size) float32 encoded sRGB in [0, 1].
//
// kNano, squeezed to the square:
// 1. Samples are codes of 16 bits (8-bit ones times 257).
// 2. Each axis that is much larger than `size` is averaged over boxes of floor(length / (3 size))
//    samples, at most 128; the last box may be shorter.
// 3. Lanczos (3 lobes) down the columns, then along the rows, in float32, in ascending order.
// 4. Rounded to codes of 16 bits, converted to sRGB, rounded again, divided by 65535.
//
// kChat: 8-bit codes; Pillow's Lanczos to a short edge of 512 (a long edge of at most 4096);
// converted to sRGB; centred on black; Pillow's bicubic to `size`.
//
// Fails with INVALID_ARGUMENT, CANCELLED. Threads: one for each core; the bytes do not depend on it.
void PreparePicture(const vera_frame* photo, vera_color_space space, Family family, int32_t size,
                    const volatile int32_t* cancel, float* out);

// The same for the reference encoder: kNano as above, kChat squeezed by Pillow's bilinear filter.
void PrepareReference(const vera_frame* photo, vera_color_space space, Family family, int32_t size,
                      const volatile int32_t* cancel, float* out);

}  // namespace vera

#endif  // VERA_SDK_PICTURE_H_
