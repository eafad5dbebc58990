// The C ABI for apps: checks what is given, and lets no exception out.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cpu/check.h"
#include "sdk/bundle.h"
#include "sdk/cube.h"
#include "sdk/cube_reader.h"
#include "sdk/failure.h"
#include "sdk/look.h"
#include "sdk/picture.h"
#include "sdk/plan.h"
#include "sdk/prompt.h"
#include "sdk/retoucher.h"
#include "sdk/sampling.h"
#include "vera/retoucher.h"

struct vera_bundle {
  vera::Bundle bundle;
};

struct vera_retoucher {
  vera::Retoucher retoucher;
};

struct vera_cube {
  explicit vera_cube(vera::Cube read)
      : cube(std::move(read)),
        look{cube.curves.data(), cube.curve_size, cube.lut.data(), cube.lut_size} {}

  const vera::Cube cube;
  const vera_baked_look look;
};

namespace {

using vera::Fail;
using vera::Guarded;

constexpr int32_t kMaxLogits = 1 << 24;

template <typename Pointer>
void Need(Pointer pointer, const char* what) {
  if (pointer == nullptr) Fail(VERA_STATUS_INVALID_ARGUMENT, std::string(what) + " is NULL.");
}

vera_status CopyText(std::string_view text, char* buffer, size_t buffer_bytes, size_t* needed) {
  *needed = text.size() + 1;
  if (buffer == nullptr || buffer_bytes < *needed) return VERA_STATUS_INVALID_ARGUMENT;
  std::copy(text.begin(), text.end(), buffer);
  buffer[text.size()] = 0;
  return VERA_STATUS_OK;
}

void CopyIds(const std::vector<int32_t>& from, int32_t* ids, int32_t capacity, int32_t* count) {
  *count = static_cast<int32_t>(from.size());
  if (ids == nullptr || capacity < *count) {
    Fail(VERA_STATUS_INVALID_ARGUMENT, "There is room for " + std::to_string(capacity) +
                                           " token ids: " + std::to_string(*count) +
                                           " are needed.");
  }
  std::copy(from.begin(), from.end(), ids);
}

vera::Family FamilyOf(const char* name) {
  Need(name, "family");
  const std::string_view given = name;
  if (given == "vera-nano") return vera::Family::kNano;
  if (given == "vera-0.5b") return vera::Family::kChat;
  Fail(VERA_STATUS_INVALID_ARGUMENT,
       "Family " + vera::Quoted(given) + " not known: use vera-nano or vera-0.5b.");
}

}  // namespace

vera_status vera_bundle_open(const char* folder, const volatile int32_t* cancel,
                             vera_progress progress, void* user, vera_bundle** bundle,
                             vera_error* error) {
  if (bundle != nullptr) *bundle = nullptr;
  return Guarded(error, [&] {
    Need(bundle, "bundle");
    Need(folder, "folder");
    *bundle = new vera_bundle{{folder, cancel, progress, user}};
  });
}

void vera_bundle_close(vera_bundle* bundle) { delete bundle; }

vera_status vera_bundle_get_info(const vera_bundle* bundle, vera_bundle_info* info) {
  if (bundle == nullptr || info == nullptr || info->struct_size < sizeof(size_t) ||
      info->struct_size > 4096) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  const size_t given = info->struct_size;
  vera_bundle_info all = bundle->bundle.manifest().info;
  all.struct_size = given;
  std::memset(info, 0, given);
  std::memcpy(info, &all, std::min(given, sizeof(all)));
  return VERA_STATUS_OK;
}

const char* vera_bundle_text(const vera_bundle* bundle, const char* key) {
  return bundle == nullptr || key == nullptr ? nullptr : bundle->bundle.Text(key);
}

vera_status vera_bundle_program(const vera_bundle* bundle, const char* name, char* path,
                                size_t path_bytes, const char** method, vera_error* error) {
  return Guarded(error, [&] {
    Need(bundle, "bundle");
    Need(name, "name");
    const std::string found = bundle->bundle.Program(name, method).u8string();
    size_t needed = 0;
    if (CopyText(found, path, path_bytes, &needed) != VERA_STATUS_OK) {
      Fail(VERA_STATUS_INVALID_ARGUMENT, "The path has " + std::to_string(needed) +
                                             " bytes: give room for as many.");
    }
  });
}

vera_status vera_retoucher_create(const vera_bundle* bundle, const vera_planner* planner,
                                  vera_retoucher** retoucher, vera_error* error) {
  if (retoucher != nullptr) *retoucher = nullptr;
  return Guarded(error, [&] {
    Need(retoucher, "retoucher");
    Need(bundle, "bundle");
    *retoucher = new vera_retoucher{{bundle->bundle, planner}};
  });
}

void vera_retoucher_destroy(vera_retoucher* retoucher) { delete retoucher; }

