// vera_planner on a PlannerBridge, and plans.
#include <cstdio>
#include <memory>
#include <mutex>
#include <new>

#include "jni_util.h"

using namespace vera_jni;

namespace {

// A retoucher with the Kotlin planner behind it. The library calls the planner on threads that
// called from Java, so each has a JNIEnv.
struct Retoucher {
  JavaVM* vm = nullptr;
  jobject bridge = nullptr;
  jmethodID encode_image, embed, step, head, encode_reference, bake, release, message;
  vera_bundle_info info = {};
  vera_retoucher* retoucher = nullptr;

  JNIEnv* Env() const {
    void* env = nullptr;
    vm->GetEnv(&env, JNI_VERSION_1_6);
    return static_cast<JNIEnv*>(env);
  }
};

// Direct buffers around the library's arrays, local references that die with the call.
class Call {
 public:
  Call(void* context, vera_error* error)
      : self_(*static_cast<Retoucher*>(context)), env_(self_.Env()), error_(error) {
    framed_ = env_ != nullptr && env_->PushLocalFrame(16) == 0;
  }
  ~Call() {
    if (framed_) env_->PopLocalFrame(nullptr);
  }
  const Retoucher& self() const { return self_; }

  jobject Buffer(const void* data, int64_t bytes) {
    return framed_ && data != nullptr ? env_->NewDirectByteBuffer(const_cast<void*>(data), bytes)
                                      : nullptr;
  }
  jobject Floats(const float* data, int64_t count) { return Buffer(data, count * 4); }

  template <typename... Values>
  vera_status Run(jmethodID method, Values... values) {
    if (!framed_ || env_->ExceptionCheck()) return VERA_STATUS_OUT_OF_MEMORY;
    const vera_status status = env_->CallIntMethod(self_.bridge, method, values...);
    if (env_->ExceptionCheck()) {  // the bridge catches all but the unforeseen
      env_->ExceptionClear();
      return VERA_STATUS_INTERNAL_ERROR;
    }
    if (status != VERA_STATUS_OK) ReadMessage();
    return status;
  }

 private:
  void ReadMessage() {
    jobject bytes = env_->CallObjectMethod(self_.bridge, self_.message);
    if (env_->ExceptionCheck()) {
      env_->ExceptionClear();
      return;
    }
    jbyteArray text = static_cast<jbyteArray>(bytes);
    const jsize size = env_->GetArrayLength(text);
    const jsize most = VERA_MESSAGE_BYTES - 1;
    const jsize kept = size < most ? size : most;
    env_->GetByteArrayRegion(text, 0, kept, reinterpret_cast<jbyte*>(error_->message));
    jsize end = kept;
    if (kept < size) {  // cut at a whole character
      while (end > 0 && (static_cast<unsigned char>(error_->message[end - 1]) & 0xC0) == 0x80) end--;
      if (end > 0) end--;
    }
    error_->message[end] = 0;
  }

