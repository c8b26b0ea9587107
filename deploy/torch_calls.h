// SPDX-License-Identifier: GPL-2.0-only
// What every way to run a network through torch needs: tensors of a graph, threads, messages.
#pragma once

#include "network.h"

#include <torch/torch.h>

#include <functional>

namespace tempermd {

// Sets torch's number of threads while it lives; in process, the caller's torch keeps its own.
class ThreadCount {
 public:
  explicit ThreadCount(int n_threads);
  ~ThreadCount();

 private:
  int before_;
};

torch::Tensor edge_index_tensor(const Graph &graph);      // (2, E) int64
torch::Tensor atom_types_tensor(const Graph &graph);      // (N,) int64, borrows the graph's memory
torch::Tensor edge_vectors_tensor(const Graph &graph);    // (E, 3) f64, borrows the graph's memory

// Copies to the CPU as f64; throws ModelError unless there are `expected` numbers.
std::vector<double> to_vector(const torch::Tensor &tensor, int64_t expected, const char *name);

// torch's messages run over many lines: the first with words, and the last, which of a TorchScript
// error holds the cause
std::string first_line(const std::string &message);
std::string last_line(const std::string &message);

// Runs what reads a file of this kind; what torch throws becomes one sentence.
template <typename Read> auto readable(const std::string &kind, Read read)
{
  std::string fault;
  try {
    return read();
  } catch (const ModelError &) {
    throw;
  } catch (const c10::Error &error) {
    fault = first_line(error.what_without_backtrace());
  } catch (const std::exception &error) {
    fault = first_line(error.what());
  }
  throw ModelError("it is not a readable " + kind + " file, truncated or foreign (" + fault +
                   "); " + kRedeploy);
}

// Runs `call` and turns what torch throws into a ModelError.
Evaluation guarded(const std::function<Evaluation()> &call);

}    // namespace tempermd