const char* vera_slider_name(int32_t index) {
  return index < 0 || index >= VERA_SLIDER_COUNT ? nullptr : vera::kSliders[index];
}

vera_status vera_plan(vera_retoucher* retoucher, const vera_frame* photo, vera_color_space space,
                      const vera_task* task, const vera_plan_options* options,
                      vera_plan_result** result, vera_error* error) {
  if (result != nullptr) *result = nullptr;
  return Guarded(error, [&] {
    Need(retoucher, "retoucher");
    Need(result, "result");
    *result = new vera_plan_result(retoucher->retoucher.Plan(photo, space, task, options));
  });
}

vera_status vera_retoucher_unload(vera_retoucher* retoucher) {
  return Guarded(nullptr, [&] {
    Need(retoucher, "retoucher");
    retoucher->retoucher.Unload();
  });
}

vera_plan_result* vera_plan_result_copy(const vera_plan_result* result) {
  vera_plan_result* copy = nullptr;
  Guarded(nullptr, [&] { copy = result == nullptr ? nullptr : new vera_plan_result(*result); });
  return copy;
}

void vera_plan_result_destroy(vera_plan_result* result) { delete result; }

const char* vera_plan_result_text(const vera_plan_result* result) {
  return result == nullptr ? "" : result->text.c_str();
}

const float* vera_plan_result_latents(const vera_plan_result* result, int32_t* latent_size) {
  if (latent_size != nullptr) *latent_size = result == nullptr ? 0 : result->latent_size;
  return result == nullptr ? nullptr : result->latents.data();
}

const int32_t* vera_plan_result_tokens(const vera_plan_result* result, int32_t* count) {
  if (count != nullptr) *count = result == nullptr ? 0 : static_cast<int32_t>(result->tokens.size());
  return result == nullptr ? nullptr : result->tokens.data();
}

double vera_plan_result_stage_ms(const vera_plan_result* result, vera_stage stage) {
  return result == nullptr || stage < 0 || stage >= VERA_STAGE_COUNT ? 0.0 : result->stage_ms[stage];
}

vera_status vera_plan_result_to_json(const vera_plan_result* result, const float* strengths,
                                     char* buffer, size_t buffer_bytes, size_t* needed) {
  vera_status copied = VERA_STATUS_OK;
  const vera_status made = Guarded(nullptr, [&] {
    Need(result, "result");
    Need(needed, "needed");
    copied = CopyText(vera::LookToJson(*result, strengths), buffer, buffer_bytes, needed);
  });
  return made == VERA_STATUS_OK ? copied : made;
}

vera_status vera_plan_result_from_json(const char* json, vera_plan_result** result,
                                       float* strengths, vera_error* error) {
  if (result != nullptr) *result = nullptr;
  return Guarded(error, [&] {
    Need(json, "json");
    Need(result, "result");
    *result = new vera_plan_result(vera::LookFromJson(json, strengths));
  });
}

vera_status vera_bake_look(vera_retoucher* retoucher, const vera_plan_result* result,
                           const float* strengths, int32_t lut_size, int32_t threads,
                           const volatile int32_t* cancel, float* curves, float* lut,
                           vera_error* error) {
  return Guarded(error, [&] {
    Need(retoucher, "retoucher");
    Need(result, "result");
    retoucher->retoucher.Bake(*result, strengths, lut_size, threads, cancel, curves, lut);
  });
}

vera_status vera_save_cube(vera_retoucher* retoucher, const vera_plan_result* result,
                           const float* strengths, float strength, int32_t lut_size,
                           const char* path, vera_error* error) {
  return Guarded(error, [&] {
    Need(retoucher, "retoucher");
    Need(result, "result");
    Need(path, "path");
    vera::WriteFile(path, retoucher->retoucher.Cube(*result, strengths, strength, lut_size));
  });
}

vera_status vera_cube_open(const char* path, vera_cube** cube, vera_error* error) {
  if (cube != nullptr) *cube = nullptr;
  return Guarded(error, [&] {
    Need(cube, "cube");
    Need(path, "path");
    *cube = new vera_cube(vera::ReadCube(path));
  });
}

vera_status vera_cube_parse(const char* data, size_t bytes, vera_cube** cube, vera_error* error) {
  if (cube != nullptr) *cube = nullptr;
  return Guarded(error, [&] {
    Need(cube, "cube");
    if (bytes > 0) Need(data, "data");
    vera::CubeReader reader("line ");
    reader.Feed({data, bytes});
    *cube = new vera_cube(reader.Finish());
  });
}

void vera_cube_close(vera_cube* cube) { delete cube; }

const vera_baked_look* vera_cube_look(const vera_cube* cube) {
  return cube == nullptr ? nullptr : &cube->look;
}

const char* vera_cube_title(const vera_cube* cube) {
  return cube == nullptr ? "" : cube->cube.title.c_str();
}