  const Retoucher& self_;
  JNIEnv* env_;
  vera_error* error_;
  bool framed_ = false;
};

vera_status EncodeImage(void* context, const float* pixels, float* tokens, vera_error* error) {
  Call call(context, error);
  const vera_bundle_info& info = call.self().info;
  const int64_t side = info.image_size;
  return call.Run(call.self().encode_image, call.Floats(pixels, 3 * side * side),
                  call.Floats(tokens, int64_t{info.image_tokens} * info.hidden_size));
}

vera_status Embed(void* context, const int64_t* ids, int32_t count, float* embeds,
                  vera_error* error) {
  Call call(context, error);
  return call.Run(call.self().embed, call.Buffer(ids, int64_t{count} * 8),
                  call.Floats(embeds, int64_t{count} * call.self().info.hidden_size));
}

vera_status Step(void* context, const float* embeds, int32_t count, int32_t start,
                 vera_wanted_logits wanted, float* logits, float* hidden, vera_error* error) {
  Call call(context, error);
  const vera_bundle_info& info = call.self().info;
  return call.Run(call.self().step, call.Floats(embeds, int64_t{count} * info.hidden_size),
                  static_cast<jint>(start), static_cast<jint>(wanted),
                  call.Floats(logits, info.vocab_size), call.Floats(hidden, info.hidden_size));
}

vera_status Head(void* context, const float* hidden, float* latents, vera_error* error) {
  Call call(context, error);
  const vera_bundle_info& info = call.self().info;
  return call.Run(call.self().head, call.Floats(hidden, int64_t{3} * info.hidden_size),
                  call.Floats(latents, int64_t{3} * info.latent_size));
}

vera_status EncodeReference(void* context, const float* before, const float* after, float* latents,
                            vera_error* error) {
  Call call(context, error);
  const int64_t side = call.self().info.reference_size;
  return call.Run(call.self().encode_reference, call.Floats(before, 3 * side * side),
                  call.Floats(after, 3 * side * side),
                  call.Floats(latents, int64_t{3} * call.self().info.latent_size));
}

vera_status Bake(void* context, const float* colours, int64_t count, const float* latents,
                 float* out, vera_error* error) {
  Call call(context, error);
  return call.Run(call.self().bake, call.Floats(colours, 3 * count),
                  call.Floats(latents, int64_t{3} * call.self().info.latent_size),
                  call.Floats(out, 3 * count));
}

void Release(void* context, vera_stage stage) {
  const Retoucher& self = *static_cast<Retoucher*>(context);
  JNIEnv* env = self.Env();
  if (env == nullptr || env->ExceptionCheck()) return;
  env->CallVoidMethod(self.bridge, self.release, static_cast<jint>(stage));
  if (env->ExceptionCheck()) env->ExceptionClear();
}

// Finds the methods of the bridge; false with an exception where one is missing.
bool Bind(JNIEnv* env, jobject bridge, Retoucher* self, bool* reads, bool* bakes) {
  jclass type = env->GetObjectClass(bridge);
  const struct {
    jmethodID* method;
    const char* name;
    const char* signature;
  } methods[] = {
      {&self->encode_image, "encodeImage", "(Ljava/nio/ByteBuffer;Ljava/nio/ByteBuffer;)I"},
      {&self->embed, "embed", "(Ljava/nio/ByteBuffer;Ljava/nio/ByteBuffer;)I"},
      {&self->step, "step",
       "(Ljava/nio/ByteBuffer;IILjava/nio/ByteBuffer;Ljava/nio/ByteBuffer;)I"},
      {&self->head, "head", "(Ljava/nio/ByteBuffer;Ljava/nio/ByteBuffer;)I"},
      {&self->encode_reference, "encodeReference",
       "(Ljava/nio/ByteBuffer;Ljava/nio/ByteBuffer;Ljava/nio/ByteBuffer;)I"},
      {&self->bake, "bake", "(Ljava/nio/ByteBuffer;Ljava/nio/ByteBuffer;Ljava/nio/ByteBuffer;)I"},
      {&self->release, "release", "(I)V"},
      {&self->message, "message", "()[B"},
  };
  for (const auto& one : methods) {
    *one.method = env->GetMethodID(type, one.name, one.signature);
    if (*one.method == nullptr) return false;
  }
  jmethodID reads_references = env->GetMethodID(type, "readsReferences", "()Z");
  jmethodID can_bake = env->GetMethodID(type, "bakes", "()Z");
  if (reads_references == nullptr || can_bake == nullptr) return false;
  *reads = env->CallBooleanMethod(bridge, reads_references);
  *bakes = !env->ExceptionCheck() && env->CallBooleanMethod(bridge, can_bake);
  return !env->ExceptionCheck();
}

void Destroy(JNIEnv* env, Retoucher* self) {
  vera_retoucher_destroy(self->retoucher);
  if (self->bridge != nullptr) env->DeleteGlobalRef(self->bridge);
  delete self;
}

// Callbacks of a plan, all on the planning thread. After an exception of Kotlin no further one is
// called, and the planner's next call ends the plan.
struct Sink {
  JNIEnv* env;
  jobject sink;
  jmethodID on_stage, on_text, on_look;

