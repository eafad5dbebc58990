#include "sdk/plan.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cpu/check.h"
#include "sdk/failure.h"
#include "sdk/sampling.h"
#include "sdk/unicode.h"

namespace vera {
namespace {

constexpr int32_t kMaxTokens = 4096;
constexpr uint64_t kMaxSeed = (uint64_t{1} << 63) - 1;
constexpr double kAspectTolerance = 0.02;
// parts of a whole plan, for its progress
constexpr float kPrepared = 0.02f, kSeen = 0.15f, kPrefilled = 0.3f, kWritten = 0.97f;

void Refuse(const std::string& message) { Fail(VERA_STATUS_INVALID_ARGUMENT, message); }

void CheckPair(const vera_frame& before, const vera_frame& after) {
  const double w1 = static_cast<double>(before.width), h1 = static_cast<double>(before.height);
  const double w2 = static_cast<double>(after.width), h2 = static_cast<double>(after.height);
  if (w1 < 1 || h1 < 1 || w2 < 1 || h2 < 1 ||
      !(std::abs(w1 * h2 / (h1 * w2) - 1) <= kAspectTolerance)) {
    Refuse("The reference pictures are " + std::to_string(before.width) + " x " +
           std::to_string(before.height) + " and " + std::to_string(after.width) + " x " +
           std::to_string(after.height) +
           ": use the same frame before and after the retouch (sizes may differ, the aspect may "
           "not).");
  }
}

}  // namespace

PlanOptions::PlanOptions(const vera_plan_options* given, const PromptFormat& format)
    : temperature(format.temperature), top_p(format.top_p), max_tokens(format.max_tokens) {
  if (given == nullptr) return;
  if (!CopyStruct(given, sizeof(read), sizeof(read), &read)) {
    Refuse("The plan's options have another size than this release knows: set struct_size.");
  }
  if (!(read.temperature < 0.0f)) temperature = read.temperature;
  if (!(read.top_p < 0.0f)) top_p = read.top_p;
  if (read.max_tokens >= 0) max_tokens = read.max_tokens;
  if (!(temperature <= 2.0f)) Refuse("The temperature is above 2: allowed are 0..2.");
  if (!(top_p > 0.0f && top_p <= 1.0f)) Refuse("top_p not allowed: use above 0 up to 1.");
  if (max_tokens > kMaxTokens) {
    Refuse("max_tokens is " + std::to_string(max_tokens) + ": allowed are 0..4096.");
  }
  if (read.seed > kMaxSeed) Refuse("The seed is above 2^63-1.");
}

vera_task CheckedTask(const vera_task* given) {
  vera_task task;
  if (!CopyStruct(given, sizeof(task), sizeof(task), &task) || task.reserved != 0) {
    Refuse("The task is missing, or of another size than this release knows: set struct_size.");
  }
  switch (task.kind) {
    case VERA_TASK_AUTO:
      break;
    case VERA_TASK_STYLE:
      if (task.wish == nullptr) Refuse("The style task lacks its wish.");
      break;
    case VERA_TASK_PARAM:
      if (task.sliders == nullptr) Refuse("The param task lacks its 38 sliders.");
      break;
    case VERA_TASK_REFERENCE:
      if (task.before == nullptr || task.after == nullptr) {
        Refuse("The reference task needs two pictures: before and after.");
      }
      break;
    default:
      Refuse("Task " + std::to_string(task.kind) + " not known: use 0..3 of vera_task_kind.");
  }
  return task;
}

Session::Session(Planner* planner, const Vocabulary& vocabulary, const vera_bundle_info& info,
                 Family family, const PlanOptions& options)
    : planner_(*planner),
      vocabulary_(vocabulary),
      info_(info),
      family_(family),
      options_(options) {
  result_.latent_size = info.latent_size;
}

vera_plan_result Session::Run(const vera_frame* photo, vera_color_space space,
                              const vera_task& task) {
  if (task.kind == VERA_TASK_REFERENCE) {
    RunPair(task);
    return std::move(result_);
  }
  std::vector<float> seen;
  const Prompt prompt = MakePrompt(photo, space, task, &seen);
  const Place place = Read(prompt, seen);
  if (options_.read.instant != 0) {
    Begin(VERA_STAGE_DECODE);
    FindLatents(RetouchStates(place), prompt);
    TellLook();
    Begin(VERA_STAGE_DECODE);
    Write(place);
    Finish();
  } else {
    Begin(VERA_STAGE_DECODE);
    FindLatents(RetouchStates(Write(place)), prompt);
    Finish();
    TellLook();
  }
  Told(VERA_STAGE_HEAD, 1.0f);
  return std::move(result_);
}

void Session::RunPair(const vera_task& task) {
  if (info_.reference_size == 0 || !planner_.has_reference()) {
    Fail(VERA_STATUS_UNSUPPORTED_FORMAT,
         "This bundle has no reference encoder: use another task, or a bundle that has one.");
  }
  CheckPair(*task.before, *task.after);
  Told(VERA_STAGE_PREPARE, 0.0f);
  Begin(VERA_STAGE_PREPARE);
  const size_t side = static_cast<size_t>(info_.reference_size);
  std::vector<float> before(3 * side * side), after(before.size());
  const auto prepare = [&](const vera_frame* picture, std::vector<float>* out) {
    PrepareReference(picture, VERA_COLOR_SPACE_SRGB, family_, info_.reference_size,
                     options_.read.cancel, out->data());
  };
  prepare(task.before, &before);
  prepare(task.after, &after);
  if (before == after) {
    Refuse("The reference is the same picture twice: give the picture before and after its "
           "retouch.");
  }
  CheckCancel(options_.read.cancel);
  Told(VERA_STAGE_REFERENCE, 0.5f);
  Begin(VERA_STAGE_REFERENCE);
  result_.latents = planner_.EncodeReference(before, after);
  End();
  planner_.Release(VERA_STAGE_REFERENCE);
  TellLook();
  Told(VERA_STAGE_REFERENCE, 1.0f);
}

Prompt Session::MakePrompt(const vera_frame* photo, vera_color_space space, const vera_task& task,
                           std::vector<float>* seen) {
  if (task.kind == VERA_TASK_PARAM) return vocabulary_.Param(task.sliders);
  Told(VERA_STAGE_PREPARE, 0.0f);
  Begin(VERA_STAGE_PREPARE);
  const size_t pixels = static_cast<size_t>(info_.image_size) * static_cast<size_t>(info_.image_size);
  seen->resize(3 * pixels);
  PreparePicture(photo, space, family_, info_.image_size, options_.read.cancel, seen->data());
  return task.kind == VERA_TASK_STYLE ? vocabulary_.Style(task.wish, seen->data(), pixels)
                                      : vocabulary_.Auto(seen->data(), pixels);
}

Session::Place Session::Read(const Prompt& prompt, const std::vector<float>& seen) {
  const auto append = [](std::vector<float>* to, const std::vector<float>& part) {
    to->insert(to->end(), part.begin(), part.end());
  };
  CheckCancel(options_.read.cancel);
  End();
  std::vector<float> embeds = planner_.Embed(prompt.before);
  if (prompt.has_image) {
    CheckCancel(options_.read.cancel);
    Told(VERA_STAGE_VISION, kPrepared);
    Begin(VERA_STAGE_VISION);
    append(&embeds, planner_.EncodeImage(seen));
    End();
    planner_.Release(VERA_STAGE_VISION);
    CheckCancel(options_.read.cancel);
    append(&embeds, planner_.Embed(prompt.after));
  }
  Told(VERA_STAGE_PREFILL, kSeen);
  Begin(VERA_STAGE_PREFILL);
  Place place;
  place.position = static_cast<int32_t>(embeds.size() / static_cast<size_t>(info_.hidden_size));
  place.state = planner_.Step(embeds, 0, VERA_LOGITS_ANSWER, options_.read.cancel);
  const int32_t left =
      info_.max_length - place.position - static_cast<int32_t>(vocabulary_.retouch().size());
  place.room = std::min(options_.max_tokens, left);
  Told(VERA_STAGE_DECODE, kPrefilled);
  return place;
}

// A retouch token ends the text, as the end of the answer does, and so do the tokens it may have.
Session::Place Session::Write(Place place) {
  uint64_t random = options_.read.seed;
  std::vector<int32_t>& tokens = result_.tokens;
  while (static_cast<int32_t>(tokens.size()) < place.room) {
    std::vector<float>& logits = place.state.logits;
    vocabulary_.RuleOut(logits.data(), logits.size());
    const int32_t token =
        ChooseToken(logits.data(), logits.size(), options_.temperature, options_.top_p, &random);
    if (vocabulary_.IsEnd(token)) break;
    tokens.push_back(token);
    Stream();
    place = After(token, place, VERA_LOGITS_ANSWER);
    const float share = static_cast<float>(tokens.size()) / static_cast<float>(place.room);
    Told(VERA_STAGE_DECODE, kPrefilled + (kWritten - kPrefilled) * share);
  }
  return place;
}

// Hidden states (3, H) that emit the retouch tokens, which follow each other unasked.
std::vector<float> Session::RetouchStates(Place place) {
  std::vector<float> hidden = place.state.hidden;
  const std::vector<int32_t>& retouch = vocabulary_.retouch();
  for (size_t i = 0; i + 1 < retouch.size(); ++i) {
    place = After(retouch[i], place, VERA_LOGITS_NONE);
    hidden.insert(hidden.end(), place.state.hidden.begin(), place.state.hidden.end());
  }
  return hidden;
}

Session::Place Session::After(int32_t token, const Place& place, vera_wanted_logits wanted) {
  CheckCancel(options_.read.cancel);
  Place next = {place.position + 1, place.room, {}};
  next.state =
      planner_.Step(planner_.Embed({token}), place.position, wanted, options_.read.cancel);
  return next;
}

void Session::FindLatents(const std::vector<float>& hidden, const Prompt& prompt) {
  CheckCancel(options_.read.cancel);
  Begin(VERA_STAGE_HEAD);
  result_.latents = planner_.Head(hidden);
  End();
  const size_t size = static_cast<size_t>(info_.latent_size);
  for (size_t i = 0; i < result_.latents.size(); ++i) {
    if (prompt.groups[i / size] != 1.0f) result_.latents[i] *= prompt.groups[i / size];
  }
}

// New whole characters: a half UTF-8 character waits for its rest, a space for the word after it.
void Session::Stream() {
  if (options_.read.on_text == nullptr) return;
  std::u32string text;
  DecodeUtf8(Strip(vocabulary_.Decode(result_.tokens)), &text);
  constexpr char32_t kHalf = 0xFFFD;
  if (text.size() <= said_ || text.back() == kHalf) return;
  options_.read.on_text(options_.read.user, EncodeUtf8(text.substr(said_)).c_str());
  said_ = text.size();
}

// The whole text; what waited for a rest that never came is streamed.
void Session::Finish() {
  End();
  result_.text = Strip(vocabulary_.Decode(result_.tokens));
  std::u32string text;
  DecodeUtf8(result_.text, &text);
  if (options_.read.on_text != nullptr && text.size() > said_) {
    options_.read.on_text(options_.read.user, EncodeUtf8(text.substr(said_)).c_str());
  }
}

void Session::TellLook() const {
  if (options_.read.on_look != nullptr) options_.read.on_look(options_.read.user, &result_);
}

void Session::Told(vera_stage stage, float done) const {
  if (options_.read.on_stage != nullptr) options_.read.on_stage(options_.read.user, stage, done);
}

void Session::Begin(vera_stage stage) {
  End();
  stage_ = stage;
  began_ = std::chrono::steady_clock::now();
}

void Session::End() {
  if (stage_ < 0) return;
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - began_;
  result_.stage_ms[stage_] += spent.count();
  stage_ = -1;
}

}  // namespace vera
