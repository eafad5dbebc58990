// Bundles, results (looks) and the library's lists.
#include <cstdint>
#include <new>
#include <vector>

#include "jni_util.h"

using namespace vera_jni;

namespace {

struct Progress {
  JNIEnv* env;
  jobject listener;
  jmethodID on;
  volatile int32_t failed;
};

void OnProgress(void* user, int64_t done, int64_t total) {
  Progress* progress = static_cast<Progress*>(user);
  if (progress->failed) return;
  progress->env->CallVoidMethod(progress->listener, progress->on, static_cast<jlong>(done),
                                static_cast<jlong>(total));
  if (progress->env->ExceptionCheck()) progress->failed = 1;
}

}  // namespace

VERA_JNI(jlong, bundleOpen)
(JNIEnv* env, jclass, jbyteArray folder, jobject cancel, jobject listener) {
  bool valid = true;
  const std::string path = Text(env, folder, &valid);
  if (!valid) return 0;
  Progress progress = {env, listener, nullptr, 0};
  if (listener != nullptr) {
    progress.on = env->GetMethodID(env->GetObjectClass(listener), "on", "(JJ)V");
    if (progress.on == nullptr) return 0;
  }
  vera_bundle* bundle = nullptr;
  vera_error error = {};
  const vera_status status =
      vera_bundle_open(path.c_str(), Cancel(env, cancel), listener ? OnProgress : nullptr,
                       &progress, &bundle, &error);
  if (Check(env, error, status)) return Handle(bundle);
  vera_bundle_close(bundle);
  return 0;
}

VERA_JNI(void, bundleClose)(JNIEnv*, jclass, jlong bundle) {
  vera_bundle_close(Pointer<vera_bundle>(bundle));
}

VERA_JNI(jlongArray, bundleInfo)(JNIEnv* env, jclass, jlong bundle) {
  vera_bundle_info info = {};
  info.struct_size = sizeof(info);
  const vera_status status = vera_bundle_get_info(Pointer<vera_bundle>(bundle), &info);
  if (!Check(env, {}, status)) return nullptr;
  const jlong values[] = {info.format_version, info.image_size,     info.image_tokens,
                          info.hidden_size,    info.vocab_size,     info.max_length,
                          info.prefill_tokens, info.latent_size,    info.reference_size,
                          info.file_count,     info.size_bytes};
  const jsize count = sizeof(values) / sizeof(values[0]);
  jlongArray out = env->NewLongArray(count);
  if (out != nullptr) env->SetLongArrayRegion(out, 0, count, values);
  return out;
}

VERA_JNI(jbyteArray, bundleText)(JNIEnv* env, jclass, jlong bundle, jbyteArray key) {
  bool valid = true;
  const std::string name = Text(env, key, &valid);
  if (!valid) return nullptr;
  return Bytes(env, vera_bundle_text(Pointer<vera_bundle>(bundle), name.c_str()));
}

VERA_JNI(jobjectArray, bundleProgram)(JNIEnv* env, jclass, jlong bundle, jbyteArray key) {
  bool valid = true;
  const std::string name = Text(env, key, &valid);
  if (!valid) return nullptr;
  std::string path(8192, '\0');
  const char* method = nullptr;
  vera_error error = {};
  const vera_status status =
      vera_bundle_program(Pointer<vera_bundle>(bundle), name.c_str(), &path[0], path.size(),
                          &method, &error);
  if (!Check(env, error, status)) return nullptr;
  jclass bytes = env->FindClass("[B");
  if (bytes == nullptr) return nullptr;
  jobjectArray out = env->NewObjectArray(2, bytes, nullptr);
  if (out == nullptr) return nullptr;
  jbyteArray parts[] = {Bytes(env, path.c_str()), Bytes(env, method == nullptr ? "" : method)};
  for (int i = 0; i < 2; i++) {
    if (parts[i] == nullptr) return nullptr;
    env->SetObjectArrayElement(out, i, parts[i]);
  }
  return out;
}

VERA_JNI(void, resultDestroy)(JNIEnv*, jclass, jlong result) {
  vera_plan_result_destroy(Pointer<vera_plan_result>(result));
}