  bool Silent() const { return env->ExceptionCheck(); }
};

void OnStage(void* user, vera_stage stage, float done) {
  const Sink& sink = *static_cast<Sink*>(user);
  if (sink.Silent()) return;
  sink.env->CallVoidMethod(sink.sink, sink.on_stage, static_cast<jint>(stage), done);
  sink.env->ExceptionCheck();  // left for the planner's next call
}

void OnText(void* user, const char* piece) {
  const Sink& sink = *static_cast<Sink*>(user);
  if (sink.Silent()) return;
  jbyteArray bytes = Bytes(sink.env, piece);
  if (bytes == nullptr) return;
  sink.env->CallVoidMethod(sink.sink, sink.on_text, bytes);
  sink.env->ExceptionCheck();  // left for the planner's next call
  sink.env->DeleteLocalRef(bytes);
}

void OnLook(void* user, const vera_plan_result* result) {
  const Sink& sink = *static_cast<Sink*>(user);
  if (sink.Silent()) return;
  sink.env->CallVoidMethod(sink.sink, sink.on_look, Handle(result));
  sink.env->ExceptionCheck();  // left for the end of the plan
}

bool BindSink(JNIEnv* env, jobject object, Sink* sink) {
  jclass type = env->GetObjectClass(object);
  sink->env = env;
  sink->sink = object;
  sink->on_stage = env->GetMethodID(type, "onStage", "(IF)V");
  if (sink->on_stage != nullptr) sink->on_text = env->GetMethodID(type, "onText", "([B)V");
  if (sink->on_stage != nullptr && sink->on_text != nullptr) {
    sink->on_look = env->GetMethodID(type, "onLook", "(J)V");
  }
  return !env->ExceptionCheck();
}

// The two pictures of a reference; true where there are none.
bool Pair(JNIEnv* env, jobjectArray facts, jobjectArray pictures, vera_frame* pair) {
  if (facts == nullptr || pictures == nullptr) return true;
  for (int i = 0; i < 2; i++) {
    jobject fact = env->GetObjectArrayElement(facts, i);
    if (env->ExceptionCheck()) return false;
    jobject pixels = env->GetObjectArrayElement(pictures, i);
    if (env->ExceptionCheck() ||
        !Frame(env, static_cast<jlongArray>(fact), pixels, &pair[i])) {
      return false;
    }
  }
  return true;
}

}  // namespace

VERA_JNI(jlong, retoucherCreate)(JNIEnv* env, jclass, jlong bundle, jobject bridge) {
  Retoucher* self = new (std::nothrow) Retoucher();
  if (self == nullptr) {
    Throw(env, VERA_STATUS_OUT_OF_MEMORY, nullptr);
    return 0;
  }
  bool reads = false, bakes = false;
  self->info.struct_size = sizeof(self->info);
  if (env->GetJavaVM(&self->vm) != 0 || !Bind(env, bridge, self, &reads, &bakes) ||
      !Check(env, {}, vera_bundle_get_info(Pointer<vera_bundle>(bundle), &self->info))) {
    Throw(env, VERA_STATUS_INTERNAL_ERROR, nullptr);
    Destroy(env, self);
    return 0;
  }
  self->bridge = env->NewGlobalRef(bridge);
  vera_planner planner = {};
  planner.struct_size = sizeof(planner);
  planner.context = self;
  planner.encode_image = EncodeImage;
  planner.embed = Embed;
  planner.step = Step;
  planner.head = Head;
  planner.encode_reference = reads ? EncodeReference : nullptr;
  planner.bake = bakes ? Bake : nullptr;
  planner.release = Release;
  vera_error error = {};
  const vera_status status =
      vera_retoucher_create(Pointer<vera_bundle>(bundle), &planner, &self->retoucher, &error);
  if (Check(env, error, status)) return Handle(self);
  Destroy(env, self);
  return 0;
}

VERA_JNI(void, retoucherDestroy)(JNIEnv* env, jclass, jlong retoucher) {
  Destroy(env, Pointer<Retoucher>(retoucher));
}

VERA_JNI(void, retoucherUnload)(JNIEnv* env, jclass, jlong retoucher) {
  Check(env, {}, vera_retoucher_unload(Pointer<Retoucher>(retoucher)->retoucher));
}

