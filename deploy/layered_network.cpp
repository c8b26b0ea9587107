// SPDX-License-Identifier: GPL-2.0-only
// TorchScript files of deploy-model on the CPU, layer by layer: each layer only for the atoms that
// later ones need, and nothing as large as the edges stored.
#include "layered_network.h"

#include "edge_convolution.h"
#include "torch_calls.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

namespace tempermd {

namespace {

class LayeredNetwork : public Network {
 public:
  explicit LayeredNetwork(torch::jit::Module module) : module_(std::move(module))
  {
    for (const auto &layer : module_.attr("layers").toModule().children())
      layers_.emplace_back(layer);
  }

  bool exact_with_ghosts() const override { return true; }

  // One thread, always: with chunks of edges shared among threads these waited for each other in the
  // interpreter, which evaluates the radial network, and two were up to four times slower than one.
  Evaluation evaluate(const Graph &graph, int, Exchange *) override
  {
    ThreadCount one(1);
    return guarded([&] { return run(graph); });
  }

 private:
  Evaluation run(const Graph &graph)
  {
    // the optimizing executor takes seconds to warm up and is slower afterwards
    torch::jit::GraphOptimizerEnabledGuard no_profiling(false);
    torch::AutoGradMode with_gradients(true);
    auto vectors = edge_vectors_tensor(graph).requires_grad_(true);    // (E, 3)
    const auto energies = local_energies(graph, vectors);              // (n_local, 1)
    const auto gradients = torch::autograd::grad({energies.sum()}, {vectors}).at(0);
    Evaluation evaluation;
    evaluation.atomic_energies = to_vector(energies, graph.n_local(), "atomic_energy");
    evaluation.atomic_energies.resize(graph.n_atoms(), 0.0);
    evaluation.edge_gradients = to_vector(gradients, 3 * graph.n_edges(), "edge gradient");
    return evaluation;
  }

  torch::Tensor local_energies(const Graph &graph, const torch::Tensor &vectors)
  {
    const auto types = atom_types_tensor(graph);    // (N,)
    const auto edge_types =
        types.index_select(0, edge_index_tensor(graph).view(-1)).view({2, graph.n_edges()});
    const auto embedded = module_.get_method("embed")({vectors, edge_types}).toTuple();
    const auto harmonics = embedded->elements()[0].toTensor();    // (E, harmonics)
    const auto basis = embedded->elements()[1].toTensor();        // (E, radial)
    const auto started = module_.get_method("start")({types}).toTuple();
    auto features = started->elements()[0].toTensor();        // (N, features)
    const auto mixing = started->elements()[1].toTensor();    // (N, V)
    for (int k = 0; k < static_cast<int>(layers_.size()); ++k) {
      const int level = static_cast<int>(layers_.size()) - 1 - k;
      const int64_t n_centres = graph.n_nodes(level), n_edges = graph.n_edges(level);
      auto &layer = layers_[k];
      const auto sources = layer.call("sources", {features, types.narrow(0, 0, features.size(0))});
      const EdgeList edges{graph.centres.data(), graph.neighbors.data(), n_edges, n_centres};
      const auto sums = convolve(layer, edges, sources, harmonics.narrow(0, 0, n_edges),
                                 basis.narrow(0, 0, n_edges));
      features = layer.call("update", {features.narrow(0, 0, n_centres), sums,
                                       mixing.narrow(0, 0, n_centres)});
    }
    return module_.get_method("energies")({features, types.narrow(0, 0, features.size(0))})
        .toTensor();
  }

  torch::jit::Module module_;
  std::vector<LayerOfModel> layers_;
};

}    // namespace

std::unique_ptr<Network> layered_network(torch::jit::Module module)
{
  return std::make_unique<LayeredNetwork>(std::move(module));
}

}    // namespace tempermd
