#include "sdk/queue.h"

#include <chrono>

#include "cpu/check.h"
#include "sdk/failure.h"

namespace vera {

Queue::Turn::Turn(Queue* queue, const volatile int32_t* cancel) : queue_(*queue) {
  std::unique_lock<std::mutex> lock(queue_.mutex_);
  if (queue_.owner_ == std::this_thread::get_id()) {
    Fail(VERA_STATUS_INVALID_ARGUMENT,
         "A plan cannot be made from within a plan's own function: return from it first.");
  }
  const uint64_t ticket = queue_.asked_++;
  while (queue_.serving_ != ticket) {
    if (cancel == nullptr) {
      queue_.changed_.wait(lock);
      continue;
    }
    if (IsCancelled(cancel)) {
      queue_.gone_.insert(ticket);
      Fail(VERA_STATUS_CANCELLED, "The plan was cancelled before its turn.");
    }
    queue_.changed_.wait_until(lock,
                               std::chrono::system_clock::now() + std::chrono::milliseconds(10));
  }
  queue_.owner_ = std::this_thread::get_id();
}

Queue::Turn::~Turn() {
  const std::lock_guard<std::mutex> lock(queue_.mutex_);
  queue_.owner_ = std::thread::id();
  queue_.Next();
}

void Queue::Next() {
  ++serving_;
  while (gone_.erase(serving_) != 0) ++serving_;
  changed_.notify_all();
}

}  // namespace vera
