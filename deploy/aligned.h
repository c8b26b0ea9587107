// SPDX-License-Identifier: GPL-2.0-only
// Arrays that begin at the border of a cache line.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace tempermd::native {

template <typename T> struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};

  LineAllocator() = default;
  template <typename U> LineAllocator(const LineAllocator<U> &) {}

  T *allocate(std::size_t n) { return static_cast<T *>(::operator new(n * sizeof(T), line)); }
  void deallocate(T *memory, std::size_t) { ::operator delete(memory, line); }
  template <typename U> bool operator==(const LineAllocator<U> &) const { return true; }
};

template <typename T> using Array = std::vector<T, LineAllocator<T>>;

}    // namespace tempermd::native
