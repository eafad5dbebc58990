#include "jni_util.h"

#include <cstring>

namespace vera_jni {

void Throw(JNIEnv* env, vera_status status, const char* message) {
  if (env->ExceptionCheck()) return;
  jclass native = env->FindClass("ai/vera/mobile/Native");
  if (native == nullptr) return;
  jmethodID make = env->GetStaticMethodID(native, "failure", "(I[B)Lai/vera/mobile/VeraException;");
  if (make == nullptr) return;
  const bool empty = message == nullptr || message[0] == 0;
  jbyteArray bytes = Bytes(env, empty ? vera_status_text(status) : message);
  if (bytes == nullptr) return;
  jobject error = env->CallStaticObjectMethod(native, make, status, bytes);
  if (!env->ExceptionCheck() && error != nullptr) env->Throw(static_cast<jthrowable>(error));
}

bool Check(JNIEnv* env, const vera_error& error, vera_status status) {
  if (env->ExceptionCheck()) return false;
  if (status == VERA_STATUS_OK) return true;
  Throw(env, status, error.message);
  return false;
}

std::string Text(JNIEnv* env, jbyteArray bytes, bool* valid) {
  const jsize size = env->GetArrayLength(bytes);
  std::string text(static_cast<size_t>(size), '\0');
  env->GetByteArrayRegion(bytes, 0, size, reinterpret_cast<jbyte*>(&text[0]));
  if (text.find('\0') != std::string::npos) {
    Throw(env, VERA_STATUS_INVALID_ARGUMENT, "A text with a zero character is not allowed.");
    *valid = false;
  }
  return text;
}

jbyteArray Bytes(JNIEnv* env, const char* text) {
  if (text == nullptr) return nullptr;
  const jsize size = static_cast<jsize>(std::strlen(text));
  jbyteArray bytes = env->NewByteArray(size);
  if (bytes != nullptr) {
    env->SetByteArrayRegion(bytes, 0, size, reinterpret_cast<const jbyte*>(text));
  }
  return bytes;
}

const volatile int32_t* Cancel(JNIEnv* env, jobject buffer) {
  if (buffer == nullptr || env->GetDirectBufferCapacity(buffer) < 4) return nullptr;
  return static_cast<const volatile int32_t*>(env->GetDirectBufferAddress(buffer));
}

void* Direct(JNIEnv* env, jobject buffer, int64_t needed) {
  void* memory = buffer == nullptr ? nullptr : env->GetDirectBufferAddress(buffer);
  if (memory == nullptr || env->GetDirectBufferCapacity(buffer) < needed) {
    Throw(env, VERA_STATUS_INVALID_ARGUMENT, "A direct buffer is missing or too short.");
    return nullptr;
  }
  return memory;
}

bool Frame(JNIEnv* env, jlongArray facts, jobject pixels, vera_frame* frame) {
  static const int kPixelBytes[] = {3, 4, 6, 8, 12, 16, 4, 4, 6, 8};
  jlong values[4];
  env->GetLongArrayRegion(facts, 0, 4, values);
  if (env->ExceptionCheck()) return false;
  *frame = {};
  frame->struct_size = sizeof(*frame);
  if (values[0] < 0 || values[0] > VERA_PIXEL_FORMAT_RGBAF16 || values[1] < 1 ||
      values[1] > 65536 || values[2] < 1 || values[2] > 65536 || values[3] < 1 ||
      values[3] > INT32_MAX) {
    Throw(env, VERA_STATUS_INVALID_ARGUMENT, "A photo's format, size or stride is not allowed.");
    return false;
  }
  frame->format = static_cast<vera_pixel_format>(values[0]);
  frame->width = values[1];
  frame->height = values[2];
  frame->row_stride_bytes[0] = static_cast<ptrdiff_t>(values[3]);
  const int64_t needed = values[3] * (values[2] - 1) + values[1] * kPixelBytes[values[0]];
  frame->planes[0] = Direct(env, pixels, needed);
  return frame->planes[0] != nullptr;
}

}  // namespace vera_jni
