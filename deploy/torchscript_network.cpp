// SPDX-License-Identifier: GPL-2.0-only
// TorchScript files: of deploy-model (energies only) and of nequip-compile (gradients inside).
#include "layered_network.h"
#include "operators.h"
#include "stored_archive.h"
#include "torch_calls.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>

namespace tempermd {

namespace {

using ExtraFiles = std::unordered_map<std::string, std::string>;

class TorchScriptNetwork : public Network {
 public:
  TorchScriptNetwork(torch::jit::Module module, const std::string &device, bool gradients_inside) :
      module_(std::move(module)), device_(device), gradients_inside_(gradients_inside)
  {
  }

  bool exact_with_ghosts() const override { return !gradients_inside_; }

  Evaluation evaluate(const Graph &graph, int n_threads, Exchange *) override
  {
    ThreadCount threads(n_threads);
    return guarded([&] { return run(graph); });
  }

 private:
  Evaluation run(const Graph &graph)
  {
    // The optimizing executor records profiles first: its first calls take seconds, differ from
    // later ones and, for models of this size, later ones are slower than the plain interpreter.
    torch::jit::GraphOptimizerEnabledGuard no_profiling(false);
    torch::AutoGradMode with_gradients(true);
    auto vectors = edge_vectors_tensor(graph).to(device_).requires_grad_(true);    // (E, 3)
    c10::Dict<std::string, torch::Tensor> input;
    input.insert("edge_index", edge_index_tensor(graph).to(device_));
    input.insert("edge_vectors", vectors);
    input.insert("atom_types", atom_types_tensor(graph).to(device_));
    auto output = module_.forward({input}).toGenericDict();
    auto energies = output.at("atomic_energy").toTensor();    // (N, 1)
    torch::Tensor gradients;                                  // (E, 3)
    if (gradients_inside_) {
      gradients = output.at("edge_forces").toTensor();
    } else {
      auto local_energy = energies.narrow(0, 0, graph.n_local()).sum();
      gradients = torch::autograd::grad({local_energy}, {vectors}).at(0);
    }
    Evaluation evaluation;
    evaluation.atomic_energies = to_vector(energies, graph.n_atoms(), "atomic_energy");
    evaluation.edge_gradients = to_vector(gradients, 3 * graph.n_edges(), "edge gradient");
    return evaluation;
  }

  torch::jit::Module module_;
  torch::Device device_;
  bool gradients_inside_;
};

torch::jit::Module load(const std::string &path, const std::string &device, ExtraFiles &extra)
{
  return readable("TorchScript", [&] {
    auto module = torch::jit::load(path, torch::Device(device), extra);
    module.eval();
    return module;
  });
}

// What a file says of itself, before torch looks up what its code calls.
Metadata words_of(const std::string &path)
{
  try {
    return StoredArchive(path).read_folder("extra");
  } catch (const ModelError &) {    // torch says what is wrong with its own files
    return {};
  }
}

// Once torch knows all operators.
OpenedNetwork open_known(const std::string &path, const std::string &device)
{
  ExtraFiles extra;
  for (const char *key : {"r_max", "type_names", "num_types", "model_dtype", "allow_tf32",
                          "per_edge_type_cutoff", "tempermd_format", "num_layers", "units",
                          "checkpoint_sha256", "test_configuration", "tempermd_layered"})
    extra[key] = "";
  auto module = load(path, device, extra);
  OpenedNetwork opened;
  opened.metadata = Metadata(extra.begin(), extra.end());
  const bool ours = !opened.metadata["tempermd_format"].empty();
  // layer by layer needs loops of our own over the edges, which there are for the CPU only
  if (opened.metadata["tempermd_layered"] == "1" && torch::Device(device).is_cpu())
    opened.network = layered_network(std::move(module));
  else
    opened.network = std::make_unique<TorchScriptNetwork>(std::move(module), device, !ours);
  return opened;
}

}    // namespace

OpenedNetwork open_torchscript(const std::string &path, const std::string &device)
{
  return with_operators(words_of(path), [&] { return open_known(path, device); });
}

}    // namespace tempermd
