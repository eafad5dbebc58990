// The C ABI for apps on a bundle and a planner without a model.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "sdk/fake_bundle.h"
#include "vera/retoucher.h"

namespace vera {
namespace {

using Clock = std::chrono::steady_clock;
constexpr float kFull[3] = {1, 1, 1};

vera_status Open(const FakeBundle& folder, vera_bundle** bundle, vera_error* error,
                 const int32_t* cancel = nullptr) {
  return vera_bundle_open(folder.root().string().c_str(), cancel, nullptr, nullptr, bundle, error);
}

// A bundle, a planner and a retoucher on both.
struct Fixture {
  Fixture() {
    EXPECT_EQ(Open(folder, &bundle, &error), VERA_STATUS_OK) << error.message;
    const vera_planner table = planner.Table();
    EXPECT_EQ(vera_retoucher_create(bundle, &table, &retoucher, &error), VERA_STATUS_OK)
        << error.message;
  }
  ~Fixture() {
    EXPECT_EQ(planner.overlaps, 0);
    vera_retoucher_destroy(retoucher);
    vera_bundle_close(bundle);
  }

  vera_status Plan(vera_task_kind kind, const vera_plan_options* options,
                   vera_plan_result** result, vera_error* to) {
    vera_task task = {};
    task.struct_size = sizeof(task);
    task.kind = kind;
    task.wish = "warm and bright";
    task.sliders = sliders;
    return vera_plan(retoucher, &frame, VERA_COLOR_SPACE_SRGB, &task, options, result, to);
  }

