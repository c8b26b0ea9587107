// SPDX-License-Identifier: GPL-2.0-only
// A deployed NequIP model, evaluated by TorchScript and autograd.
#include "nequip_model.h"

#include "test_configuration.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>

#include <cstring>
#include <map>
#include <sstream>

namespace tempermd {

struct NequipModel::TorchModule {
  torch::jit::Module module;
};

namespace {

constexpr const char *kFormat = "1";
constexpr const char *kRedeploy = "deploy the checkpoint anew with "
                                  "'deploy-model CKPT -o MODEL.nequip.pth'";

using ExtraFiles = std::unordered_map<std::string, std::string>;

// torch's messages run over many lines, most of them a stack of its own functions
std::string first_line(const std::string &message)
{
  std::istringstream stream(message);
  std::string line;
  while (std::getline(stream, line))
    if (line.find_first_not_of(" \t") != std::string::npos) break;
  return line;
}

// the last line of a TorchScript error holds the cause, the ones before it the traceback
std::string last_line(const std::string &message)
{
  std::istringstream stream(message);
  std::string line, last;
  while (std::getline(stream, line))
    if (line.find_first_not_of(" \t") != std::string::npos) last = line;
  return last;
}

class ThreadCount {
 public:
  explicit ThreadCount(int n_threads) : before_(at::get_num_threads())
  {
    if (n_threads != before_) at::set_num_threads(n_threads);
  }
  // in process, the caller's torch keeps its own number of threads
  ~ThreadCount()
  {
    if (at::get_num_threads() != before_) at::set_num_threads(before_);
  }

