// SPDX-License-Identifier: GPL-2.0-only
// How far a committee's models disagree on the force on each atom, and when they are asked.
//
// The deviation of an atom is sqrt(mean over models k of |F_k - mean F|^2), all models counted, as
// deepmd-kit's model_devi defines it (Zhang et al., Comput. Phys. Commun. 253, 107206, 2020).
#pragma once

#include "lmptype.h"

#include <mpi.h>

#include <vector>

namespace LAMMPS_NS {

class Committee {
 public:
  void set(bigint every);    // 0: no committee
  bool exists() const { return every_ > 0; }
  bool due(bigint step) const { return exists() && (step % every_ == 0 || wanted_ != 0); }

  void begin(int n_atoms);
  // Of one more model: rows (n_atoms or more, width) that begin with three forces.
  void add(const std::vector<double> &rows, int width);
  // counted: (n_atoms,) false for atoms that no model sees; collective over `world`
  void end(bigint step, const std::vector<char> &counted, MPI_Comm world);

  bigint step() const { return step_; }    // of the values, -1 before the first
  double *deviations() { return deviations_.data(); }
  double max() const { return max_; }
  double mean() const { return mean_; }
  double min() const { return min_; }
  int *wanted() { return &wanted_; }    // set to 1 by 'fix pair' with a trigger

 private:
  bigint every_ = 0;
  bigint step_ = -1;
  int wanted_ = 0;
  int n_models_ = 0;
  int n_atoms_ = 0;
  std::vector<double> mean_forces_;    // (n_atoms, 3)
  std::vector<double> squares_;        // (n_atoms,) sum over models of |F_k - mean F|^2
  std::vector<double> deviations_ = std::vector<double>(1, 0.0);    // never null for LAMMPS
  double max_ = 0.0, mean_ = 0.0, min_ = 0.0;
};

}    // namespace LAMMPS_NS
