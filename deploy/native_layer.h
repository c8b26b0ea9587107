// SPDX-License-Identifier: GPL-2.0-only
// One interaction layer, on a block of atoms at a time: from what neighbors send to new features,
// and back from their gradient.
#pragma once

#include "block_maps.h"
#include "graph.h"
#include "radial_weights.h"
#include "time_account.h"

#include <memory>

namespace tempermd::native {

// The edges of a graph as the kernels need them.
template <typename T> struct EdgeTables {
  int n_harmonics = 0;
  std::vector<int64_t> first_edge;           // (centres + 1,) edges of each centre
  std::vector<int64_t> first_incoming;       // (nodes + 1,)
  std::vector<int64_t> incoming;             // (E,) edges by their neighbor, ascending for each
  Array<T> harmonics;                        // (E, n_harmonics)
  Array<T> blend;                            // (E, 8)
  std::vector<int> knots;                    // (E,) with splines
  std::vector<double> scaled;                // (E,) distance over cutoff, without splines
};

// What the energy's gradient by each edge's harmonics and distance adds up to over the layers.
template <typename T> struct EdgeSums {
  Array<T> harmonics;                        // (E, harmonics)
  Array<T> distance;                         // (E,)
};

// What one thread needs while it works on a block.
template <typename T> struct Scratch {
  std::vector<int64_t> edges;
  std::vector<const T *> rows, radial, pair_from;
  std::vector<T *> pair_to;
  Array<T> pairs, blend, weights, d_harmonics, d_distance, sum;
  std::vector<double> scaled;
  Array<T> block, gate, slope;
  TimeAccount account;
};

template <typename T> class NativeLayer {
 public:
  NativeLayer(const NetworkDescription &, const LayerShape &, bool splines);

  int n_sources() const { return sources_.length; }     // numbers per row, padded
  int n_messages() const { return messages_.length; }
  int n_inner() const { return inner_.length; }
  int n_features() const { return features_.length; }   // after the layer

  // Floating-point operations of both directions, without padding's.
  double operations_per_edge() const;
  double operations_per_atom() const;

  // features (n, sources) -> what neighbors see (n, sources), overwritten
  void send(int n, const int64_t *types, const T *features, T *sent) const;

  // Messages of one centre, added to sums (messages).
  void receive(const Graph &, const EdgeTables<T> &, int64_t centre, const T *sent, T *sums,
               Scratch<T> &) const;

  // sums (n, messages), old features (n, sources) -> inner (n, inner), features (n, features)
  void update(int n, const int64_t *types, const T *sums, const T *before, T *inner,
              T *features) const;

  // d_features (n, features), inner -> d_sums (n, messages) and what reaches the old features past
  // the messages, d_before (n, sources); both overwritten
  void update_backward(int n, const int64_t *types, const T *inner, const T *d_features, T *d_sums,
                       T *d_before, Scratch<T> &) const;

  // Of one source and its edges below `n_edges`: adds to d_sent (sources) and to the edges' sums.
  void receive_backward(const Graph &, const EdgeTables<T> &, int64_t n_edges, int64_t source,
                        const T *sent, const T *d_sums, T *d_sent, EdgeSums<T> &,
                        Scratch<T> &) const;

  // d_features += transposed send(d_sent)
  void send_backward(int n, const int64_t *types, const T *d_sent, T *d_features) const;

 private:
  struct Coupled {
    Path path;
    Forward<T> forward;
    Backward<T> backward;
  };
  struct Nonlinear {
    Activation kind;
    T factor;
    int width;                // padded
    int gate, block, dim;     // offsets in the gate's input; dim 0: a scalar, in `gate`
    int output;               // offset in the features
  };

  void place_paths(const LayerShape &, int n_harmonics);
  void place_gate(const LayerShape &);
  // Points the scratch's edges at their radial weights and makes their pair coefficients.
  Edges<T> prepare(const EdgeTables<T> &, const int64_t *edges, int count, Scratch<T> &) const;

  bool splines_, resnet_;
  RowLayout sources_, messages_, inner_, features_;
  int n_harmonics_, n_pairs_ = 0, widest_gate_ = 0;
  std::vector<Coupled> paths_;
  Array<T> pair_matrix_;      // (harmonics, pairs)
  std::vector<T> couplings_;
  std::vector<Nonlinear> gate_;
  std::unique_ptr<RadialWeights<T>> radial_;
  std::unique_ptr<BlockMaps<T>> senders_, sums_, connection_;
};

}    // namespace tempermd::native
