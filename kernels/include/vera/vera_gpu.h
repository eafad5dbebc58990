/* C ABI of the GPU renderer of libvera_gpu: vera_render_frame on a Vulkan device.
 *
 * Valid C11 and C++17. Vulkan is looked up when a device is opened, so the library loads and its
 * CPU functions (vera.h) run on machines without it. No C++ exception leaves the library.
 */
#ifndef VERA_VERA_GPU_H_
#define VERA_VERA_GPU_H_

#include "vera/vera.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An opened device. Calls on one vera_gpu wait for each other; different ones are independent. */
typedef struct vera_gpu vera_gpu;

/* FLOAT: all arithmetic in float32. HALF: the LUT is kept and its nodes are summed in half
 * precision, the rest is float32; results differ by up to one 8-bit code (0.002) more. */
typedef int32_t vera_gpu_precision;
enum { VERA_GPU_PRECISION_FLOAT = 0, VERA_GPU_PRECISION_HALF = 1 };

typedef struct vera_gpu_options {
  size_t struct_size; /* sizeof(vera_gpu_options) as the caller was compiled */
  /* -1: the first device that is a GPU. 0, 1, ...: that one of the system's list, which may be a
   * software renderer. */
  int32_t device_index;
  vera_gpu_precision precision;
} vera_gpu_options;

/* Opens a device and runs vera_gpu_self_test on it. *gpu is NULL unless the status is OK.
 *
 * message: NULL, or room for message_bytes bytes, where one line of English says why it failed
 *   (empty after success), cut to fit and ended by a zero.
 *
 * VERA_STATUS_INVALID_ARGUMENT for NULL pointers and values outside of the ranges above.
 * VERA_STATUS_UNSUPPORTED_FORMAT if there is no Vulkan 1.1, no such device, no half precision in
 *   its shaders where that is asked for, or if the device does not compute what the CPU does:
 *   use vera_render_frame then.
 * VERA_STATUS_OUT_OF_MEMORY, VERA_STATUS_INTERNAL_ERROR (the driver failed). */
VERA_API vera_status vera_gpu_open(const vera_gpu_options* options, vera_gpu** gpu, char* message,
                                   size_t message_bytes);

/* Renders small pictures of every format on the device and on the CPU.
 *
 * VERA_STATUS_UNSUPPORTED_FORMAT if they differ by more than one code of 8 bits, or in float by
 * more than 1e-5 (0.004 with HALF). */
VERA_API vera_status vera_gpu_self_test(vera_gpu* gpu);

/* vera_render_frame on the device: the same arguments, rules and result, but for these:
 *
 * - src and dst have the same format: RGBA8, BGRA8, RGBAF16 or RGBAF32.
 * - The result is within one code (8 bits), one step (half) or 1e-5 (float) of the reference's, not
 *   always the CPU's bytes. It does not depend on tiling.
 * - options->threads is ignored. cancel is read, and progress called, once per tile of up to
 *   1,048,576 pixels.
 *
 * VERA_STATUS_UNSUPPORTED_FORMAT for other formats; the rest as vera_render_frame. After
 * VERA_STATUS_INTERNAL_ERROR (the driver lost the device) some pixels of dst may be written and
 * the vera_gpu should be closed. */
VERA_API vera_status vera_gpu_render(vera_gpu* gpu, const vera_look* look, const vera_frame* src,
                                     const vera_frame* dst, const vera_render_options* options);

/* The driver's name of the device; valid until vera_gpu_close. NULL for NULL. */
VERA_API const char* vera_gpu_device_name(const vera_gpu* gpu);

/* Frees everything; NULL is allowed. No call may be running on it. */
VERA_API void vera_gpu_close(vera_gpu* gpu);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VERA_VERA_GPU_H_ */