VERA_JNI(jbyteArray, resultText)(JNIEnv* env, jclass, jlong result) {
  return Bytes(env, vera_plan_result_text(Pointer<vera_plan_result>(result)));
}

VERA_JNI(jfloatArray, resultLatents)(JNIEnv* env, jclass, jlong result) {
  int32_t size = 0;
  const float* latents = vera_plan_result_latents(Pointer<vera_plan_result>(result), &size);
  jfloatArray out = env->NewFloatArray(3 * size);
  if (out != nullptr) env->SetFloatArrayRegion(out, 0, 3 * size, latents);
  return out;
}

VERA_JNI(jintArray, resultTokens)(JNIEnv* env, jclass, jlong result) {
  int32_t count = 0;
  const int32_t* tokens = vera_plan_result_tokens(Pointer<vera_plan_result>(result), &count);
  jintArray out = env->NewIntArray(count);
  if (out != nullptr && count > 0) env->SetIntArrayRegion(out, 0, count, tokens);
  return out;
}

VERA_JNI(jdoubleArray, resultStagesMs)(JNIEnv* env, jclass, jlong result) {
  jdouble values[VERA_STAGE_COUNT];
  for (int32_t i = 0; i < VERA_STAGE_COUNT; i++) {
    values[i] = vera_plan_result_stage_ms(Pointer<vera_plan_result>(result), i);
  }
  jdoubleArray out = env->NewDoubleArray(VERA_STAGE_COUNT);
  if (out != nullptr) env->SetDoubleArrayRegion(out, 0, VERA_STAGE_COUNT, values);
  return out;
}

VERA_JNI(jbyteArray, resultToJson)(JNIEnv* env, jclass, jlong result, jfloatArray strengths) {
  float values[3];
  env->GetFloatArrayRegion(strengths, 0, 3, values);
  if (env->ExceptionCheck()) return nullptr;
  const vera_plan_result* look = Pointer<vera_plan_result>(result);
  size_t needed = 0;
  vera_plan_result_to_json(look, values, nullptr, 0, &needed);
  if (needed == 0) {
    Throw(env, VERA_STATUS_INVALID_ARGUMENT, "These strengths are not allowed: use 0..1.5.");
    return nullptr;
  }
  std::vector<char> text;
  try {
    text.resize(needed);
  } catch (const std::bad_alloc&) {
    Throw(env, VERA_STATUS_OUT_OF_MEMORY, nullptr);
    return nullptr;
  }
  const vera_status status =
      vera_plan_result_to_json(look, values, text.data(), text.size(), &needed);
  return Check(env, {}, status) ? Bytes(env, text.data()) : nullptr;
}

VERA_JNI(jlong, resultFromJson)(JNIEnv* env, jclass, jbyteArray json, jfloatArray strengths) {
  bool valid = true;
  const std::string text = Text(env, json, &valid);
  if (!valid) return 0;
  float values[3] = {1, 1, 1};
  vera_plan_result* result = nullptr;
  vera_error error = {};
  const vera_status status = vera_plan_result_from_json(text.c_str(), &result, values, &error);
  if (!Check(env, error, status)) return 0;
  env->SetFloatArrayRegion(strengths, 0, 3, values);
  return Handle(result);
}

VERA_JNI(jstring, sliderName)(JNIEnv* env, jclass, jint index) {
  const char* name = vera_slider_name(index);
  return name == nullptr ? nullptr : env->NewStringUTF(name);
}

VERA_JNI(jstring, version)(JNIEnv* env, jclass) { return env->NewStringUTF(vera_version()); }

VERA_JNI(jobjectArray, statusList)(JNIEnv* env, jclass) {
  static const char* const kList[] = {
#define VERA_STATUS(name, code, text) #name " " #code " " text,
#include "vera/status_list.h"
  };
  const jsize count = sizeof(kList) / sizeof(kList[0]);
  jclass string = env->FindClass("java/lang/String");
  if (string == nullptr) return nullptr;
  jobjectArray out = env->NewObjectArray(count, string, nullptr);
  for (jsize i = 0; out != nullptr && i < count; i++) {
    jstring line = env->NewStringUTF(kList[i]);
    if (line == nullptr) return nullptr;
    env->SetObjectArrayElement(out, i, line);
    env->DeleteLocalRef(line);
  }
  return out;
}
