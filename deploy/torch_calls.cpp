// SPDX-License-Identifier: GPL-2.0-only
// What every way to run a network through torch needs.
#include "torch_calls.h"

#include <ATen/Parallel.h>

#include <cstring>
#include <sstream>

namespace tempermd {

ThreadCount::ThreadCount(int n_threads) : before_(at::get_num_threads())
{
  if (n_threads != before_) at::set_num_threads(n_threads);
}

ThreadCount::~ThreadCount()
{
  if (at::get_num_threads() != before_) at::set_num_threads(before_);
}

torch::Tensor edge_index_tensor(const Graph &graph)
{
  const int64_t n_edges = graph.n_edges();
  auto index = torch::empty({2, n_edges}, torch::kInt64);
  const size_t bytes = static_cast<size_t>(n_edges) * sizeof(int64_t);
  if (n_edges == 0) return index;
  std::memcpy(index.data_ptr<int64_t>(), graph.centres.data(), bytes);
  std::memcpy(index.data_ptr<int64_t>() + n_edges, graph.neighbors.data(), bytes);
  return index;
}

torch::Tensor atom_types_tensor(const Graph &graph)
{
  return torch::from_blob(const_cast<int64_t *>(graph.atom_types.data()), {graph.n_atoms()},
                          torch::kInt64);
}

torch::Tensor edge_vectors_tensor(const Graph &graph)
{
  return torch::from_blob(const_cast<double *>(graph.edge_vectors.data()), {graph.n_edges(), 3},
                          torch::kFloat64);
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

std::string first_line(const std::string &message)
{
  std::istringstream stream(message);
  std::string line;
  while (std::getline(stream, line))
    if (line.find_first_not_of(" \t") != std::string::npos) break;
  return line;
}

std::string last_line(const std::string &message)
{
  std::istringstream stream(message);
  std::string line, last;
  while (std::getline(stream, line))
    if (line.find_first_not_of(" \t") != std::string::npos) last = line;
  return last;
}

Evaluation guarded(const std::function<Evaluation()> &call)
{
  try {
    return call();
  } catch (const ModelError &) {
    throw;
  } catch (const c10::Error &error) {
    throw ModelError("torch stopped: " + last_line(error.what_without_backtrace()));
  } catch (const std::bad_alloc &) {
    throw;
  } catch (const std::exception &error) {
    throw ModelError("torch stopped: " + last_line(error.what()));
  }
}

}    // namespace tempermd
