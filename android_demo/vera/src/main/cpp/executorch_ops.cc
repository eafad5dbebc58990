// libvera_executorch: the operators of the recipes android-int4 and android-int8 in the app's
// ExecuTorch. Loading it registers them (kernels/executorch/); this asks whether that went well.
#include <executorch/runtime/kernel/operator_registry.h>
#include <jni.h>

extern "C" JNIEXPORT jboolean JNICALL
Java_ai_vera_mobile_VeraOperators_registered(JNIEnv*, jclass) {
  return executorch::runtime::registry_has_op_function("vera::decoder_layer.out");
}
