// SPDX-License-Identifier: GPL-2.0-only
// Which device of this machine a rank computes on, as torch names it.
#include "device.h"

#include "graph.h"

namespace tempermd {

namespace {

int index_of(const std::string &wish)
{
  try {
    return std::stoi(wish.substr(wish.find(':') + 1));
  } catch (const std::exception &) {
    throw ModelError("expected cpu, cuda, cuda:N or auto as device, got '" + wish + "'");
  }
}

std::string seen(int n_gpus)
{
  if (n_gpus > 0) return std::to_string(n_gpus) + " GPU" + (n_gpus > 1 ? "s" : "");
  return "no GPU";
}

}    // namespace

std::string resolve_device(const std::string &wish, int node_rank, int n_gpus)
{
  if (wish == "cpu" || (wish == "auto" && n_gpus == 0)) return "cpu";
  if (n_gpus == 0)
    throw ModelError("device '" + wish + "' was asked for and torch sees no GPU: use 'device cpu', "
                     "or a torch that is built for CUDA, on a machine with a GPU and its driver");
  if (wish == "cuda" || wish == "auto") return "cuda:" + std::to_string(node_rank % n_gpus);
  if (index_of(wish) >= n_gpus)
    throw ModelError("device '" + wish + "' was asked for and torch sees " + seen(n_gpus) +
                     ", counted from cuda:0");
  return wish;
}

}    // namespace tempermd
