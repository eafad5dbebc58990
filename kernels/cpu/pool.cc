#include "cpu/pool.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace vera {
namespace {

// Long enough to bridge the gap between two pieces of work, short enough to keep a phone cool.
constexpr auto kSpin = std::chrono::microseconds(60);
constexpr int kMostThreads = 8;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or until the time is over; whether it is done.
template <class Done>
bool Spin(const Done& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

}  // namespace

Pool::~Pool() { Stop(); }

void Pool::SetThreads(int threads) { wanted_.store(threads, std::memory_order_relaxed); }

void Pool::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  stop_.store(false);
}

void Pool::Start() {
  const int wanted = wanted_.load(std::memory_order_relaxed);
  if (wanted == started_) return;
  Stop();
  started_ = wanted;
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int count = std::clamp(wanted == 0 ? cores : wanted, 1, kMostThreads);
  const uint64_t now = round_.load();
  for (int i = 1; i < count; ++i) {
    try {
      threads_.emplace_back(&Pool::Loop, this, now);
    } catch (const std::system_error&) {
      break;  // the others do its share
    }
  }
}

int Pool::Threads() {
  Start();
  return static_cast<int>(threads_.size()) + 1;
}

void Pool::Run(int64_t tasks, Work work, void* context) {
  Start();
  if (threads_.empty() || tasks <= 1) {
    for (int64_t task = 0; task < tasks; ++task) work(context, task);
    return;
  }
  work_ = work;
  context_ = context;
  tasks_ = tasks;
  next_.store(0);
  const uint64_t round = round_.load() + 1;
  open_.store(round);
  round_.store(round);
  if (sleeping_.load() != 0) {
    // under the lock, so that a thread on its way to sleep is not missed
    const std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  TakeTasks();
  // a helper that comes too late finds the round closed; one that is inside is waited for
  open_.store(0);
  for (int i = 0; active_.load() != 0; ++i) {
    if (i < 2000) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void Pool::TakeTasks() {
  for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) {
    work_(context_, task);
  }
}

void Pool::Loop(uint64_t seen) {
  while (true) {
    const auto is_due = [&] { return round_.load() != seen || stop_.load(); };
    if (!Spin(is_due)) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, is_due);
      sleeping_.fetch_sub(1);
    }
    if (stop_.load()) return;
    seen = round_.load();
    active_.fetch_add(1);
    if (open_.load() == seen) TakeTasks();
    active_.fetch_sub(1);
  }
}

}  // namespace vera
