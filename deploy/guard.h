// SPDX-License-Identifier: GPL-2.0-only
// Watches a run for what no model can be trusted with: numbers that are not finite (at every
// step), and atoms beyond the limits of 'guard'. All decisions are the same on every rank.
#pragma once

#include "graph.h"
#include "pair_settings.h"
#include "pointers.h"

#include <array>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class Guard : protected Pointers {
 public:
  explicit Guard(LAMMPS *lmp);
  void set(const GuardSettings &);
  bool due(bigint step) const { return settings_.every > 0 && step % settings_.every == 0; }
  bool wants_deviations(bigint step) const { return due(step) && settings_.deviation > 0.0; }

  void begin();    // of an evaluation; collective
  // What this rank sees of its own atoms. atoms: node of the graph -> atom; rows: (atoms, width),
  // beginning with three forces.
  void look_at_numbers(const std::string &model_path, const std::vector<double> &atomic_energies,
                       const std::vector<int> &atoms, const std::vector<double> &rows, int width);
  void look_at_distances(const tempermd::Graph &, const std::vector<int> &atoms);
  void look_at_forces(const std::vector<double> &rows, int width);
  void look_at_deviations(const double *deviations);
  void judge();    // errors, or asks the run to stop after this step; collective

  void finish();    // of a run: saves and errors where it was stopped; collective

 private:
  enum Kind { NOT_FINITE, SHORTEST, FORCE, DEVIATION, KINDS };
  struct Sighting {
    double badness;
    tagint id, other;
    std::string subject;     // of a number that is not finite
  };

  void see(Kind kind, double badness, tagint id, tagint other = 0);
  void see_not_finite(const std::string &model_path, const char *quantity, tagint id);
  bool violated(Kind kind, double badness) const;
  Sighting fetch(Kind kind, int owner);
  std::string sentence(Kind kind, const Sighting &) const;
  void stop(const std::string &violation, bool at_once);
  void save(const char *what);

  GuardSettings settings_;
  std::array<Sighting, KINDS> worst_;
  std::string violation_;    // of a run that is being stopped
  bigint violation_step_ = -1;
};

}    // namespace LAMMPS_NS
