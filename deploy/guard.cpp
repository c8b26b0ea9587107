// SPDX-License-Identifier: GPL-2.0-only
// Watches a run for what no model can be trusted with.
#include "guard.h"

#include "comm.h"
#include "error.h"
#include "input.h"
#include "timer.h"
#include "universe.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

using namespace LAMMPS_NS;

namespace {

constexpr double NOTHING = -std::numeric_limits<double>::infinity();

const char *force_unit(const char *unit_style)
{
  return std::strcmp(unit_style, "real") == 0 ? "kcal/mol/Angstrom" : "eV/Angstrom";
}

}    // namespace

Guard::Guard(LAMMPS *lmp) : Pointers(lmp)
{
  worst_.fill({NOTHING, 0, 0, ""});
}

void Guard::set(const GuardSettings &settings)
{
  settings_ = settings;
  violation_.clear();
}

void Guard::begin()
{
  worst_.fill({NOTHING, 0, 0, ""});
  // a rerun goes on whatever the timer says: nothing of this step belongs to the violation
  if (!violation_.empty() && update->ntimestep != violation_step_) {
    const auto violation = std::exchange(violation_, "");
    timer->reset_timeout();
    error->all(FLERR, violation);
  }
}

void Guard::see(Kind kind, double rank, tagint atom, tagint other)
{
  if (rank > worst_[kind].rank) worst_[kind] = {rank, atom, other, ""};
}

// Of many such atoms the one of the lowest ID is named, so that it does not depend on the ranks.
void Guard::see_not_finite(const std::string &source, const char *quantity, tagint atom)
{
  const double rank = -static_cast<double>(atom);
  if (rank > worst_[NOT_FINITE].rank)
    worst_[NOT_FINITE] = {rank, atom, 0, source + " gives a " + quantity};
}

void Guard::see_distance(double distance, tagint atom, tagint other)
{
  see(SHORTEST, -distance, std::min(atom, other), std::max(atom, other));
}

void Guard::see_force(double force, tagint atom)
{
  see(FORCE, force, atom);
}

void Guard::see_deviation(double deviation, tagint atom)
{
  see(DEVIATION, deviation, atom);
}

bool Guard::violated(Kind kind, double rank) const
{
  if (kind == NOT_FINITE) return rank > NOTHING;
  if (kind == SHORTEST) return watches_distance() && rank > -settings_.shortest;
  if (kind == FORCE) return watches_force() && rank > settings_.force;
  return watches_deviation() && rank > settings_.deviation;
}

void Guard::judge()
{
  struct RankedOwner {
    double rank;
    int owner;
  };
  std::array<RankedOwner, KINDS> found;
  for (int kind = 0; kind < KINDS; ++kind) found[kind] = {worst_[kind].rank, comm->me};
  MPI_Allreduce(MPI_IN_PLACE, found.data(), KINDS, MPI_DOUBLE_INT, MPI_MAXLOC, world);

  std::string violation;
  bool at_once = false;
  for (int kind = 0; kind < KINDS && !at_once; ++kind) {
    if (!violated(static_cast<Kind>(kind), found[kind].rank)) continue;
    at_once = kind == NOT_FINITE;
    const auto sighting = fetch(static_cast<Kind>(kind), found[kind].owner);
    violation += (violation.empty() ? "" : "; ") + sentence(static_cast<Kind>(kind), sighting);
  }
  if (violation.empty()) return;
  if (settings_.stop)
    stop(violation, at_once);
  else
    error->all(FLERR, violation);
}

// The sighting of another rank, on all ranks.
Guard::Sighting Guard::fetch(Kind kind, int owner)
{
  auto sighting = worst_[kind];
  MPI_Bcast(&sighting.rank, 1, MPI_DOUBLE, owner, world);
  MPI_Bcast(&sighting.atom, 1, MPI_LMP_TAGINT, owner, world);
  MPI_Bcast(&sighting.other, 1, MPI_LMP_TAGINT, owner, world);
  int length = static_cast<int>(sighting.subject.size());
  MPI_Bcast(&length, 1, MPI_INT, owner, world);
  sighting.subject.resize(length);
  if (length > 0) MPI_Bcast(sighting.subject.data(), length, MPI_CHAR, owner, world);
  return sighting;
}

std::string Guard::sentence(Kind kind, const Sighting &worst) const
{
  const auto step = update->ntimestep;
  const char *unit = force_unit(update->unit_style);
  switch (kind) {
    case NOT_FINITE:
      return fmt::format("{} that is not finite for atom {} at step {}", worst.subject, worst.atom,
                         step);
    case SHORTEST:
      return fmt::format("pair_style nequip guard: the distance between atoms {} and {} at step {} "
                         "is {:.8g} Angstrom, below the limit of {:.8g} Angstrom",
                         worst.atom, worst.other, step, -worst.rank, settings_.shortest);
    case FORCE:
      return fmt::format("pair_style nequip guard: the force on atom {} at step {} is {:.8g} {}, "
                         "above the limit of {:.8g} {}",
                         worst.atom, step, worst.rank, unit, settings_.force, unit);
    default:
      return fmt::format("pair_style nequip guard: the committee's force deviation of atom {} at "
                         "step {} is {:.8g} {}, above the limit of {:.8g} {}",
                         worst.atom, step, worst.rank, unit, settings_.deviation, unit);
  }
}

// A step with numbers that are not finite is not to be finished: positions would be lost.
void Guard::stop(const std::string &violation, bool at_once)
{
  const bool first = violation_.empty();
  if (comm->me == 0 && (first || at_once)) utils::logmesg(lmp, "{}\n", violation);
  if (at_once) {
    violation_step_ = update->ntimestep;
    save("frame");
    violation_.clear();
    timer->reset_timeout();
    error->all(FLERR, violation);
  }
  if (!first) return;
  violation_ = violation;
  violation_step_ = update->ntimestep;
  // a minimizer may step back from these positions before it ends
  if (update->whichflag == 2) save("frame");
  timer->force_timeout();
}

void Guard::finish()
{
  if (violation_.empty()) return;
  // cleared first: what saves may fail, and the next run must not end for this one
  const auto violation = std::exchange(violation_, "");
  timer->reset_timeout();
  const bool minimized = update->whichflag == 2;
  // the run is over; else write_restart would set up another one
  update->whichflag = 0;
  // in this order: write_restart moves atoms between ranks, without their forces
  if (!minimized) save("frame");
  save("restart");
  error->all(FLERR, violation);
}

void Guard::save(const char *what)
{
  // partitions of one run may share a folder
  const auto partition =
      universe->nworlds > 1 ? fmt::format("{}.", universe->iworld + 1) : std::string();
  const auto name = fmt::format("nequip_guard.{}{}.", partition, violation_step_);
  if (std::strcmp(what, "restart") == 0)
    input->one("write_restart " + name + "restart");
  else
    input->one("write_dump all custom " + name +
               "lammpstrj id type x y z fx fy fz modify sort id format float %.15g");
}
