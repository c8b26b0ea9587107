// SPDX-License-Identifier: GPL-2.0-only
// How far ghost atoms must reach on several ranks: one cutoff for each layer of the model.
#pragma once

#include "pointers.h"

namespace LAMMPS_NS {

class GhostShell : protected Pointers {
 public:
  // On one rank every ghost is an image of a local atom, and with one layer the neighbor list's own
  // ghosts suffice: then there is nothing to do, and needed() is false.
  GhostShell(LAMMPS *, int n_layers, double r_max);
  ~GhostShell() override;    // gives the user's communication cutoff back

  bool needed() const;
  void raise_cutoff();    // for init_style: raises the communication cutoff, or stops
  void check() const;     // stops on every rank when ghosts do not reach far enough

 private:
  double length() const;    // Angstrom, with the skin: once, as ghosts move between rebuilds
  void refuse_small_box() const;
  void reciprocal_lengths(double[3]) const;
  void restore();

  const int n_layers_;
  const double r_max_;
  double users_ = 0.0, raised_ = 0.0;    // cutoffs of comm_modify: as found, as we left it
};

}    // namespace LAMMPS_NS