VERA_JNI(jlong, plan)
(JNIEnv* env, jclass, jlong retoucher, jlongArray facts, jobject pixels, jint space, jint kind,
 jbyteArray wish, jfloatArray sliders, jobjectArray pair_facts, jobjectArray pictures,
 jlongArray settings, jfloatArray draw, jobject cancel, jobject listener) {
  bool valid = true;
  std::string words;
  if (wish != nullptr) words = Text(env, wish, &valid);
  vera_frame photo, pair[2];
  Sink sink = {};
  if (!valid || !BindSink(env, listener, &sink) ||
      (facts != nullptr && !Frame(env, facts, pixels, &photo)) ||
      !Pair(env, pair_facts, pictures, pair)) {
    return 0;
  }
  float values[VERA_SLIDER_COUNT] = {}, drawn[2];
  jlong numbers[3];
  if (sliders != nullptr) env->GetFloatArrayRegion(sliders, 0, VERA_SLIDER_COUNT, values);
  if (!env->ExceptionCheck()) env->GetLongArrayRegion(settings, 0, 3, numbers);
  if (!env->ExceptionCheck()) env->GetFloatArrayRegion(draw, 0, 2, drawn);
  if (env->ExceptionCheck()) return 0;

  vera_task task = {};
  task.struct_size = sizeof(task);
  task.kind = kind;
  task.wish = wish == nullptr ? nullptr : words.c_str();
  task.sliders = sliders == nullptr ? nullptr : values;
  task.before = pair_facts == nullptr ? nullptr : &pair[0];
  task.after = pair_facts == nullptr ? nullptr : &pair[1];
  vera_plan_options options = {};
  options.struct_size = sizeof(options);
  options.instant = numbers[0] != 0;
  options.max_tokens = static_cast<int32_t>(numbers[1]);
  options.seed = static_cast<uint64_t>(numbers[2]);
  options.temperature = drawn[0];
  options.top_p = drawn[1];
  options.cancel = Cancel(env, cancel);
  options.user = &sink;
  options.on_stage = OnStage;
  options.on_text = OnText;
  options.on_look = OnLook;
  vera_plan_result* result = nullptr;
  vera_error error = {};
  const vera_status status =
      vera_plan(Pointer<Retoucher>(retoucher)->retoucher, facts == nullptr ? nullptr : &photo,
                space, &task, &options, &result, &error);
  if (Check(env, error, status)) return Handle(result);
  vera_plan_result_destroy(result);
  return 0;
}

VERA_JNI(void, bake)
(JNIEnv* env, jclass, jlong retoucher, jlong result, jfloatArray strengths, jint lut_size,
 jint threads, jobject cancel, jobject curves, jobject lut) {
  float values[3];
  env->GetFloatArrayRegion(strengths, 0, 3, values);
  if (env->ExceptionCheck()) return;
  const int64_t nodes = int64_t{lut_size} * lut_size * lut_size;
  void* curve_memory = Direct(env, curves, int64_t{3} * VERA_CURVE_KNOTS * 4);
  if (curve_memory == nullptr) return;
  void* lut_memory = Direct(env, lut, nodes * 12);
  if (lut_memory == nullptr) return;
  vera_error error = {};
  const vera_status status =
      vera_bake_look(Pointer<Retoucher>(retoucher)->retoucher, Pointer<vera_plan_result>(result),
                     values, lut_size, threads, Cancel(env, cancel),
                     static_cast<float*>(curve_memory), static_cast<float*>(lut_memory), &error);
  Check(env, error, status);
}

VERA_JNI(void, saveCube)
(JNIEnv* env, jclass, jlong retoucher, jlong result, jfloatArray strengths, jfloat strength,
 jint lut_size, jbyteArray file) {
  bool valid = true;
  const std::string path = Text(env, file, &valid);
  float values[3];
  if (valid) env->GetFloatArrayRegion(strengths, 0, 3, values);
  if (env->ExceptionCheck()) return;
  vera_error error = {};
  const vera_status status =
      vera_save_cube(Pointer<Retoucher>(retoucher)->retoucher, Pointer<vera_plan_result>(result),
                     values, strength, lut_size, path.c_str(), &error);
  Check(env, error, status);
}
