// Takes values from the bytes of a fuzzer; zeros when there are none left.
#ifndef VERA_FUZZ_INPUT_H_
#define VERA_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vera {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  template <typename T>
  T Take() {
    T value = {};
    const size_t count = sizeof(T) < size_ ? sizeof(T) : size_;
    std::memcpy(&value, data_, count);
    data_ += count;
    size_ -= count;
    return value;
  }

  // In [low, high].
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Take<uint16_t>()) % (high - low + 1);
  }

  // True for about one byte in `of`; false when there are none left.
  bool Rarely(int of) { return size_ > 0 && Take<uint8_t>() % of == of - 1; }

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace vera

#endif  // VERA_FUZZ_INPUT_H_
