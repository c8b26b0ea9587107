// SPDX-License-Identifier: GPL-2.0-only
// Watches a run for what no model can be trusted with: numbers that are not finite (at every
// step), and atoms beyond the limits of 'guard'. All decisions are the same on every rank.
#pragma once

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
  bool watches_distance() const { return settings_.shortest > 0.0; }
  bool watches_force() const { return settings_.force > 0.0; }
  bool watches_deviation() const { return settings_.deviation > 0.0; }

  void begin();    // of an evaluation; collective
  // What this rank sees of its own atoms, in any order and number.
  void see_not_finite(const std::string &source, const char *quantity, tagint atom);
  void see_distance(double distance, tagint atom, tagint other);
  void see_force(double force, tagint atom);
  void see_deviation(double deviation, tagint atom);
  void judge();    // errors, or asks the run to stop after this step; collective

  void finish();    // of a run: saves and errors where it was stopped; collective

 private:
  enum Kind { NOT_FINITE, SHORTEST, FORCE, DEVIATION, KINDS };
  struct Sighting {
    double rank;             // the larger, the worse
    tagint atom, other;
    std::string subject;     // of a number that is not finite
  };

  void see(Kind kind, double rank, tagint atom, tagint other = 0);
  bool violated(Kind kind, double rank) const;
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