 private:
  int before_;
};

std::vector<std::string> words(const std::string &text)
{
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

double positive_number(const std::string &text, const char *key)
{
  std::istringstream stream(text);
  double value = 0.0;
  if (!(stream >> value) || !(value > 0.0))
    throw ModelError(std::string("its ") + key + " is '" + text + "', expected a positive number; " +
                     kRedeploy);
  return value;
}

torch::Tensor edge_index_tensor(const Graph &graph)
{
  const int64_t n_edges = graph.n_edges();
  auto index = torch::empty({2, n_edges}, torch::kInt64);
  const size_t bytes = static_cast<size_t>(n_edges) * sizeof(int64_t);
  std::memcpy(index.data_ptr<int64_t>(), graph.centres.data(), bytes);
  std::memcpy(index.data_ptr<int64_t>() + n_edges, graph.neighbors.data(), bytes);
  return index;
}

std::vector<double> to_vector(const torch::Tensor &tensor, int64_t expected, const char *name)
{
  auto flat = tensor.detach().to(torch::kCPU, torch::kFloat64).contiguous();
  if (flat.numel() != expected)
    throw ModelError(std::string("the model's ") + name + " has " + std::to_string(flat.numel()) +
                     " numbers, expected " + std::to_string(expected) + "; " + kRedeploy);
  const double *data = flat.data_ptr<double>();
  return std::vector<double>(data, data + expected);
}

Evaluation run_module(torch::jit::Module &module, const Graph &graph, int64_t n_local)
{
  // The optimizing executor records profiles first: its first calls take seconds, differ from
  // later ones and, for models of this size, later ones are slower than the plain interpreter.
  torch::jit::GraphOptimizerEnabledGuard no_profiling(false);
  torch::AutoGradMode with_gradients(true);
  auto types = torch::from_blob(const_cast<int64_t *>(graph.atom_types.data()),
                                {graph.n_atoms()}, torch::kInt64);
  auto vectors = torch::from_blob(const_cast<double *>(graph.edge_vectors.data()),
                                  {graph.n_edges(), 3}, torch::kFloat64)
                     .requires_grad_(true);    // (E, 3)
  c10::Dict<std::string, torch::Tensor> input;
  input.insert("edge_index", edge_index_tensor(graph));
  input.insert("edge_vectors", vectors);
  input.insert("atom_types", types);
  auto output = module.forward({input}).toGenericDict();
  auto energies = output.at("atomic_energy").toTensor();    // (N, 1)
  auto local_energy = energies.narrow(0, 0, n_local).sum();
  auto gradients = torch::autograd::grad({local_energy}, {vectors}).at(0);    // (E, 3)
  Evaluation evaluation;
  evaluation.atomic_energies = to_vector(energies, graph.n_atoms(), "atomic_energy");
  evaluation.edge_gradients = to_vector(gradients, 3 * graph.n_edges(), "edge gradient");
  return evaluation;
}

}    // namespace

void Graph::clear()
{
  atom_types.clear();
  centres.clear();
  neighbors.clear();
  edge_vectors.clear();
}

void Graph::add_edge(int64_t centre, int64_t neighbor, double dx, double dy, double dz)
{
  centres.push_back(centre);
  neighbors.push_back(neighbor);
  edge_vectors.insert(edge_vectors.end(), {dx, dy, dz});
}

NequipModel::NequipModel(const std::string &path) : module_(std::make_unique<TorchModule>())
{
  read_metadata(path);
  replay_test_configuration();
}

NequipModel::~NequipModel() = default;

void NequipModel::read_metadata(const std::string &path)
{
  ExtraFiles extra;
  for (const char *key : {"r_max", "type_names", "num_types", "model_dtype",
                          "per_edge_type_cutoff", "tempermd_format", "num_layers", "units",
                          "checkpoint_sha256", "test_configuration"})
    extra[key] = "";
  try {
    module_->module = torch::jit::load(path, c10::Device(c10::kCPU), extra);
    module_->module.eval();
  } catch (const c10::Error &error) {
    throw ModelError("it is not a readable TorchScript file, truncated or foreign (" +
                     first_line(error.what_without_backtrace()) + "); " + kRedeploy);
  } catch (const std::exception &error) {
    throw ModelError("it is not a readable TorchScript file, truncated or foreign (" +
                     first_line(error.what()) + "); " + kRedeploy);
  }
  if (extra["r_max"].empty() || extra["type_names"].empty())
    throw ModelError(std::string("it is a TorchScript file, but not of a NequIP model (no r_max "
                                 "or type_names inside); ") +
                     kRedeploy);
  if (extra["tempermd_format"].empty())
    throw ModelError(std::string("it was compiled by nequip-compile, without tempermd's metadata "
                                 "and with forces inside; ") +
                     kRedeploy);
  if (extra["tempermd_format"] != kFormat)
    throw ModelError("its tempermd_format is " + extra["tempermd_format"] +
                     ", this pair style reads " + kFormat + "; " + kRedeploy);
  if (extra["units"] != "metal")
    throw ModelError("its units are '" + extra["units"] + "', expected 'metal'; " + kRedeploy);
  r_max_ = positive_number(extra["r_max"], "r_max");
  type_names_ = words(extra["type_names"]);
  for (const auto &word : words(extra["per_edge_type_cutoff"]))
    edge_type_cutoffs_.push_back(positive_number(word, "per_edge_type_cutoff"));
  const size_t n_pairs = type_names_.size() * type_names_.size();
  if (!edge_type_cutoffs_.empty() && edge_type_cutoffs_.size() != n_pairs)
    throw ModelError("its per_edge_type_cutoff has " + std::to_string(edge_type_cutoffs_.size()) +
                     " numbers, expected " + std::to_string(n_pairs) + "; " + kRedeploy);
  dtype_ = extra["model_dtype"];
  num_layers_ = extra["num_layers"];
  checkpoint_sha256_ = extra["checkpoint_sha256"];
  test_configuration_ = extra["test_configuration"];
}

void NequipModel::replay_test_configuration()
{
  const auto record =
      parse_test_configuration(test_configuration_, static_cast<int64_t>(type_names_.size()));
  compare_with_record(record, evaluate(record.graph, record.graph.n_atoms(), 1));
}

Evaluation NequipModel::evaluate(const Graph &graph, int64_t n_local, int n_threads)
{
  try {
    ThreadCount threads(n_threads);
    return run_module(module_->module, graph, n_local);
  } catch (const ModelError &) {
    throw;
  } catch (const c10::Error &error) {
    throw ModelError("torch stopped: " + last_line(error.what_without_backtrace()));
  } catch (const std::bad_alloc &) {
    throw ModelError("out of memory with " + std::to_string(graph.n_atoms()) + " atoms and " +
                     std::to_string(graph.n_edges()) + " edges");
  } catch (const std::exception &error) {
    throw ModelError("torch stopped: " + last_line(error.what()));
  }
}

int NequipModel::type_of(const std::string &name) const
{
  for (size_t k = 0; k < type_names_.size(); ++k)
    if (type_names_[k] == name) return static_cast<int>(k);
  return -1;
}

double NequipModel::cutoff(int64_t centre_type, int64_t neighbor_type) const
{
  if (edge_type_cutoffs_.empty()) return r_max_;
  return edge_type_cutoffs_[centre_type * type_names_.size() + neighbor_type];
}

std::string NequipModel::describe() const
{
  std::ostringstream line;
  line << "types";
  for (const auto &name : type_names_) line << ' ' << name;
  line << ", r_max " << r_max_ << " A, " << num_layers_ << " layers, " << dtype_ << ", on the CPU";
  if (!checkpoint_sha256_.empty())
    line << ", checkpoint sha256 " << checkpoint_sha256_.substr(0, 16);
  return line.str();
}

}    // namespace tempermd
