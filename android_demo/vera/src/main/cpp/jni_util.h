// What all JNI files of libvera_jni share: errors, bytes, views of pixels.
#ifndef VERA_ANDROID_JNI_UTIL_H_
#define VERA_ANDROID_JNI_UTIL_H_

#include <jni.h>

#include <string>

#include "vera/retoucher.h"

#define VERA_JNI(type, name) \
  extern "C" JNIEXPORT type JNICALL Java_ai_vera_mobile_Native_##name

namespace vera_jni {

// Throws the VeraException of a status, unless an exception is pending.
void Throw(JNIEnv* env, vera_status status, const char* message);

// Throws where the status is not OK; whether it was OK.
bool Check(JNIEnv* env, const vera_error& error, vera_status status);

// UTF-8 bytes; sets *valid to false and throws where they hold a 0.
std::string Text(JNIEnv* env, jbyteArray bytes, bool* valid);

// NULL for NULL.
jbyteArray Bytes(JNIEnv* env, const char* text);

// The flag behind a direct buffer of 4 bytes, or NULL.
const volatile int32_t* Cancel(JNIEnv* env, jobject buffer);

// The memory of a direct buffer; NULL and an exception where it is shorter than `needed`.
void* Direct(JNIEnv* env, jobject buffer, int64_t needed);

// A view of pixels: facts are format (0..9), width, height and stride in bytes.
bool Frame(JNIEnv* env, jlongArray facts, jobject pixels, vera_frame* frame);

template <typename T>
T* Pointer(jlong handle) {
  return reinterpret_cast<T*>(static_cast<intptr_t>(handle));
}

template <typename T>
jlong Handle(T* pointer) {
  return static_cast<jlong>(reinterpret_cast<intptr_t>(pointer));
}

}  // namespace vera_jni

#endif  // VERA_ANDROID_JNI_UTIL_H_
