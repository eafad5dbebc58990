// The C ABI for apps; see vera/retoucher.h.
#include "vera/retoucher.h"

#include <cstdio>

namespace {

vera_status NotBuilt(vera_error* error) {
  if (error != nullptr) {
    error->status = VERA_STATUS_INTERNAL_ERROR;
    std::snprintf(error->message, sizeof(error->message), "not built yet");
  }
  return VERA_STATUS_INTERNAL_ERROR;
}

}  // namespace

vera_status vera_bundle_open(const char*, const volatile int32_t*, vera_progress, void*,
                             vera_bundle** bundle, vera_error* error) {
  if (bundle != nullptr) *bundle = nullptr;
  return NotBuilt(error);
}
void vera_bundle_close(vera_bundle*) {}
vera_status vera_bundle_get_info(const vera_bundle*, vera_bundle_info*) { return NotBuilt(nullptr); }
const char* vera_bundle_text(const vera_bundle*, const char*) { return nullptr; }
vera_status vera_bundle_program(const vera_bundle*, const char*, char*, size_t, const char**,
                                vera_error* error) {
  return NotBuilt(error);
}
vera_status vera_retoucher_create(const vera_bundle*, const vera_planner*,
                                  vera_retoucher** retoucher, vera_error* error) {
  if (retoucher != nullptr) *retoucher = nullptr;
  return NotBuilt(error);
}
void vera_retoucher_destroy(vera_retoucher*) {}
const char* vera_slider_name(int32_t) { return nullptr; }
vera_status vera_plan(vera_retoucher*, const vera_frame*, vera_color_space, const vera_task*,
                      const vera_plan_options*, vera_plan_result** result, vera_error* error) {
  if (result != nullptr) *result = nullptr;
  return NotBuilt(error);
}
vera_status vera_retoucher_unload(vera_retoucher*) { return NotBuilt(nullptr); }
vera_plan_result* vera_plan_result_copy(const vera_plan_result*) { return nullptr; }
void vera_plan_result_destroy(vera_plan_result*) {}
const char* vera_plan_result_text(const vera_plan_result*) { return ""; }
const float* vera_plan_result_latents(const vera_plan_result*, int32_t* latent_size) {
  if (latent_size != nullptr) *latent_size = 0;
  return nullptr;
}
const int32_t* vera_plan_result_tokens(const vera_plan_result*, int32_t* count) {
  if (count != nullptr) *count = 0;
  return nullptr;
}
double vera_plan_result_stage_ms(const vera_plan_result*, vera_stage) { return 0.0; }
vera_status vera_plan_result_to_json(const vera_plan_result*, const float*, char*, size_t,
                                     size_t* needed) {
  if (needed != nullptr) *needed = 0;
  return NotBuilt(nullptr);
}
vera_status vera_plan_result_from_json(const char*, vera_plan_result** result, float*,
                                       vera_error* error) {
  if (result != nullptr) *result = nullptr;
  return NotBuilt(error);
}
vera_status vera_bake_look(vera_retoucher*, const vera_plan_result*, const float*, int32_t, int32_t,
                           const volatile int32_t*, float*, float*, vera_error* error) {
  return NotBuilt(error);
}
vera_status vera_save_cube(vera_retoucher*, const vera_plan_result*, const float*, float, int32_t,
                           const char*, vera_error* error) {
  return NotBuilt(error);
}
vera_status vera_prepare_picture(const vera_frame*, vera_color_space, const char*, int32_t,
                                 const volatile int32_t*, float*, vera_error* error) {
  return NotBuilt(error);
}
