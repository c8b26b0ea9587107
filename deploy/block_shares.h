// SPDX-License-Identifier: GPL-2.0-only
// Which thread works on which atoms.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace tempermd::native {

// Blocks of n atoms for threads. Each has a stretch of its own, so that the rows of neighbors that
// one block brought into its cache serve the next; when that is done it helps others.
class BlockShares {
 public:
  BlockShares(int64_t n, int64_t block, int n_threads) : n_(n), block_(block), shares_(n_threads)
  {
    const int64_t n_blocks = (n + block - 1) / block;
    for (int k = 0; k < n_threads; ++k) {
      shares_[k].next = n_blocks * k / n_threads * block;
      shares_[k].end = std::min(n_blocks * (k + 1) / n_threads * block, n);
    }
  }

  // The first atom of a block that is nobody else's, or n when all are taken.
  int64_t take(int thread)
  {
    for (size_t k = 0; k < shares_.size(); ++k) {
      auto &share = shares_[(thread + k) % shares_.size()];
      if (share.next >= share.end) continue;
      const int64_t first = share.next.fetch_add(block_);
      if (first < share.end) return first;
    }
    return n_;
  }

 private:
  struct alignas(64) Share {    // a cache line each
    std::atomic<int64_t> next;
    int64_t end;
  };
  const int64_t n_, block_;
  std::vector<Share> shares_;
};

}    // namespace tempermd::native
