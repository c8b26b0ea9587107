// SPDX-License-Identifier: GPL-2.0-only
// AOTInductor files (.nequip.pt2): of deploy-model (gradients of the atoms that count) and of
// nequip-compile (forces and virial of all atoms).
#include "operators.h"
#include "torch_calls.h"

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <algorithm>
#include <set>
#include <sstream>

namespace tempermd {

namespace {

using Loader = torch::inductor::AOTIModelPackageLoader;
using Names = std::vector<std::string>;

// what the compiler was told to expect at least, of atoms and of edges
constexpr int64_t kSmallestDimension = 2;

const std::set<std::string> kKnownInputs = {"edge_index", "edge_vectors",   "atom_types",
                                            "local_mask", "pos",            "cell",
                                            "edge_cell_shift"};

Names names_in(const std::string &text)
{
  std::istringstream stream(text);
  Names names;
  for (std::string name; stream >> name;) names.push_back(name);
  return names;
}

bool contains(const Names &names, const char *name)
{
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Appends two atoms that see only each other, beyond the cutoff, and are not of level 0.
Graph with_a_pair_far_away(const Graph &graph, double distance)
{
  Graph padded = graph;
  const int64_t first = graph.n_atoms();
  padded.atom_types.insert(padded.atom_types.end(), {0, 0});
  padded.add_edge(first, first + 1, distance, 0.0, 0.0);
  padded.add_edge(first + 1, first, -distance, 0.0, 0.0);
  return padded;
}

class AotiNetwork : public Network {
 public:
  AotiNetwork(const std::string &path, const std::string &device, const Metadata &metadata) :
      device_(device), inputs_(names_in(metadata.at("nequip_aoti_inputs"))),
      outputs_(names_in(metadata.at("nequip_aoti_outputs"))),
      far_away_(2.0 * std::stod(metadata.at("r_max"))),
      loader_(path, "model", false, 1, device_.index())
  {
  }

  bool exact_with_ghosts() const override { return contains(outputs_, "edge_gradients"); }

  Evaluation evaluate(const Graph &graph, int n_threads, Exchange *) override
  {
    ThreadCount threads(n_threads);
    const bool too_small = std::min(graph.n_atoms(), graph.n_edges()) < kSmallestDimension;
    if (!too_small) return guarded([&] { return run(graph, graph.n_local()); });
    const auto padded = with_a_pair_far_away(graph, far_away_);
    auto evaluation = guarded([&] { return run(padded, graph.n_local()); });
    evaluation.atomic_energies.resize(graph.n_atoms());
    if (exact_with_ghosts())
      evaluation.edge_gradients.resize(3 * graph.n_edges());
    else
      evaluation.forces.resize(3 * graph.n_atoms());
    return evaluation;
  }

 private:
  // Files of nequip take positions, where only differences count: with all atoms at the origin and
  // a cell of unit length, an edge's shift in cells is the edge vector itself.
  torch::Tensor input(const std::string &name, const Graph &graph, int64_t n_local) const
  {
    if (name == "edge_index") return edge_index_tensor(graph);
    if (name == "atom_types") return atom_types_tensor(graph);
    if (name == "pos") return torch::zeros({graph.n_atoms(), 3}, torch::kFloat64);
    if (name == "cell") return torch::eye(3, torch::kFloat64).unsqueeze(0);
    if (name == "local_mask") {
      auto mask = torch::zeros({graph.n_atoms(), 1}, torch::kFloat64);
      mask.narrow(0, 0, n_local).fill_(1.0);
      return mask;
    }
    return edge_vectors_tensor(graph);    // edge_vectors, edge_cell_shift
  }

  Evaluation run(const Graph &graph, int64_t n_local)
  {
    torch::InferenceMode without_gradients;
    std::vector<torch::Tensor> inputs;
    for (const auto &name : inputs_) inputs.push_back(input(name, graph, n_local).to(device_));
    const auto outputs = loader_.run(inputs);
    if (outputs.size() != outputs_.size())
      throw ModelError("it gives " + std::to_string(outputs.size()) + " outputs, expected " +
                       std::to_string(outputs_.size()) + "; " + kRedeploy);
    Evaluation evaluation;
    for (size_t k = 0; k < outputs.size(); ++k) keep(outputs_[k], outputs[k], graph, evaluation);
    return evaluation;
  }

  static void keep(const std::string &name, const torch::Tensor &output, const Graph &graph,
                   Evaluation &evaluation)
  {
    const int64_t n_atoms = graph.n_atoms();
    if (name == "atomic_energy")
      evaluation.atomic_energies = to_vector(output, n_atoms, "atomic_energy");
    else if (name == "edge_gradients")
      evaluation.edge_gradients = to_vector(output, 3 * graph.n_edges(), "edge gradient");
    else if (name == "forces")
      evaluation.forces = to_vector(output, 3 * n_atoms, "forces");
    else if (name == "virial")
      evaluation.virial = to_vector(output, 9, "virial");
  }

  torch::Device device_;
  Names inputs_, outputs_;
  double far_away_;    // Angstrom
  Loader loader_;
};

void check_device(const Metadata &metadata, const std::string &device)
{
  const auto found = metadata.find("AOTI_DEVICE_KEY");
  const auto compiled_for = found == metadata.end() ? "" : found->second;
  const auto asked = torch::Device(device).is_cuda() ? "cuda" : "cpu";
  if (compiled_for != asked)
    throw ModelError("it was compiled for device '" + compiled_for + "' and cannot run on '" +
                     device + "'; run it there, or deploy the checkpoint anew with "
                     "'deploy-model CKPT -o MODEL.nequip.pt2 --device " + asked + "'");
}

// Without this, the first instruction that a processor lacks ends LAMMPS without a word.
void check_processor(const Metadata &metadata)
{
#if defined(__x86_64__) && defined(__GNUC__)
  const auto found = metadata.find("AOTI_CPU_ISA");
  if (found == metadata.end()) return;
  for (const auto &name : names_in(found->second)) {
    bool here = true;
    if (name == "AVX2") here = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (name == "AVX512")
      here = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (name == "AVX512_VNNI") here = __builtin_cpu_supports("avx512vnni");
    if (!here)
      throw ModelError("it was compiled for processors with " + name +
                       ", which this one is not; on such a machine as this one, " + kRedeploy);
  }
#endif
}

void check_interface(const Metadata &metadata)
{
  for (const char *key : {"nequip_aoti_inputs", "nequip_aoti_outputs", "r_max"})
    if (!metadata.count(key))
      throw ModelError(std::string("it is not a file of a NequIP model (no ") + key +
                       " inside); " + kRedeploy);
  for (const auto &name : names_in(metadata.at("nequip_aoti_inputs")))
    if (!kKnownInputs.count(name))
      throw ModelError("its input '" + name + "' is unknown; compile it with --target "
                       "pair_nequip, or " + kRedeploy);
  const auto outputs = names_in(metadata.at("nequip_aoti_outputs"));
  const bool theirs = contains(outputs, "forces") && contains(outputs, "virial");
  if (!contains(outputs, "atomic_energy") || !(contains(outputs, "edge_gradients") || theirs))
    throw ModelError("its outputs are '" + metadata.at("nequip_aoti_outputs") +
                     "', expected atomic_energy, forces and virial; compile it with --target "
                     "pair_nequip, or " + kRedeploy);
}

}    // namespace

OpenedNetwork open_aotinductor(const std::string &path, const std::string &device)
{
  constexpr const char *kind = "AOTInductor";
  const auto stored =
      readable(kind, [&] { return Loader::load_metadata_from_package(path, "model"); });
  OpenedNetwork opened;
  opened.metadata = Metadata(stored.begin(), stored.end());
  check_interface(opened.metadata);
  check_device(opened.metadata, device);
  check_processor(opened.metadata);
  return with_operators(opened.metadata, [&] {
    opened.network = readable(
        kind, [&] { return std::make_unique<AotiNetwork>(path, device, opened.metadata); });
    return std::move(opened);
  });
}

}    // namespace tempermd
