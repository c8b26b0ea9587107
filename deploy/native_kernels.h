// SPDX-License-Identifier: GPL-2.0-only
// The inner loops of the native engine: plain arrays in and out, one build for each kind of
// processor.
//
// A row holds blocks, one for each irrep or path: (2l + 1, channels), the channels padded with zeros
// to a multiple of `kPad` bytes, so that every loop runs over whole vectors.
#pragma once

#include <cstdint>

namespace tempermd::native {

constexpr int kMaxL = 3;
constexpr int kPad = 32;    // bytes

template <typename T> constexpr int padded(int channels)
{
  constexpr int lanes = kPad / static_cast<int>(sizeof(T));
  return (channels + lanes - 1) / lanes * lanes;
}

// A coupling of a feature block (l of the source) with a harmonic to a message block.
struct Path {
  int l_source, l_harmonic, l_message;
  int channels;     // padded
  int source;       // offset in a row of sources
  int message;      // offset in a row of sums
  int weight;       // offset in a row of radial weights
  int pairs;        // offset in a row of pair coefficients
  int harmonic;     // offset in a row of harmonics
  int triples;      // offset in the layer's coupling coefficients
};

// Edges that share their centre (forward) or their source (backward).
template <typename T> struct Edges {
  int count;
  const T *const *rows;      // forward: features of the source; backward: gradient of the sums
  const T *const *radial;    // values, slopes, next knot's values, its slopes: (4, n_weights)
  const T *blend;            // (count, 8) what to multiply these four by: value, derivative
  int n_weights;
  const T *pairs;            // (count, n_pairs) see pair_coefficients
  int n_pairs;
};

// Gradients of one source and its edges.
template <typename T> struct EdgeGradients {
  const T *source;           // features of the source
  T *d_source;               // added to
  // for each edge a vector register's width of partial sums, added to
  T *d_harmonics;            // (count, n_harmonics, kLanes)
  T *d_distance;             // (count, kLanes)
  int n_harmonics;
  const T *triples;          // coupling coefficients of the layer
};

// Partial sums lie this many numbers apart, whatever the processor's registers.
template <typename T> constexpr int kLanes = 64 / static_cast<int>(sizeof(T));

// y[r] = (y[r] or 0) + x[r] W with W (depth, columns), for each of n_rows rows
template <typename T> struct SmallProduct {
  int n_rows, depth, columns;    // columns: padded
  const T *const *x;
  const T *matrix;
  T *const *y;
  bool add;
};

enum class Activation { silu, tanh, abs, ssp };

// sums[message block of the path] += sum over edges of weight * (source x harmonic)
template <typename T> using Forward = void (*)(const Path &, const Edges<T> &, T *sums);
template <typename T>
using Backward = void (*)(const Path &, const Edges<T> &, const EdgeGradients<T> &);

template <typename T> struct Kernels {
  Forward<T> (*forward_of)(const Path &);    // null for l that there is no kernel for
  Backward<T> (*backward_of)(const Path &);
  void (*multiply)(const SmallProduct<T> &);
  // value[c] = factor * act(x[c]), slope[c] = its derivative; n is padded, slope may be null
  void (*activate)(Activation, T factor, int n, const T *x, T *value, T *slope);
  // sums[n] += sum of the kLanes numbers of the n-th row
  void (*add_lanes)(int n, const T *rows, T *sums);
};

// Of this processor.
template <typename T> const Kernels<T> &kernels();

// What kernels() has chosen: "x86-64-v4", "x86-64-v3" or "baseline".
const char *kernels_name();

// Which products of components couple: i of the source, j of the harmonic, k of the message, each
// from -l to l. Real harmonics of order m couple by sums and differences of |m|, and an even or odd
// number of sine-like ones (m < 0) by the parity of the sum of the three l.
constexpr bool couples(int l1, int i, int l2, int j, int l3, int k)
{
  const int m1 = i - l1, m2 = j - l2, m3 = k - l3;
  const int a = m1 < 0 ? -m1 : m1, b = m2 < 0 ? -m2 : m2, c = m3 < 0 ? -m3 : m3;
  const bool orders = c == a + b || c == a - b || c == b - a;
  return orders && ((m1 < 0) + (m2 < 0) + (m3 < 0)) % 2 == (l1 + l2 + l3) % 2;
}

constexpr bool pair_couples(int l1, int i, int l2, int l3, int k)
{
  for (int j = 0; j <= 2 * l2; ++j)
    if (couples(l1, i, l2, j, l3, k)) return true;
  return false;
}

constexpr int count_pairs(int l1, int l2, int l3)
{
  int count = 0;
  for (int i = 0; i <= 2 * l1; ++i)
    for (int k = 0; k <= 2 * l3; ++k) count += pair_couples(l1, i, l2, l3, k);
  return count;
}

constexpr int count_triples(int l1, int l2, int l3)
{
  int count = 0;
  for (int i = 0; i <= 2 * l1; ++i)
    for (int k = 0; k <= 2 * l3; ++k)
      for (int j = 0; j <= 2 * l2; ++j) count += couples(l1, i, l2, j, l3, k);
  return count;
}

}    // namespace tempermd::native
