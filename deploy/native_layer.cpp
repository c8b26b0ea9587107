// SPDX-License-Identifier: GPL-2.0-only
// One interaction layer, on a block of atoms at a time.
#include "native_layer.h"

#include "harmonics.h"

#include <algorithm>

namespace tempermd::native {

template <typename T>
NativeLayer<T>::NativeLayer(const NetworkDescription &network, const LayerShape &shape,
                            bool splines) :
    splines_(splines), resnet_(shape.resnet), sources_(RowLayout::of<T>(shape.sources)),
    n_harmonics_(n_harmonics(network.l_max))
{
  std::vector<BlockShape> messages;
  for (const auto &path : shape.paths)
    messages.push_back({path.l_message, shape.sources[path.source].channels});
  messages_ = RowLayout::of<T>(messages);
  place_gate(shape);
  place_paths(shape, n_harmonics_);
  std::vector<int> columns;
  int width = 0;
  for (const auto &message : messages) {
    for (int c = 0; c < message.channels; ++c) columns.push_back(width + c);
    width += padded<T>(message.channels);
  }
  radial_ = std::make_unique<RadialWeights<T>>(network, shape.radial, columns, width, splines);
  senders_ = std::make_unique<BlockMaps<T>>(shape.senders, sources_, sources_);
  sums_ = std::make_unique<BlockMaps<T>>(shape.sums, messages_, inner_);
  connection_ = std::make_unique<BlockMaps<T>>(shape.connection, sources_, inner_);
}

template <typename T> void NativeLayer<T>::place_gate(const LayerShape &shape)
{
  std::vector<BlockShape> inner, features;
  for (const auto &one : shape.scalars) {
    inner.push_back({0, one.channels});
    features.push_back({0, one.channels});
  }
  for (const auto &one : shape.gated) inner.push_back({0, one.channels});
  for (const auto &one : shape.gated) {
    inner.push_back({one.l, one.channels});
    features.push_back({one.l, one.channels});
  }
  inner_ = RowLayout::of<T>(inner);
  features_ = RowLayout::of<T>(features);
  int block = 0;
  auto add = [&](const ActivationShape &one, int input, int dim) {
    const int gate = inner_.offsets[block], output = features_.offsets[block];
    gate_.push_back({one.kind, static_cast<T>(one.factor), padded<T>(one.channels), gate, input,
                     dim, output});
    widest_gate_ = std::max(widest_gate_, gate_.back().width);
    ++block;
  };
  for (const auto &one : shape.scalars) add(one, 0, 0);
  const size_t n_gated = shape.gated.size();
  for (const auto &one : shape.gated) add(one, inner_.offsets[block + n_gated], 2 * one.l + 1);
}

template <typename T> void NativeLayer<T>::place_paths(const LayerShape &shape, int n_harmonics)
{
  int weight = 0, n_pairs = 0;
  for (size_t k = 0; k < shape.paths.size(); ++k) {
    const auto &one = shape.paths[k];
    const int l1 = shape.sources[one.source].l, l2 = one.l_harmonic, l3 = one.l_message;
    const int channels = sources_.widths[one.source];
    const Path path{l1, l2, l3, channels, sources_.offsets[one.source], messages_.offsets[k],
                    weight, n_pairs, l2 * l2, static_cast<int>(couplings_.size())};
    paths_.push_back({path, kernels<T>().forward_of(path), kernels<T>().backward_of(path)});
    for (const double value : one.couplings) couplings_.push_back(static_cast<T>(value));
    weight += channels;
    n_pairs += count_pairs(l1, l2, l3);
  }
  n_pairs_ = padded<T>(n_pairs);
  pair_matrix_.assign(int64_t(n_harmonics) * n_pairs_, T(0));
  for (const auto &[path, forward, backward] : paths_) {
    int pair = path.pairs;
    const T *coupling = couplings_.data() + path.triples;
    for (int i = 0; i <= 2 * path.l_source; ++i)
      for (int k = 0; k <= 2 * path.l_message; ++k) {
        if (!pair_couples(path.l_source, i, path.l_harmonic, path.l_message, k)) continue;
        for (int j = 0; j <= 2 * path.l_harmonic; ++j)
          if (couples(path.l_source, i, path.l_harmonic, j, path.l_message, k))
            pair_matrix_[int64_t(path.harmonic + j) * n_pairs_ + pair] = *coupling++;
        ++pair;
      }
  }
}

template <typename T> double NativeLayer<T>::operations_per_edge() const
{
  double sum = 0.0;
  for (const auto &one : paths_) {
    const auto &path = one.path;
    const int dim = 2 * path.l_source + 1;
    const int pairs = count_pairs(path.l_source, path.l_harmonic, path.l_message);
    const int triples = path.l_harmonic > 0
        ? count_triples(path.l_source, path.l_harmonic, path.l_message)
        : 0;
    const double forward = 7.0 + dim + 2.0 * pairs;
    const double backward = 14.0 + 5.0 * dim + 4.0 * pairs + triples + 2.0;
    sum += path.channels * (forward + backward);
  }
  return sum;
}

template <typename T> double NativeLayer<T>::operations_per_atom() const
{
  return 2.0 * (senders_->operations_per_atom() + sums_->operations_per_atom() +
                connection_->operations_per_atom());
}

template <typename T>
void NativeLayer<T>::send(int n, const int64_t *types, const T *features, T *sent) const
{
  std::fill_n(sent, int64_t(n) * sources_.length, T(0));
  senders_->add(n, types, {features, sources_.length}, {sent, sources_.length});
}

template <typename T>
Edges<T> NativeLayer<T>::prepare(const EdgeTables<T> &tables, const int64_t *edges, int count,
                                 Scratch<T> &scratch) const
{
  scratch.radial.resize(count);
  scratch.pair_from.resize(count);
  scratch.pair_to.resize(count);
  scratch.pairs.resize(int64_t(count) * n_pairs_);
  scratch.blend.resize(int64_t(count) * 8);
  if (!splines_) {
    scratch.scaled.resize(count);
    scratch.weights.resize(int64_t(count) * 4 * radial_->width());
    for (int e = 0; e < count; ++e) scratch.scaled[e] = tables.scaled[edges[e]];
    radial_->evaluate(count, scratch.scaled.data(), scratch.weights.data());
  }
  for (int e = 0; e < count; ++e) {
    scratch.radial[e] = splines_ ? radial_->knot(tables.knots[edges[e]])
                                 : scratch.weights.data() + int64_t(e) * 4 * radial_->width();
    std::copy_n(tables.blend.data() + 8 * edges[e], 8, scratch.blend.data() + 8 * e);
    scratch.pair_from[e] = tables.harmonics.data() + edges[e] * tables.n_harmonics;
    scratch.pair_to[e] = scratch.pairs.data() + int64_t(e) * n_pairs_;
  }
  kernels<T>().multiply({count, n_harmonics_, n_pairs_, scratch.pair_from.data(),
                         pair_matrix_.data(), scratch.pair_to.data(), false});
  return {count, scratch.rows.data(), scratch.radial.data(), scratch.blend.data(),
          radial_->width(), scratch.pairs.data(), n_pairs_};
}

template <typename T>
void NativeLayer<T>::receive(const Graph &graph, const EdgeTables<T> &tables, int64_t centre,
                             const T *sent, T *sums, Scratch<T> &scratch) const
{
  const int64_t first = tables.first_edge[centre];
  const int count = static_cast<int>(tables.first_edge[centre + 1] - first);
  if (count == 0) return;
  std::vector<int64_t> &edges = scratch.edges;
  edges.resize(count);
  scratch.rows.resize(count);
  for (int e = 0; e < count; ++e) {
    edges[e] = first + e;
    scratch.rows[e] = sent + graph.neighbors[first + e] * sources_.length;
  }
  const auto prepared = prepare(tables, edges.data(), count, scratch);
  for (const auto &one : paths_) one.forward(one.path, prepared, sums);
}

template <typename T>
void NativeLayer<T>::update(int n, const int64_t *types, const T *sums, const T *before, T *inner,
                            T *features) const
{
  std::fill_n(inner, int64_t(n) * inner_.length, T(0));
  sums_->add(n, types, {sums, messages_.length}, {inner, inner_.length});
  connection_->add(n, types, {before, sources_.length}, {inner, inner_.length});
  for (int i = 0; i < n; ++i) {
    const T *from = inner + int64_t(i) * inner_.length;
    T *to = features + int64_t(i) * features_.length;
    for (const auto &one : gate_) {
      T *value = to + one.output;    // of the gate first, where there is one
      kernels<T>().activate(one.kind, one.factor, one.width, from + one.gate, value, nullptr);
      for (int component = one.dim - 1; component >= 0; --component)
        for (int c = 0; c < one.width; ++c)
          value[component * one.width + c] =
              value[c] * from[one.block + component * one.width + c];
    }
    if (resnet_)
      for (int c = 0; c < features_.length; ++c) to[c] += before[int64_t(i) * sources_.length + c];
  }
}

template <typename T>
void NativeLayer<T>::update_backward(int n, const int64_t *types, const T *inner,
                                     const T *d_features, T *d_sums, T *d_before,
                                     Scratch<T> &scratch) const
{
  scratch.block.assign(int64_t(n) * inner_.length, T(0));
  scratch.gate.resize(widest_gate_);
  scratch.slope.resize(widest_gate_);
  for (int i = 0; i < n; ++i) {
    const T *from = inner + int64_t(i) * inner_.length;
    const T *d_out = d_features + int64_t(i) * features_.length;
    T *d_inner = scratch.block.data() + int64_t(i) * inner_.length;
    for (const auto &one : gate_) {
      T *gate = scratch.gate.data(), *slope = scratch.slope.data();
      kernels<T>().activate(one.kind, one.factor, one.width, from + one.gate, gate, slope);
      if (one.dim == 0)
        for (int c = 0; c < one.width; ++c) d_inner[one.gate + c] = slope[c] * d_out[one.output + c];
      for (int component = 0; component < one.dim; ++component)
        for (int c = 0; c < one.width; ++c) {
          const T d = d_out[one.output + component * one.width + c];
          d_inner[one.gate + c] += slope[c] * d * from[one.block + component * one.width + c];
          d_inner[one.block + component * one.width + c] = gate[c] * d;
        }
    }
  }
  std::fill_n(d_sums, int64_t(n) * messages_.length, T(0));
  std::fill_n(d_before, int64_t(n) * sources_.length, T(0));
  const Rows<const T> d_inner{scratch.block.data(), inner_.length};
  sums_->add_transposed(n, types, d_inner, {d_sums, messages_.length});
  connection_->add_transposed(n, types, d_inner, {d_before, sources_.length});
  if (resnet_)
    for (int64_t k = 0; k < int64_t(n) * sources_.length; ++k) d_before[k] += d_features[k];
}

template <typename T>
void NativeLayer<T>::receive_backward(const Graph &graph, const EdgeTables<T> &tables,
                                      int64_t n_edges, int64_t source, const T *sent,
                                      const T *d_sums, T *d_sent, EdgeSums<T> &found,
                                      Scratch<T> &scratch) const
{
  const int64_t *edges = tables.incoming.data() + tables.first_incoming[source];
  int count = 0;
  const int64_t most = tables.first_incoming[source + 1] - tables.first_incoming[source];
  scratch.rows.resize(most);
  for (; count < most && edges[count] < n_edges; ++count)
    scratch.rows[count] = d_sums + graph.centres[edges[count]] * messages_.length;
  if (count == 0) return;
  const auto prepared = prepare(tables, edges, count, scratch);
  scratch.d_harmonics.assign(int64_t(count) * n_harmonics_ * kLanes<T>, T(0));
  scratch.d_distance.assign(int64_t(count) * kLanes<T>, T(0));
  const EdgeGradients<T> gradients{sent, d_sent, scratch.d_harmonics.data(),
                                   scratch.d_distance.data(), n_harmonics_, couplings_.data()};
  for (const auto &one : paths_) one.backward(one.path, prepared, gradients);
  for (int e = 0; e < count; ++e) {
    kernels<T>().add_lanes(n_harmonics_,
                           scratch.d_harmonics.data() + int64_t(e) * n_harmonics_ * kLanes<T>,
                           found.harmonics.data() + edges[e] * n_harmonics_);
    kernels<T>().add_lanes(1, scratch.d_distance.data() + int64_t(e) * kLanes<T>,
                           found.distance.data() + edges[e]);
  }
}

template <typename T>
void NativeLayer<T>::send_backward(int n, const int64_t *types, const T *d_sent,
                                   T *d_features) const
{
  senders_->add_transposed(n, types, {d_sent, sources_.length}, {d_features, sources_.length});
}

template class NativeLayer<float>;
template class NativeLayer<double>;

}    // namespace tempermd::native
