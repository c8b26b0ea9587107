// SPDX-License-Identifier: GPL-2.0-only
// The weighted tensor product of a layer: channels are contiguous and run in vector registers.
#include "edge_product.h"

#include <algorithm>

// one file for every machine: the loader picks the widest instructions that the processor has
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define TEMPERMD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define TEMPERMD_INLINE inline __attribute__((always_inline))
#else
#define TEMPERMD_CLONES
#define TEMPERMD_INLINE inline
#endif

namespace tempermd {

namespace {

constexpr int64_t kTile = 64;    // channels that are worked on at once, in registers and L1

template <typename T>
TEMPERMD_INLINE void output_forward(const CouplingOutput &output, const T *x, const T *y,
                                    const T *w, T *sum)
{
  for (int64_t first = 0; first < output.channels; first += kTile) {
    const int64_t n = std::min(kTile, output.channels - first);
    T product[kTile] = {};
    for (const auto &term : output.terms) {
      const T scale = static_cast<T>(term.coefficient) * y[term.harmonic];
      const T *source = x + term.source + first;
#pragma omp simd
      for (int64_t c = 0; c < n; ++c) product[c] += scale * source[c];
    }
    const T *weight = w + output.weight + first;
    T *message = sum + output.message + first;
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) message[c] += weight[c] * product[c];
  }
}

template <typename T>
TEMPERMD_INLINE void output_backward(const CouplingOutput &output, const T *x, const T *y,
                                     const T *w, const T *d_sum, T *d_x, T *d_y, T *d_w)
{
  for (int64_t first = 0; first < output.channels; first += kTile) {
    const int64_t n = std::min(kTile, output.channels - first);
    const T *weight = w + output.weight + first;
    const T *d_message = d_sum + output.message + first;
    T product[kTile] = {}, weighted[kTile];
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) weighted[c] = weight[c] * d_message[c];
    for (const auto &term : output.terms) {
      const T coefficient = static_cast<T>(term.coefficient);
      const T scale = coefficient * y[term.harmonic];
      const T *source = x + term.source + first;
      T *d_source = d_x + term.source + first;
      T overlap = 0;
#pragma omp simd reduction(+ : overlap)
      for (int64_t c = 0; c < n; ++c) {
        product[c] += scale * source[c];
        d_source[c] += scale * weighted[c];
        overlap += weighted[c] * source[c];
      }
      d_y[term.harmonic] += coefficient * overlap;
    }
    T *d_weight = d_w + output.weight + first;
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) d_weight[c] += d_message[c] * product[c];
  }
}

template <typename T>
TEMPERMD_INLINE void all_forward(const std::vector<CouplingOutput> &outputs,
                                 const RowLengths &rows, const EdgeRange<T> &edges, T *sums)
{
  for (int64_t e = 0; e < edges.n_edges; ++e) {
    const T *x = edges.sources + edges.neighbors[e] * rows.sources;
    const T *y = edges.harmonics + e * rows.harmonics;
    const T *w = edges.weights + e * rows.weights;
    T *sum = sums + (edges.centres[e] - edges.first_centre) * rows.messages;
    for (const auto &output : outputs) output_forward(output, x, y, w, sum);
  }
}

template <typename T>
TEMPERMD_INLINE void all_backward(const std::vector<CouplingOutput> &outputs,
                                  const RowLengths &rows, const EdgeRange<T> &edges,
                                  const T *d_sums, T *d_sources, T *d_harmonics, T *d_weights)
{
  std::fill(d_harmonics, d_harmonics + edges.n_edges * rows.harmonics, T(0));
  std::fill(d_weights, d_weights + edges.n_edges * rows.weights, T(0));
  for (int64_t e = 0; e < edges.n_edges; ++e) {
    const int64_t source = edges.neighbors[e] * rows.sources;
    const T *y = edges.harmonics + e * rows.harmonics;
    const T *w = edges.weights + e * rows.weights;
    const T *d_sum = d_sums + (edges.centres[e] - edges.first_centre) * rows.messages;
    for (const auto &output : outputs)
      output_backward(output, edges.sources + source, y, w, d_sum, d_sources + source,
                      d_harmonics + e * rows.harmonics, d_weights + e * rows.weights);
  }
}

// clones cannot be made of templates, hence one plain function for each type
using Outputs = std::vector<CouplingOutput>;

TEMPERMD_CLONES void forward_of(const Outputs &outputs, const RowLengths &rows,
                                const EdgeRange<float> &edges, float *sums)
{
  all_forward(outputs, rows, edges, sums);
}

TEMPERMD_CLONES void forward_of(const Outputs &outputs, const RowLengths &rows,
                                const EdgeRange<double> &edges, double *sums)
{
  all_forward(outputs, rows, edges, sums);
}

TEMPERMD_CLONES void backward_of(const Outputs &outputs, const RowLengths &rows,
                                 const EdgeRange<float> &edges, const float *d_sums,
                                 float *d_sources, float *d_harmonics, float *d_weights)
{
  all_backward(outputs, rows, edges, d_sums, d_sources, d_harmonics, d_weights);
}

TEMPERMD_CLONES void backward_of(const Outputs &outputs, const RowLengths &rows,
                                 const EdgeRange<double> &edges, const double *d_sums,
                                 double *d_sources, double *d_harmonics, double *d_weights)
{
  all_backward(outputs, rows, edges, d_sums, d_sources, d_harmonics, d_weights);
}

}    // namespace

EdgeProduct::EdgeProduct(std::vector<CouplingOutput> outputs, const RowLengths &rows) :
    outputs_(std::move(outputs)), rows_(rows)
{
}

template <typename T> void EdgeProduct::forward(const EdgeRange<T> &edges, T *sums) const
{
  forward_of(outputs_, rows_, edges, sums);
}

template <typename T>
void EdgeProduct::backward(const EdgeRange<T> &edges, const T *d_sums, T *d_sources,
                           T *d_harmonics, T *d_weights) const
{
  backward_of(outputs_, rows_, edges, d_sums, d_sources, d_harmonics, d_weights);
}

template void EdgeProduct::forward(const EdgeRange<float> &, float *) const;
template void EdgeProduct::forward(const EdgeRange<double> &, double *) const;
template void EdgeProduct::backward(const EdgeRange<float> &, const float *, float *, float *,
                                    float *) const;
template void EdgeProduct::backward(const EdgeRange<double> &, const double *, double *, double *,
                                    double *) const;

}    // namespace tempermd
