// SPDX-License-Identifier: GPL-2.0-only
// The weighted tensor product of a layer, edge by edge, summed over the edges of each centre.
#pragma once

#include <cstdint>
#include <vector>

namespace tempermd {

// One product of the coupling: source channels times a harmonic times a coefficient.
struct CouplingTerm {
  int64_t source, harmonic;    // offsets in a row of sources, of harmonics
  double coefficient;
};

// message[c] = weight[c] * sum over its terms of coefficient * harmonic * source[c]
struct CouplingOutput {
  int64_t message, weight, channels;    // offsets in a row of messages, of weights
  std::vector<CouplingTerm> terms;
};

struct RowLengths {
  int64_t sources = 0, harmonics = 0, weights = 0, messages = 0;
};

// Consecutive edges and the rows that they read. T is float or double.
template <typename T> struct EdgeRange {
  int64_t n_edges;
  const int64_t *centres;      // (n,) rows of sums are counted from `first_centre`
  const int64_t *neighbors;    // (n,) rows of sources
  int64_t first_centre;
  const T *sources;            // (N, sources)
  const T *harmonics;          // (n, harmonics)
  const T *weights;            // (n, weights)
};

class EdgeProduct {
 public:
  EdgeProduct(std::vector<CouplingOutput> outputs, const RowLengths &rows);

  const RowLengths &rows() const { return rows_; }

  // sums (centres, messages) must hold zeros, or what is to be added to
  template <typename T> void forward(const EdgeRange<T> &edges, T *sums) const;

  // Adds to d_sources (N, sources); writes d_harmonics (n, harmonics) and d_weights (n, weights).
  template <typename T>
  void backward(const EdgeRange<T> &edges, const T *d_sums, T *d_sources, T *d_harmonics,
                T *d_weights) const;

 private:
  std::vector<CouplingOutput> outputs_;
  RowLengths rows_;
};

}    // namespace tempermd
