// Pixels: on the CPU and on Vulkan.
#include "jni_util.h"
#include "vera/vera_gpu.h"

using namespace vera_jni;

VERA_JNI(void, render)
(JNIEnv* env, jclass, jlong gpu, jobject curves, jobject lut, jint lut_size, jlongArray source,
 jobject source_pixels, jlongArray target, jobject target_pixels, jfloat strength, jint threads,
 jboolean extend, jobject cancel) {
  vera_frame src, dst;
  if (!Frame(env, source, source_pixels, &src) || !Frame(env, target, target_pixels, &dst)) return;
  vera_look look = {};
  look.struct_size = sizeof(look);
  look.curve_size = VERA_CURVE_KNOTS;
  look.lut_size = lut_size;
  look.curves = Direct(env, curves, int64_t{3} * VERA_CURVE_KNOTS * 4);
  if (look.curves == nullptr) return;
  look.lut = Direct(env, lut, int64_t{lut_size} * lut_size * lut_size * 12);
  if (look.lut == nullptr) return;
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  options.strength = strength;
  options.threads = threads;
  options.cancel = Cancel(env, cancel);
  options.out_of_range = extend ? VERA_OUT_OF_RANGE_EXTEND : VERA_OUT_OF_RANGE_CLAMP;
  const vera_status status =
      gpu == 0 ? vera_render_frame(&look, &src, &dst, &options)
               : vera_gpu_render(Pointer<vera_gpu>(gpu), &look, &src, &dst, &options);
  Check(env, {}, status);
}

VERA_JNI(void, preparePicture)
(JNIEnv* env, jclass, jlongArray facts, jobject pixels, jint space, jbyteArray family, jint size,
 jobject out) {
  bool valid = true;
  const std::string name = Text(env, family, &valid);
  vera_frame photo;
  if (!valid || !Frame(env, facts, pixels, &photo)) return;
  void* memory = Direct(env, out, int64_t{3} * size * size * 4);
  if (memory == nullptr) return;
  vera_error error = {};
  const vera_status status = vera_prepare_picture(&photo, space, name.c_str(), size, nullptr,
                                                  static_cast<float*>(memory), &error);
  Check(env, error, status);
}

VERA_JNI(jlong, gpuOpen)(JNIEnv* env, jclass, jint device) {
  vera_gpu_options options = {};
  options.struct_size = sizeof(options);
  options.device_index = device;
  options.precision = VERA_GPU_PRECISION_FLOAT;
  vera_gpu* gpu = nullptr;
  char message[VERA_MESSAGE_BYTES] = "";
  const vera_status status = vera_gpu_open(&options, &gpu, message, sizeof(message));
  if (status == VERA_STATUS_OK) return Handle(gpu);
  Throw(env, status, message);
  return 0;
}

VERA_JNI(jbyteArray, gpuName)(JNIEnv* env, jclass, jlong gpu) {
  return Bytes(env, vera_gpu_device_name(Pointer<vera_gpu>(gpu)));
}

VERA_JNI(jint, gpuSelfTest)(JNIEnv*, jclass, jlong gpu) {
  return vera_gpu_self_test(Pointer<vera_gpu>(gpu));
}

VERA_JNI(void, gpuClose)(JNIEnv*, jclass, jlong gpu) { vera_gpu_close(Pointer<vera_gpu>(gpu)); }
