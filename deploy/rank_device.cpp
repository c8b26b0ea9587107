// SPDX-License-Identifier: GPL-2.0-only
// The device that this rank computes on.
#include "rank_device.h"

#include "comm.h"
#include "device.h"
#include "lammps.h"
#include "pointers.h"
#include "shared_fault.h"
#include "utils.h"

using namespace LAMMPS_NS;

namespace {

void say(LAMMPS *lmp, const std::string &device, int ranks_on_it)
{
  MPI_Allreduce(MPI_IN_PLACE, &ranks_on_it, 1, MPI_INT, MPI_MAX, lmp->world);
  if (lmp->comm->me != 0) return;
  if (ranks_on_it == 0)
    utils::logmesg(lmp, "pair_style nequip computes on the CPU\n");
  else
    utils::logmesg(lmp, "pair_style nequip computes on GPUs, at most {} MPI rank{} on each; the "
                        "first rank on {}\n", ranks_on_it, ranks_on_it > 1 ? "s" : "", device);
}

}    // namespace

std::string LAMMPS_NS::choose_rank_device(LAMMPS *lmp, const std::string &wish)
{
  MPI_Comm node;
  MPI_Comm_split_type(lmp->world, MPI_COMM_TYPE_SHARED, lmp->comm->me, MPI_INFO_NULL, &node);
  int node_rank = 0, node_ranks = 1;
  MPI_Comm_rank(node, &node_rank);
  MPI_Comm_size(node, &node_ranks);
  MPI_Comm_free(&node);

  std::string device;
  int n_gpus = 0;
  stop_if_any(lmp, fault_of(lmp, [&] {
    // to look for GPUs takes time and memory on each of them
    if (wish != "cpu") n_gpus = tempermd::count_gpus();
    device = tempermd::resolve_device(wish, node_rank, n_gpus);
  }));
  int ranks_on_it = 0;
  if (device != "cpu")
    ranks_on_it = wish.find(':') == std::string::npos ? (node_ranks - 1) / n_gpus + 1 : node_ranks;
  say(lmp, device, ranks_on_it);
  return device;
}
