// SPDX-License-Identifier: GPL-2.0-only
// How far a committee's models disagree on the force on each atom, and when they are asked.
#include "committee.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace LAMMPS_NS;

void Committee::set(bigint every)
{
  every_ = every;
  step_ = -1;
  max_ = mean_ = min_ = 0.0;
}

void Committee::begin(int n_atoms)
{
  n_models_ = 0;
  n_atoms_ = n_atoms;
  mean_forces_.assign(3 * static_cast<size_t>(n_atoms), 0.0);
  squares_.assign(n_atoms, 0.0);
}

// One pass over the models that loses no digits where they nearly agree (Welford, Technometrics 4,
// 419, 1962).
void Committee::add(const std::vector<double> &rows, int width)
{
  ++n_models_;
  for (int i = 0; i < n_atoms_; ++i) {
    const double *force = &rows[static_cast<size_t>(i) * width];
    double *mean = &mean_forces_[3 * static_cast<size_t>(i)];
    for (int k = 0; k < 3; ++k) {
      const double before = force[k] - mean[k];
      mean[k] += before / n_models_;
      squares_[i] += before * (force[k] - mean[k]);
    }
  }
}

void Committee::end(bigint step, const std::vector<char> &counted, MPI_Comm world)
{
  step_ = step;
  deviations_.assign(std::max(n_atoms_, 1), 0.0);
  double sums[2] = {0.0, 0.0};    // deviations, atoms
  // the smallest as minus the largest: one reduction
  double extremes[2] = {0.0, -std::numeric_limits<double>::infinity()};
  for (int i = 0; i < n_atoms_; ++i) {
    if (!counted[i]) continue;
    const double deviation = std::sqrt(squares_[i] / n_models_);
    deviations_[i] = deviation;
    sums[0] += deviation;
    sums[1] += 1.0;
    extremes[0] = std::max(extremes[0], deviation);
    extremes[1] = std::max(extremes[1], -deviation);
  }
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, extremes, 2, MPI_DOUBLE, MPI_MAX, world);
  const bool any = sums[1] > 0.0;
  max_ = extremes[0];
  mean_ = any ? sums[0] / sums[1] : 0.0;
  min_ = any ? -extremes[1] : 0.0;
}
