// Threads that stay: a token of the decoder has a hundred pieces of parallel work of some 50 us each,
// for which starting threads is too slow.
#ifndef VERA_CPU_POOL_H_
#define VERA_CPU_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace vera {

class Pool {
 public:
  Pool() = default;
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Threads of the next Run, the caller's included; 0: one for each core, 8 at most.
  void SetThreads(int threads);

  // How many the next Run will use.
  int Threads();

  // Calls work(context, task) once for each task in [0, tasks). One Run at a time: others wait in
  // Begin. `work` must not throw.
  using Work = void (*)(void* context, int64_t task);
  void Run(int64_t tasks, Work work, void* context);

  template <class F>
  void For(int64_t tasks, const F& function) {
    Run(tasks, [](void* f, int64_t task) { (*static_cast<const F*>(f))(task); },
        const_cast<F*>(&function));
  }

  // Held by a caller for a series of Runs.
  std::mutex& Owner() { return owner_; }

 private:
  void Start();
  void Stop();
  void Loop(uint64_t seen);
  void TakeTasks();

  std::mutex owner_;
  std::atomic<int> wanted_{0};
  int started_ = -1;
  std::vector<std::thread> threads_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> round_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int> sleeping_{0};

  Work work_ = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  std::atomic<int64_t> next_{0};
  std::atomic<uint64_t> open_{0};  // the round that takes helpers, 0 for none
  std::atomic<int> active_{0};
};

}  // namespace vera

#endif  // VERA_CPU_POOL_H_