vera_status vera_prepare_picture(const vera_frame* photo, vera_color_space space,
                                 const char* family, int32_t size, const volatile int32_t* cancel,
                                 float* out, vera_error* error) {
  return Guarded(error, [&] {
    vera::PreparePicture(photo, space, FamilyOf(family), size, cancel, out);
  });
}

vera_status vera_prepare_reference(const vera_frame* photo, vera_color_space space,
                                   const char* family, int32_t size,
                                   const volatile int32_t* cancel, float* out, vera_error* error) {
  return Guarded(error, [&] {
    vera::PrepareReference(photo, space, FamilyOf(family), size, cancel, out);
  });
}

vera_status vera_choose_token(const float* logits, int32_t count, float temperature, float top_p,
                              uint64_t* state, int32_t* token) {
  return Guarded(nullptr, [&] {
    Need(logits, "logits");
    Need(state, "state");
    Need(token, "token");
    const bool allowed = count > 0 && count <= kMaxLogits && temperature >= 0.0f &&
                         temperature <= 2.0f && top_p > 0.0f && top_p <= 1.0f;
    const bool numbers = allowed && std::none_of(logits, logits + count, [](float logit) {
                           return !(logit < std::numeric_limits<float>::infinity());
                         });
    if (!numbers) Fail(VERA_STATUS_INVALID_ARGUMENT, "");
    *token = vera::ChooseToken(logits, static_cast<size_t>(count), temperature, top_p, state);
  });
}

void vera_curve_points(float* points) {
  if (points == nullptr) return;
  Guarded(nullptr, [&] {
    const std::vector<float> all = vera::CurvePoints();
    std::copy(all.begin(), all.end(), points);
  });
}

vera_status vera_fit_curves(const float* colours, float* curves) {
  if (colours == nullptr || curves == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  return Guarded(nullptr, [&] { vera::FitCurves(colours, curves); });
}

vera_status vera_lattice_axes(const float* curves, int32_t size, float* axes) {
  if (curves == nullptr || axes == nullptr || size < 2 || size > 129) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  return Guarded(nullptr, [&] {
    const std::vector<float> all = vera::LatticeAxes(curves, size);
    std::copy(all.begin(), all.end(), axes);
  });
}

vera_status vera_encode_text(const vera_retoucher* retoucher, const char* text, int32_t* ids,
                             int32_t capacity, int32_t* count, vera_error* error) {
  return Guarded(error, [&] {
    Need(retoucher, "retoucher");
    Need(text, "text");
    Need(count, "count");
    CopyIds(retoucher->retoucher.vocabulary().Encode(text), ids, capacity, count);
  });
}

vera_status vera_decode_text(const vera_retoucher* retoucher, const int32_t* ids, int32_t count,
                             char* buffer, size_t buffer_bytes, size_t* needed) {
  vera_status copied = VERA_STATUS_OK;
  const vera_status decoded = Guarded(nullptr, [&] {
    Need(retoucher, "retoucher");
    Need(needed, "needed");
    if (count < 0 || (count > 0 && ids == nullptr)) Fail(VERA_STATUS_INVALID_ARGUMENT, "");
    const std::vector<int32_t> all(ids, ids + count);
    copied = CopyText(retoucher->retoucher.vocabulary().Decode(all), buffer, buffer_bytes, needed);
  });
  return decoded == VERA_STATUS_OK ? copied : decoded;
}

vera_status vera_prompt_tokens(const vera_retoucher* retoucher, const vera_task* task,
                               const float* seen, int32_t* ids, int32_t capacity, int32_t* count,
                               int32_t* image_at, float* groups, vera_error* error) {
  return Guarded(error, [&] {
    Need(retoucher, "retoucher");
    Need(count, "count");
    Need(image_at, "image_at");
    const vera_task wanted = vera::CheckedTask(task);
    const vera::Retoucher& self = retoucher->retoucher;
    if (wanted.kind == VERA_TASK_REFERENCE) {
      Fail(VERA_STATUS_INVALID_ARGUMENT, "The reference task has no prompt.");
    }
    if (wanted.kind != VERA_TASK_PARAM) Need(seen, "seen");
    const size_t side = static_cast<size_t>(self.info().image_size);
    vera::Prompt prompt = wanted.kind == VERA_TASK_PARAM
                              ? self.vocabulary().Param(wanted.sliders)
                          : wanted.kind == VERA_TASK_STYLE
                              ? self.vocabulary().Style(wanted.wish, seen, side * side)
                              : self.vocabulary().Auto(seen, side * side);
    *image_at = prompt.has_image ? static_cast<int32_t>(prompt.before.size()) : -1;
    if (groups != nullptr) std::copy(prompt.groups.begin(), prompt.groups.end(), groups);
    prompt.before.insert(prompt.before.end(), prompt.after.begin(), prompt.after.end());
    CopyIds(prompt.before, ids, capacity, count);
  });
}
