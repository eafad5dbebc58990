// Who plans next.
#ifndef VERA_SDK_QUEUE_H_
#define VERA_SDK_QUEUE_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <thread>

namespace vera {

// One at a time, in the order of asking.
class Queue {
 public:
  // A turn lasts as long as this object. Fails with CANCELLED when `cancel` is set while waiting
  // (seen within 10 ms), INVALID_ARGUMENT on a thread that has the turn already: it would wait for
  // itself.
  class Turn {
   public:
    Turn(Queue* queue, const volatile int32_t* cancel);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Queue& queue_;
  };

 private:
  void Next();

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t asked_ = 0, serving_ = 0;
  std::set<uint64_t> gone_;  // those who no longer wait
  std::thread::id owner_;
};

}  // namespace vera

#endif  // VERA_SDK_QUEUE_H_
