// Runs the threads of a group on one thread of the host, one after the other from barrier to
// barrier.
#ifndef VERA_METAL_SHIM_THREADGROUP_H_
#define VERA_METAL_SHIM_THREADGROUP_H_

#include <ucontext.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

namespace metal {

class ThreadGroup {
 public:
  explicit ThreadGroup(unsigned threads) : fibers_(threads) {
    for (Fiber& fiber : fibers_) fiber.stack.reset(new char[kStackBytes]);
  }

  // Calls body(i) for each thread i; in reverse order between barriers, if asked.
  void Run(bool reverse, const std::function<void(unsigned)>& body) {
    Current() = this;
    body_ = &body;
    for (unsigned i = 0; i < fibers_.size(); ++i) Prepare(i);
    for (size_t left = fibers_.size(); left > 0;) {
      left = 0;
      for (unsigned i = 0; i < fibers_.size(); ++i) {
        running_ = reverse ? static_cast<unsigned>(fibers_.size()) - 1 - i : i;
        if (fibers_[running_].done) continue;
        swapcontext(&scheduler_, &fibers_[running_].context);
        if (!fibers_[running_].done) ++left;
      }
      // A barrier that some threads have left the kernel before is none.
      if (left != 0 && left != fibers_.size()) std::abort();
    }
    Current() = nullptr;
  }

  // threadgroup_barrier of the running thread.
  void Wait() { swapcontext(&fibers_[running_].context, &scheduler_); }

  static ThreadGroup*& Current() {
    static ThreadGroup* current = nullptr;
    return current;
  }

 private:
  static constexpr size_t kStackBytes = 64 * 1024;
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    bool done = false;
  };

  void Prepare(unsigned i) {
    Fiber& fiber = fibers_[i];
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = &scheduler_;
    makecontext(&fiber.context, &ThreadGroup::Enter, 0);
  }

  static void Enter() {
    ThreadGroup& group = *Current();
    const unsigned thread = group.running_;
    (*group.body_)(thread);
    group.fibers_[thread].done = true;
  }

  std::vector<Fiber> fibers_;
  ucontext_t scheduler_;
  const std::function<void(unsigned)>* body_ = nullptr;
  unsigned running_ = 0;
};

}  // namespace metal

#endif  // VERA_METAL_SHIM_THREADGROUP_H_