  FakeBundle folder;
  FakePlanner planner;
  vera_bundle* bundle = nullptr;
  vera_retoucher* retoucher = nullptr;
  vera_error error = {};
  float sliders[VERA_SLIDER_COUNT] = {10, 0, -33};
  std::vector<uint8_t> pixels = std::vector<uint8_t>(100 * 80 * 3, 90);
  vera_frame frame = {sizeof(vera_frame), VERA_PIXEL_FORMAT_RGB8, 0, 0, 0, 100, 80,
                      {pixels.data(), nullptr, nullptr}, {300, 0, 0}};
};

vera_plan_options Options() {
  vera_plan_options options = {};
  options.struct_size = sizeof(options);
  options.temperature = options.top_p = -1;
  options.max_tokens = -1;
  return options;
}

// ---- Bundle ----

TEST(Bundle, SaysWhatTheManifestSays) {
  const Fixture f;
  vera_bundle_info info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(vera_bundle_get_info(f.bundle, &info), VERA_STATUS_OK);
  EXPECT_EQ(info.hidden_size, kFakeHidden);
  EXPECT_EQ(info.image_tokens, 1);
  EXPECT_EQ(info.prefill_tokens, 16);
  EXPECT_EQ(info.reference_size, 0);
  EXPECT_EQ(info.file_count, 2);
  EXPECT_STREQ(vera_bundle_text(f.bundle, "family"), "vera-nano");
  EXPECT_EQ(vera_bundle_text(f.bundle, "colour"), nullptr);
  char path[4096];
  const char* method = nullptr;
  vera_error error;
  EXPECT_EQ(vera_bundle_program(f.bundle, "embed", path, sizeof(path), &method, &error), 0);
  EXPECT_STREQ(method, "embed");
  EXPECT_EQ(std::filesystem::path(path).filename(), "decoder.pte");
  EXPECT_EQ(vera_bundle_program(f.bundle, "head", path, sizeof(path), &method, &error),
            VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(error.message, "decoder, tokenizer"), nullptr) << error.message;
  EXPECT_EQ(vera_bundle_program(f.bundle, "decoder", path, 3, &method, &error),
            VERA_STATUS_INVALID_ARGUMENT);
}

TEST(Bundle, AChangedFileIsFoundAlsoAfterOpening) {
  const Fixture f;
  f.folder.Store("decoder.pte", std::string(3000, 'e'));
  char path[4096];
  vera_error error;
  EXPECT_EQ(vera_bundle_program(f.bundle, "decoder", path, sizeof(path), nullptr, &error),
            VERA_STATUS_BUNDLE_ERROR);
  vera_bundle* again = nullptr;
  EXPECT_EQ(Open(f.folder, &again, &error), VERA_STATUS_BUNDLE_ERROR);
  EXPECT_EQ(again, nullptr);
}

TEST(Bundle, NothingOutsideOfTheFolderIsOpened) {
  FakeBundle folder;
  const auto secret = folder.root().parent_path() / (folder.root().filename().string() + ".txt");
  std::ofstream(secret) << std::string(3000, 'd');
  vera_bundle* bundle = nullptr;
  vera_error error;
  const std::string outside = "../" + secret.filename().string();
  for (const std::string& path : {outside, secret.string(), std::string("a/../../x"),
                                  std::string("c:\\x"), std::string(""), std::string(".")}) {
    folder.manifest["files"]["decoder"]["path"] = path;
    folder.Write();
    EXPECT_EQ(Open(folder, &bundle, &error), VERA_STATUS_BUNDLE_ERROR) << path;
  }
  std::filesystem::create_symlink(secret, folder.root() / "link.pte");
  folder.manifest["files"]["decoder"]["path"] = "link.pte";
  folder.Write();
  EXPECT_EQ(Open(folder, &bundle, &error), VERA_STATUS_BUNDLE_ERROR);
  EXPECT_NE(std::strstr(error.message, "link out of the bundle"), nullptr) << error.message;
  std::filesystem::remove(secret);
}

TEST(Bundle, ProgressCountsBytesAndCancelStops) {
  FakeBundle folder;
  folder.AddFile("vision", "vision.pte", std::string(5 << 20, 'v'), "executorch");
  folder.Write();
  struct State {
    int64_t done = 0, total = 0;
    int32_t cancel = 0;
    bool stop = false;
  } state;
  const auto progress = [](void* user, int64_t done, int64_t total) {
    State* s = static_cast<State*>(user);
    EXPECT_GE(done, s->done);
    s->done = done;
    s->total = total;
    if (s->stop && done > 1 << 20) s->cancel = 1;
  };
  vera_bundle* bundle = nullptr;
  const std::string root = folder.root().string();
  ASSERT_EQ(vera_bundle_open(root.c_str(), &state.cancel, progress, &state, &bundle, nullptr), 0);
  vera_bundle_close(bundle);
  EXPECT_EQ(state.done, state.total);
  state = State();
  state.stop = true;
  EXPECT_EQ(vera_bundle_open(root.c_str(), &state.cancel, progress, &state, &bundle, nullptr),
            VERA_STATUS_CANCELLED);
  EXPECT_LT(state.done, state.total);
  EXPECT_EQ(bundle, nullptr);
}

// ---- Plan ----

TEST(Plan, TheSameInputsGiveTheSameLook) {
  Fixture f;
  std::string first;
  for (int i = 0; i < 3; ++i) {
    f.planner.steps = 0;
    vera_plan_options options = Options();
    options.temperature = 1.2f;
    options.seed = 42;
    vera_plan_result* look = nullptr;
    ASSERT_EQ(f.Plan(VERA_TASK_STYLE, &options, &look, &f.error), VERA_STATUS_OK)
        << f.error.message;
    int32_t count = 0;
    vera_plan_result_tokens(look, &count);
    EXPECT_EQ(count, 11);  // of the 12 steps the first is a part of the prompt
    EXPECT_GT(vera_plan_result_stage_ms(look, VERA_STAGE_PREFILL), 0.0);
    char json[4096];
    size_t needed = 0;
    ASSERT_EQ(vera_plan_result_to_json(look, kFull, json, sizeof(json), &needed), VERA_STATUS_OK);
    EXPECT_EQ(std::strlen(json) + 1, needed);
    if (i == 0) first = json;
    EXPECT_EQ(first, json);
    vera_plan_result_destroy(look);
  }
}

struct Events {
  std::string text, order;
  float done = 0;
  vera_plan_result* copy = nullptr;
};

vera_plan_options Watching(Events* events) {
  vera_plan_options options = Options();
  options.user = events;
  options.on_stage = [](void* user, vera_stage, float done) {
    Events* e = static_cast<Events*>(user);
    EXPECT_GE(done, e->done);
    e->done = done;
  };
  options.on_text = [](void* user, const char* piece) {
    static_cast<Events*>(user)->text += piece;
    static_cast<Events*>(user)->order += 't';
  };
  options.on_look = [](void* user, const vera_plan_result* look) {
    static_cast<Events*>(user)->order += 'l';
    static_cast<Events*>(user)->copy = vera_plan_result_copy(look);
  };
  return options;
}

TEST(Plan, AllPiecesAreTheText) {
  for (const int32_t instant : {0, 1}) {
    Fixture f;
    Events events;
    vera_plan_options options = Watching(&events);
    options.instant = instant;
    vera_plan_result* look = nullptr;
    ASSERT_EQ(f.Plan(VERA_TASK_AUTO, &options, &look, &f.error), VERA_STATUS_OK);
    EXPECT_EQ(events.text, vera_plan_result_text(look));
    EXPECT_FALSE(events.text.empty());
    EXPECT_EQ(events.order.find('l'), instant != 0 ? 0 : events.order.size() - 1) << events.order;
    EXPECT_EQ(events.done, 1.0f);
    int32_t size = 0;
    const float* latents = vera_plan_result_latents(look, &size);
    const float* early = vera_plan_result_latents(events.copy, &size);
    EXPECT_TRUE(std::equal(latents, latents + 3 * size, early));
    EXPECT_EQ(std::string(vera_plan_result_text(events.copy)).empty(), instant != 0);
    vera_plan_result_destroy(look);
    vera_plan_result_destroy(events.copy);
  }
}

TEST(Plan, SlidersNeedNoPhoto) {
  Fixture f;
  vera_task task = {sizeof(vera_task), VERA_TASK_PARAM, 0, nullptr, f.sliders, nullptr, nullptr};
  vera_plan_result* look = nullptr;
  EXPECT_EQ(vera_plan(f.retoucher, nullptr, 0, &task, nullptr, &look, &f.error), VERA_STATUS_OK);
  EXPECT_EQ(f.planner.images, 0);
  vera_plan_result_destroy(look);
  f.sliders[3] = 101;
  EXPECT_EQ(vera_plan(f.retoucher, nullptr, 0, &task, nullptr, &look, &f.error),
            VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(f.error.message, "Shadows2012"), nullptr) << f.error.message;
}

TEST(Plan, RefusesWhatIsNotAllowed) {
  Fixture f;
  vera_plan_result* look = nullptr;
  const auto refused = [&](vera_task task, vera_plan_options options) {
    const vera_status status =
        vera_plan(f.retoucher, &f.frame, 0, &task, &options, &look, &f.error);
    EXPECT_EQ(look, nullptr);
    return status == VERA_STATUS_INVALID_ARGUMENT && f.error.message[0] != 0;
  };
  const vera_task automatic = {sizeof(vera_task), VERA_TASK_AUTO, 0, nullptr, nullptr, nullptr,
                               nullptr};
  vera_task task = automatic;
  vera_plan_options options = Options();
  options.temperature = 2.5f;
  EXPECT_TRUE(refused(task, options));
  options = Options();
  options.top_p = 0.0f;
  EXPECT_TRUE(refused(task, options));
  options = Options();
  options.seed = uint64_t{1} << 63;
  EXPECT_TRUE(refused(task, options));
  options = Options();
  task.kind = 7;
  EXPECT_TRUE(refused(task, options));
  task.kind = VERA_TASK_STYLE;
  EXPECT_TRUE(refused(task, options));
  task.wish = " \n";
  EXPECT_TRUE(refused(task, options));
  task.wish = "\xff";
  EXPECT_TRUE(refused(task, options));
  f.frame.width = 0;
  EXPECT_TRUE(refused(automatic, options));
  EXPECT_EQ(vera_plan(nullptr, nullptr, 0, nullptr, nullptr, &look, nullptr),
            VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(f.planner.steps, 0);
}

TEST(Plan, ReferencesNeedAnEncoder) {
  Fixture f;
  vera_task task = {sizeof(vera_task), VERA_TASK_REFERENCE, 0, nullptr, nullptr, &f.frame, &f.frame};
  vera_plan_result* look = nullptr;
  EXPECT_EQ(vera_plan(f.retoucher, nullptr, 0, &task, nullptr, &look, &f.error),
            VERA_STATUS_UNSUPPORTED_FORMAT);
}

TEST(Plan, TellsWhatThePlannerSaid) {
  Fixture f;
  f.planner.step_fails = VERA_STATUS_OUT_OF_MEMORY;
  vera_plan_result* look = nullptr;
  EXPECT_EQ(f.Plan(VERA_TASK_AUTO, nullptr, &look, &f.error), VERA_STATUS_OUT_OF_MEMORY);
  EXPECT_STREQ(f.error.message, "no memory for step");
  f.planner.step_fails = VERA_STATUS_OK;
  f.planner.step_is_nan = true;
  EXPECT_EQ(f.Plan(VERA_TASK_AUTO, nullptr, &look, &f.error), VERA_STATUS_MODEL_ERROR);
  f.planner.step_is_nan = false;
  EXPECT_EQ(f.Plan(VERA_TASK_AUTO, nullptr, &look, &f.error), VERA_STATUS_OK);
  vera_plan_result_destroy(look);
}

TEST(Plan, ATableWithoutAFunctionIsRefused) {
  Fixture f;
  vera_planner table = f.planner.Table();
  table.bake = nullptr;  // this bundle has no renderer's file
  vera_retoucher* other = nullptr;
  EXPECT_EQ(vera_retoucher_create(f.bundle, &table, &other, &f.error),
            VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(other, nullptr);
}

// ---- Threads ----

TEST(Threads, CallersQueue) {
  Fixture f;
  f.planner.answer_tokens = 4000;
  std::vector<std::thread> callers;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      vera_plan_options options = Options();
      options.max_tokens = 5;
      vera_plan_result* look = nullptr;
      good += f.Plan(VERA_TASK_STYLE, &options, &look, nullptr) == VERA_STATUS_OK;
      float curves[3 * VERA_CURVE_KNOTS];
      std::vector<float> lut(17 * 17 * 17 * 3);
      good += vera_bake_look(f.retoucher, look, kFull, 17, 1, nullptr, curves, lut.data(),
                             nullptr) == VERA_STATUS_OK;
      vera_plan_result_destroy(look);
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(good, 8);
}

TEST(Threads, CancelIsSeenWithin50Ms) {
  Fixture f;
  f.planner.answer_tokens = 4000;
  f.planner.step_time = std::chrono::milliseconds(5);
  int32_t cancel = 0;
  vera_status status = VERA_STATUS_OK;
  std::thread caller([&] {
    vera_plan_options options = Options();
    options.cancel = &cancel;
    options.max_tokens = 4096;
    vera_plan_result* look = nullptr;
    status = f.Plan(VERA_TASK_AUTO, &options, &look, nullptr);
    EXPECT_EQ(look, nullptr);
  });
  while (f.planner.steps < 5) std::this_thread::yield();
  const auto begin = Clock::now();
  __atomic_store_n(&cancel, 1, __ATOMIC_RELAXED);
  caller.join();
  const std::chrono::duration<double, std::milli> spent = Clock::now() - begin;
  EXPECT_EQ(status, VERA_STATUS_CANCELLED);
  EXPECT_LT(spent.count(), 50.0);  // measured 5: one step
}

TEST(Threads, WhoWaitsCanGiveUp) {
  Fixture f;
  f.planner.answer_tokens = 4000;
  f.planner.step_time = std::chrono::milliseconds(2);
  int32_t first_cancel = 0, second_cancel = 0;
  const auto plan = [&](int32_t* cancel, vera_status* status) {
    vera_plan_options options = Options();
    options.cancel = cancel;
    vera_plan_result* look = nullptr;
    *status = f.Plan(VERA_TASK_AUTO, &options, &look, nullptr);
    vera_plan_result_destroy(look);
  };
  vera_status first_status = 0, second_status = 0, unloaded = -1;
  std::thread first([&] { plan(&first_cancel, &first_status); });
  while (f.planner.steps < 2) std::this_thread::yield();
  std::thread second([&] { plan(&second_cancel, &second_status); });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::thread unload([&] { unloaded = vera_retoucher_unload(f.retoucher); });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const auto begin = Clock::now();
  __atomic_store_n(&second_cancel, 1, __ATOMIC_RELAXED);
  second.join();
  const std::chrono::duration<double, std::milli> spent = Clock::now() - begin;
  EXPECT_EQ(second_status, VERA_STATUS_CANCELLED);
  EXPECT_LT(spent.count(), 50.0);
  __atomic_store_n(&first_cancel, 1, __ATOMIC_RELAXED);
  first.join();
  unload.join();
  EXPECT_EQ(unloaded, VERA_STATUS_OK);
  vera_plan_options options = Options();
  options.max_tokens = 2;
  vera_plan_result* look = nullptr;
  EXPECT_EQ(f.Plan(VERA_TASK_AUTO, &options, &look, nullptr), VERA_STATUS_OK);
  vera_plan_result_destroy(look);
}

TEST(Threads, APlanWithinAPlanIsRefused) {
  Fixture f;
  struct Inner {
    Fixture* f;
    vera_status status = -1;
  } inner{&f};
  vera_plan_options options = Options();
  options.user = &inner;
  options.on_look = [](void* user, const vera_plan_result* look) {
    Inner* in = static_cast<Inner*>(user);
    vera_plan_result* other = nullptr;
    in->status = in->f->Plan(VERA_TASK_AUTO, nullptr, &other, nullptr);
    float curves[3 * VERA_CURVE_KNOTS];  // a bake is allowed
    std::vector<float> lut(17 * 17 * 17 * 3);
    EXPECT_EQ(vera_bake_look(in->f->retoucher, look, kFull, 17, 0, nullptr, curves, lut.data(),
                             nullptr),
              VERA_STATUS_OK);
  };
  vera_plan_result* look = nullptr;
  EXPECT_EQ(f.Plan(VERA_TASK_AUTO, &options, &look, nullptr), VERA_STATUS_OK);
  EXPECT_EQ(inner.status, VERA_STATUS_INVALID_ARGUMENT);
  vera_plan_result_destroy(look);
}

// ---- Bake ----

TEST(Bake, WritesWhatItIsAsked) {
  Fixture f;
  vera_plan_result* look = nullptr;
  ASSERT_EQ(f.Plan(VERA_TASK_AUTO, nullptr, &look, nullptr), VERA_STATUS_OK);
  float curves[3 * VERA_CURVE_KNOTS];
  std::vector<float> lut(17 * 17 * 17 * 3);
  const auto bake = [&](const float* strengths, int32_t size, int32_t threads) {
    return vera_bake_look(f.retoucher, look, strengths, size, threads, nullptr, curves, lut.data(),
                          &f.error);
  };
  EXPECT_EQ(bake(kFull, 17, 0), VERA_STATUS_OK);
  EXPECT_EQ(lut[0], 0.0f);
  EXPECT_EQ(lut.back(), 1.0f);
  const float wrong[3] = {1, 1.6f, 1};
  EXPECT_EQ(bake(wrong, 17, 0), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(bake(kFull, 16, 0), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(bake(kFull, 17, 65), VERA_STATUS_INVALID_ARGUMENT);
  const int32_t cancel = 1;
  EXPECT_EQ(vera_bake_look(f.retoucher, look, kFull, 17, 0, &cancel, curves, lut.data(), nullptr),
            VERA_STATUS_CANCELLED);
  const std::string path = (f.folder.root() / "look.cube").string();
  EXPECT_EQ(vera_save_cube(f.retoucher, look, kFull, 1.0f, 17, path.c_str(), &f.error), 0);
  std::string word;
  std::ifstream(path) >> word;
  EXPECT_EQ(word, "TITLE");
  EXPECT_EQ(vera_save_cube(f.retoucher, look, kFull, 2.0f, 17, path.c_str(), &f.error),
            VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(vera_save_cube(f.retoucher, look, kFull, 1, 17, "/nowhere/at/all.cube", &f.error),
            VERA_STATUS_FILE_ERROR);
  vera_plan_result_destroy(look);
}

}  // namespace
}  // namespace vera
