// SPDX-License-Identifier: GPL-2.0-only
// The native engine: layers forward and backward over blocks of atoms, shared among threads.
//
// Forward, a thread sums the messages of its own centres; backward, it sums what reaches its own
// sources, through the edges that lead to them. So no two threads write to one place, and every sum
// has one order, whatever their number.
#include "native_network.h"

#include "block_shares.h"
#include "harmonics.h"
#include "native_layer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace tempermd::native {

namespace {

constexpr int64_t kBlock = 24;    // atoms whose messages fit into a core's cache
constexpr double kShortest = 1e-12;    // Angstrom

template <typename T> class NativeNetwork : public Network {
 public:
  NativeNetwork(const NetworkDescription &description, bool splines) :
      splines_(splines), n_types_(description.n_types), l_max_(description.l_max),
      knots_(description.knots), cutoffs_(description.cutoffs), scales_(description.scales),
      shifts_(description.shifts), readout_(description.readout, {0}, padded<T>(1))
  {
    for (const auto &shape : description.layers) layers_.emplace_back(description, shape, splines);
    const int channels = static_cast<int>(description.first.size()) / n_types_;
    first_.assign(int64_t(n_types_) * layers_.front().n_sources(), T(0));
    for (int type = 0; type < n_types_; ++type)
      for (int c = 0; c < channels; ++c)
        first_[int64_t(type) * layers_.front().n_sources() + c] =
            static_cast<T>(description.first[int64_t(type) * channels + c]);
    const int n_layers = static_cast<int>(layers_.size());
    sent_.resize(n_layers);
    inner_.resize(n_layers);
  }

  bool exact_with_ghosts() const override { return true; }
  bool shares_layers() const override { return true; }

  void begin_account() override
  {
    for (auto &scratch : scratch_) scratch.account.clear();
    operations_ = 0.0;
    n_atoms_ = 0;
  }

  std::string account() const override
  {
    TimeAccount all;
    for (const auto &scratch : scratch_) all.add(scratch.account);
    if (n_atoms_ == 0) return "";
    char text[128];
    std::snprintf(text, sizeof(text), "; %.3g MFLOP per atom and step, %.3g GFLOP/s per thread",
                  1e-6 * operations_ / static_cast<double>(n_atoms_),
                  1e-9 * operations_ / std::max(all.total(), 1e-30));
    return all.shares() + text;
  }

  Evaluation evaluate(const Graph &graph, int n_threads, Exchange *exchange) override
  {
    exchange_ = exchange;
    scratch_.resize(std::max(n_threads, 1));
    measure(graph);
    sort_by_neighbor(graph);
    forward(graph);
    Evaluation found;
    read_out(graph, found);
    backward(graph);
    edge_gradients(graph, found);
    count_operations(graph);
    exchange_ = nullptr;
    return found;
  }

 private:
  void count_operations(const Graph &graph)
  {
    n_atoms_ += graph.n_local();
    for (int k = 0; k < static_cast<int>(layers_.size()); ++k)
      operations_ += layers_[k].operations_per_edge() * graph.n_edges(level(k)) +
          layers_[k].operations_per_atom() * graph.n_nodes(level(k));
  }

  // Calls work(first, count, scratch) for blocks of n atoms, on all threads. What a thread throws
  // must not leave the loop: it is thrown again after it.
  template <typename Work> void blocks(int64_t n, Work work)
  {
    const int n_threads = static_cast<int>(scratch_.size());
    BlockShares shares(n, kBlock, n_threads);
    std::exception_ptr fault;
#pragma omp parallel num_threads(n_threads) if (n_threads > 1)
    {
#if defined(_OPENMP)
      const int thread = omp_get_thread_num();
#else
      const int thread = 0;
#endif
      for (int64_t first; (first = shares.take(thread)) < n;) {
        try {
          work(first, static_cast<int>(std::min(kBlock, n - first)), scratch_[thread]);
        } catch (...) {
#pragma omp critical(tempermd_fault)
          if (!fault) fault = std::current_exception();
        }
      }
    }
    if (fault) std::rethrow_exception(fault);
  }

  // With an exchange every layer is evaluated for this rank's own atoms only.
  int level(int layer) const
  {
    return exchange_ ? 0 : static_cast<int>(layers_.size()) - 1 - layer;
  }
  int64_t n_sources(const Graph &graph, int layer) const { return graph.n_nodes(level(layer) + 1); }

  // Distances, harmonics and places in the tables.
  void measure(const Graph &graph)
  {
    const int64_t n = graph.n_edges();
    edges_.n_harmonics = n_harmonics(l_max_);
    edges_.harmonics.resize(n * edges_.n_harmonics);
    edges_.blend.resize(n * 8);
    if (splines_)
      edges_.knots.resize(n);
    else
      edges_.scaled.resize(n);
    distances_.resize(n);
    blocks(n, [&](int64_t first, int count, Scratch<T> &scratch) {
      TimeAccount::Lap lap(scratch.account, TimeAccount::MEASURE);
      for (int64_t e = first; e < first + count; ++e) measure_edge(graph, e);
    });
  }

  void measure_edge(const Graph &graph, int64_t e)
  {
    double unit[3], values[n_harmonics(kMaxL)];
    unit_vector(graph, e, unit);
    harmonics(l_max_, unit, values);
    for (int h = 0; h < edges_.n_harmonics; ++h)
      edges_.harmonics[e * edges_.n_harmonics + h] = static_cast<T>(values[h]);
    const int64_t pair = graph.atom_types[graph.centres[e]] * n_types_ +
        graph.atom_types[graph.neighbors[e]];
    const double reciprocal = 1.0 / cutoffs_[pair], scaled = distances_[e] * reciprocal;
    T *blend = edges_.blend.data() + 8 * e;
    if (splines_) {
      edges_.knots[e] = place_on_spline(knots_, scaled, reciprocal, blend);
    } else {
      edges_.scaled[e] = scaled;
      place_on_network(reciprocal, blend);
    }
  }

  // Two atoms in one place have no direction: zeros, as in torch.
  void unit_vector(const Graph &graph, int64_t e, double unit[3])
  {
    const double *r = graph.edge_vectors.data() + 3 * e;
    const double distance = std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
    distances_[e] = distance;
    for (int k = 0; k < 3; ++k) unit[k] = r[k] / std::max(distance, kShortest);
  }

  // The edges of each centre, which lie together, and those that lead to each neighbor.
  void sort_by_neighbor(const Graph &graph)
  {
    const int64_t n_nodes = graph.n_atoms(), n = graph.n_edges();
    edges_.first_edge.assign(n_nodes + 1, 0);
    edges_.first_incoming.assign(n_nodes + 1, 0);
    edges_.incoming.resize(n);
    for (int64_t e = 0; e < n; ++e) {
      ++edges_.first_edge[graph.centres[e] + 1];
      ++edges_.first_incoming[graph.neighbors[e] + 1];
    }
    for (int64_t i = 0; i < n_nodes; ++i) {
      edges_.first_edge[i + 1] += edges_.first_edge[i];
      edges_.first_incoming[i + 1] += edges_.first_incoming[i];
    }
    auto next = edges_.first_incoming;
    for (int64_t e = 0; e < n; ++e) edges_.incoming[next[graph.neighbors[e]]++] = e;
  }

  void forward(const Graph &graph)
  {
    const int64_t *types = graph.atom_types.data();
    start(graph);
    for (int k = 0; k < static_cast<int>(layers_.size()); ++k) {
      const auto &layer = layers_[k];
      const bool last = k + 1 == static_cast<int>(layers_.size());
      const int64_t n_centres = graph.n_nodes(level(k));
      inner_[k].resize(n_centres * layer.n_inner());
      if (!last) sent_[k + 1].resize(n_sources(graph, k + 1) * layer.n_features());
      next_.resize(n_centres * layer.n_features());
      blocks(n_centres, [&](int64_t first, int count, Scratch<T> &scratch) {
        {
          TimeAccount::Lap lap(scratch.account, TimeAccount::FORWARD_EDGES);
          scratch.sum.assign(int64_t(count) * layer.n_messages(), T(0));
          for (int i = 0; i < count; ++i)
            layer.receive(graph, edges_, first + i, sent_[k].data(),
                          scratch.sum.data() + int64_t(i) * layer.n_messages(), scratch);
        }
        TimeAccount::Lap lap(scratch.account, TimeAccount::FORWARD_ATOMS);
        T *features = next_.data() + first * layer.n_features();
        layer.update(count, types + first, scratch.sum.data(),
                     features_.data() + first * layer.n_sources(),
                     inner_[k].data() + first * layer.n_inner(), features);
        if (!last)
          layers_[k + 1].send(count, types + first, features,
                              sent_[k + 1].data() + first * layer.n_features());
      });
      features_.swap(next_);
      if (exchange_ && !last)
        exchange_->to_neighbors(layer.n_features() * static_cast<int>(sizeof(T)),
                                reinterpret_cast<char *>(sent_[k + 1].data()));
    }
  }

  // Features before the first layer, and what neighbors see of them.
  void start(const Graph &graph)
  {
    const auto &layer = layers_.front();
    const int64_t width = layer.n_sources(), n = graph.n_atoms();
    features_.resize(n * width);
    sent_[0].resize(n * width);
    blocks(n, [&](int64_t first, int count, Scratch<T> &) {
      for (int64_t i = first; i < first + count; ++i)
        std::copy_n(first_.data() + graph.atom_types[i] * width, width, features_.data() + i * width);
      layer.send(count, graph.atom_types.data() + first, features_.data() + first * width,
                 sent_[0].data() + first * width);
    });
  }

  // Energies, and their gradient by the last features.
  void read_out(const Graph &graph, Evaluation &found)
  {
    const int64_t n = graph.n_local(), width = layers_.back().n_features();
    found.atomic_energies.assign(graph.n_atoms(), 0.0);
    gradient_.resize(n * width);
    blocks(n, [&](int64_t first, int count, Scratch<T> &scratch) {
      scratch.gate.resize(count);
      readout_.with_gradients(count, features_.data() + first * width, scratch.gate.data(),
                              gradient_.data() + first * width);
      for (int i = 0; i < count; ++i) {
        const int64_t type = graph.atom_types[first + i];
        found.atomic_energies[first + i] = scales_[type] * scratch.gate[i] + shifts_[type];
        for (int64_t c = 0; c < width; ++c)
          gradient_[(first + i) * width + c] *= static_cast<T>(scales_[type]);
      }
    });
  }

  void backward(const Graph &graph)
  {
    const int64_t *types = graph.atom_types.data();
    sums_.harmonics.assign(graph.n_edges() * edges_.n_harmonics, T(0));
    sums_.distance.assign(graph.n_edges(), T(0));
    for (int k = static_cast<int>(layers_.size()) - 1; k >= 0; --k) {
      const auto &layer = layers_[k];
      const int64_t n_centres = graph.n_nodes(level(k)), n_edges = graph.n_edges(level(k));
      const int64_t n = n_sources(graph, k), width = layer.n_sources();
      d_messages_.resize(n_centres * layer.n_messages());
      next_.resize(n * width);
      blocks(n_centres, [&](int64_t first, int count, Scratch<T> &scratch) {
        TimeAccount::Lap lap(scratch.account, TimeAccount::BACKWARD_ATOMS);
        layer.update_backward(count, types + first, inner_[k].data() + first * layer.n_inner(),
                              gradient_.data() + first * layer.n_features(),
                              d_messages_.data() + first * layer.n_messages(),
                              next_.data() + first * width, scratch);
      });
      std::fill(next_.begin() + n_centres * width, next_.end(), T(0));
      d_sent_.assign(n * width, T(0));
      blocks(n, [&](int64_t first, int count, Scratch<T> &scratch) {
        {
          TimeAccount::Lap lap(scratch.account, TimeAccount::BACKWARD_EDGES);
          for (int64_t i = first; i < first + count; ++i)
            layer.receive_backward(graph, edges_, n_edges, i, sent_[k].data() + i * width,
                                   d_messages_.data(), d_sent_.data() + i * width, sums_, scratch);
        }
        TimeAccount::Lap lap(scratch.account, TimeAccount::BACKWARD_ATOMS);
        if (k > 0 && !exchange_)
          layer.send_backward(count, types + first, d_sent_.data() + first * width,
                              next_.data() + first * width);
      });
      if (k > 0 && exchange_) {
        exchange_->to_owners(static_cast<int>(width), d_sent_.data());
        blocks(n_centres, [&](int64_t first, int count, Scratch<T> &) {
          layer.send_backward(count, types + first, d_sent_.data() + first * width,
                              next_.data() + first * width);
        });
      }
      gradient_.swap(next_);
    }
  }

  // d(energy)/d(edge vector): along the edge by the distance, across it by the harmonics.
  void edge_gradients(const Graph &graph, Evaluation &found)
  {
    found.edge_gradients.resize(3 * graph.n_edges());
    blocks(graph.n_edges(), [&](int64_t first, int count, Scratch<T> &scratch) {
      TimeAccount::Lap lap(scratch.account, TimeAccount::MEASURE);
      for (int64_t e = first; e < first + count; ++e) {
        double unit[3], d[n_harmonics(kMaxL)], g[3] = {0.0, 0.0, 0.0};
        unit_vector(graph, e, unit);
        for (int h = 0; h < edges_.n_harmonics; ++h)
          d[h] = sums_.harmonics[e * edges_.n_harmonics + h];
        add_harmonics_gradient(l_max_, unit, d, g);
        const double along = unit[0] * g[0] + unit[1] * g[1] + unit[2] * g[2];
        for (int k = 0; k < 3; ++k)
          found.edge_gradients[3 * e + k] =
              (g[k] - along * unit[k]) / distances_[e] + sums_.distance[e] * unit[k];
      }
    });
  }

  const bool splines_;
  const int n_types_, l_max_, knots_;
  const std::vector<double> cutoffs_, scales_, shifts_;
  const Perceptron<T> readout_;
  std::vector<NativeLayer<T>> layers_;
  Array<T> first_;                        // (types, first sources)

  EdgeTables<T> edges_;
  EdgeSums<T> sums_;
  std::vector<double> distances_;         // (E,)
  std::vector<Array<T>> sent_, inner_;    // of each layer
  Array<T> features_, next_;              // current features, or their gradients
  Array<T> gradient_, d_messages_, d_sent_;
  Exchange *exchange_ = nullptr;          // while evaluating
  std::vector<Scratch<T>> scratch_;       // of each thread
  double operations_ = 0.0;               // floating-point, since begin_account
  int64_t n_atoms_ = 0;                   // evaluated since then
};

}    // namespace

std::unique_ptr<Network> native_network(const NetworkDescription &description, bool splines)
{
  if (description.double_precision)
    return std::make_unique<NativeNetwork<double>>(description, splines);
  return std::make_unique<NativeNetwork<float>>(description, splines);
}

}    // namespace tempermd::native
