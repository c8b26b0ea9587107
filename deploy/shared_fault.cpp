// SPDX-License-Identifier: GPL-2.0-only
// A failure of one rank as the same LAMMPS error on every rank.
#include "shared_fault.h"

#include "comm.h"
#include "error.h"
#include "lammps.h"
#include "pointers.h"

void LAMMPS_NS::stop_if_any(LAMMPS *lmp, const std::string &fault)
{
  struct {
    int failed, rank;
  } mine{fault.empty() ? 0 : 1, lmp->comm->me}, worst = mine;
  if (lmp->comm->nprocs > 1) MPI_Allreduce(&mine, &worst, 1, MPI_2INT, MPI_MAXLOC, lmp->world);
  if (!worst.failed) return;
  std::string sentence = fault;
  int length = static_cast<int>(sentence.size());
  MPI_Bcast(&length, 1, MPI_INT, worst.rank, lmp->world);
  sentence.resize(length);
  MPI_Bcast(sentence.data(), length, MPI_CHAR, worst.rank, lmp->world);
  lmp->error->all(FLERR, sentence);
}
