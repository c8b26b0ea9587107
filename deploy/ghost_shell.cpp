// SPDX-License-Identifier: GPL-2.0-only
// How far ghost atoms must reach on several ranks.
#include "ghost_shell.h"

#include "comm.h"
#include "domain.h"
#include "error.h"
#include "neighbor.h"

#include <cmath>

using namespace LAMMPS_NS;

GhostShell::GhostShell(LAMMPS *lmp, int n_layers, double r_max) :
    Pointers(lmp), n_layers_(n_layers), r_max_(r_max)
{
}

GhostShell::~GhostShell()
{
  restore();
}

bool GhostShell::needed() const
{
  return comm->nprocs > 1 && n_layers_ > 1;
}

double GhostShell::length() const
{
  return n_layers_ * r_max_ + neighbor->skin;
}

void GhostShell::restore()
{
  if (comm && raised_ > 0.0 && comm->cutghostuser == raised_) comm->cutghostuser = users_;
  raised_ = 0.0;
}

void GhostShell::raise_cutoff()
{
  restore();
  if (!needed()) return;
  if (comm->mode != Comm::SINGLE)
    error->all(FLERR, "pair_style nequip on several MPI ranks needs one communication cutoff for "
                      "all atoms: remove 'comm_modify mode multi'");
  refuse_small_box();
  if (comm->cutghostuser < length()) {
    users_ = comm->cutghostuser;
    comm->cutghostuser = raised_ = length();
  }
  if (comm->me == 0)
    utils::logmesg(lmp, "NequIP ghost shell: {:.6g} Angstrom = {} layers x {:.6g} + skin {:.6g}, "
                        "on {} MPI ranks\n", length(), n_layers_, r_max_, neighbor->skin,
                   comm->nprocs);
}

// LAMMPS stops by itself, but names neither the cutoff nor the way out.
void GhostShell::refuse_small_box() const
{
  if (comm->style != Comm::TILED) return;
  double reciprocal[3];
  reciprocal_lengths(reciprocal);
  for (int k = 0; k < domain->dimension; ++k)
    if (domain->periodicity[k] && length() * reciprocal[k] > 1.0)
      error->all(FLERR, "pair_style nequip needs ghosts within {:.6g} Angstrom ({} layers x {:.6g} "
                        "+ skin {:.6g}), more than the box is wide in {} ({:.6g}), which "
                        "comm_style tiled cannot do: use 'comm_style brick', a larger box, or one "
                        "rank", length(), n_layers_, r_max_, neighbor->skin, "xyz"[k],
                 1.0 / reciprocal[k]);
}

// One over the distances between opposite faces of the box: LAMMPS's lamda coordinates.
void GhostShell::reciprocal_lengths(double reciprocal[3]) const
{
  const double *h = domain->h_inv;
  reciprocal[0] = std::hypot(h[0], h[5], h[4]);
  reciprocal[1] = std::hypot(h[1], h[3]);
  reciprocal[2] = std::abs(h[2]);
}

// LAMMPS sets comm->cutghost when a run starts and, if the box changes, with each neighbor list: in
// lamda coordinates if the box is triclinic.
void GhostShell::check() const
{
  if (!needed() || neighbor->ago > 0) return;
  double reciprocal[3] = {1.0, 1.0, 1.0};
  if (domain->triclinic) reciprocal_lengths(reciprocal);
  constexpr double rounding = 1.0 - 1e-9;
  for (int k = 0; k < domain->dimension; ++k)
    if (comm->cutghost[k] < rounding * length() * reciprocal[k])
      error->all(FLERR, "pair_style nequip needs ghosts within {:.6g} Angstrom ({} layers x {:.6g} "
                        "+ skin {:.6g}), got {:.6g} in {}: remove 'comm_modify cutoff', or start "
                        "the run without 'pre no'", length(), n_layers_, r_max_, neighbor->skin,
                 comm->cutghost[k] / reciprocal[k], "xyz"[k]);
}
