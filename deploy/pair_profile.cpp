// SPDX-License-Identifier: GPL-2.0-only
// Where the time of a run goes inside the pair style.
#include "pair_profile.h"

#include "comm.h"
#include "layer_exchange.h"
#include "platform.h"
#include "utils.h"

#include <algorithm>
#include <fstream>
#include <string>

using namespace LAMMPS_NS;

namespace {

// Of this program alone: what getrusage says includes the process that started it. 0: unknown.
double peak_memory_MiB()
{
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kB = 0.0;
    if (word == "VmHWM:" && status >> kB) return kB / 1024.0;
  }
  return 0.0;
}

}    // namespace

PairProfile::Lap::Lap(PairProfile &profile, Stage stage) :
    sum_(profile.seconds_[stage]), begin_(platform::walltime())
{
}

PairProfile::Lap::~Lap()
{
  sum_ += platform::walltime() - begin_;
}

void PairProfile::begin_run()
{
  std::fill(seconds_, seconds_ + N_STAGES, 0.0);
  n_steps_ = n_edges_ = n_local_edges_ = 0;
  exchanged_s_ = exchange_.seconds();
  exchanged_bytes_ = exchange_.bytes_sent();
}

void PairProfile::count(const tempermd::Graph &graph)
{
  ++n_steps_;
  n_edges_ = graph.n_edges();
  n_local_edges_ = graph.edges_within.empty() ? n_edges_ : graph.edges_within.front();
}

void PairProfile::print(const std::string &account) const
{
  if (n_steps_ == 0) return;
  constexpr int n = N_STAGES + 4;
  double mine[n], sums[n];
  std::copy(seconds_, seconds_ + N_STAGES, mine);
  mine[n - 4] = exchange_.seconds() - exchanged_s_;
  mine[n - 3] = exchange_.bytes_sent() - exchanged_bytes_;
  mine[n - 2] = static_cast<double>(n_edges_);
  mine[n - 1] = static_cast<double>(n_local_edges_);
  MPI_Reduce(mine, sums, n, MPI_DOUBLE, MPI_SUM, 0, world);
  double memory = peak_memory_MiB(), most = memory;
  MPI_Reduce(&memory, &most, 1, MPI_DOUBLE, MPI_MAX, 0, world);
  if (comm->me != 0) return;
  const double total = std::max(sums[GRAPH] + sums[NETWORK] + sums[SUMS], 1e-30);
  utils::logmesg(lmp, "NequIP: {:.0f} edges, {:.3f} times as many with ghosts; graph {:.1f} %, "
                      "network {:.1f} %, sums {:.1f} % of {:.4g} s; peak memory {:.0f} MiB per "
                      "rank\n", sums[n - 1], sums[n - 2] / std::max(sums[n - 1], 1.0),
                 100.0 * sums[GRAPH] / total, 100.0 * sums[NETWORK] / total,
                 100.0 * sums[SUMS] / total, total / comm->nprocs, most);
  if (sums[n - 3] > 0.0)
    utils::logmesg(lmp, "NequIP exchange between layers: {:.4g} MB per step in all, {:.1f} % of the "
                        "time (in network)\n", 1e-6 * sums[n - 3] / n_steps_,
                   100.0 * sums[n - 4] / total);
  if (!account.empty()) utils::logmesg(lmp, "NequIP native engine, rank 0: {}\n", account);
}
