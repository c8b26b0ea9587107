// SPDX-License-Identifier: GPL-2.0-only
// Watches a run for what no model can be trusted with.
#include "guard.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "input.h"
#include "timer.h"
#include "universe.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
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

void Guard::see(Kind kind, double badness, tagint id, tagint other)
{
  if (badness > worst_[kind].badness) worst_[kind] = {badness, id, other, ""};
}

// Of many such atoms the one of the lowest ID is named, so that it does not depend on the ranks.
void Guard::see_not_finite(const std::string &model_path, const char *quantity, tagint id)
{
  const double badness = -static_cast<double>(id);
  if (badness > worst_[NOT_FINITE].badness)
    worst_[NOT_FINITE] = {badness, id, 0, "NequIP model " + model_path + " gives a " + quantity};
}

void Guard::look_at_numbers(const std::string &model_path,
                            const std::vector<double> &atomic_energies,
                            const std::vector<int> &atoms, const std::vector<double> &rows,
                            int width)
{
  for (size_t node = 0; node < atomic_energies.size() && atoms[node] < atom->nlocal; ++node)
    if (!std::isfinite(atomic_energies[node]))
      see_not_finite(model_path, "potential energy", atom->tag[atoms[node]]);
  for (int i = 0; i < atom->nlocal; ++i)
    for (int k = 0; k < 3; ++k)
      if (!std::isfinite(rows[static_cast<size_t>(i) * width + k]))
        see_not_finite(model_path, "force", atom->tag[i]);
}

void Guard::look_at_distances(const tempermd::Graph &graph, const std::vector<int> &atoms)
{
  double shortest = std::numeric_limits<double>::infinity();
  int64_t edge = -1;
  // edges of ghosts are those of their owners
  for (int64_t e = 0; e < graph.n_edges() && graph.centres[e] < graph.n_local(); ++e) {
    const double *r = &graph.edge_vectors[3 * e];
    const double squared = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
    if (squared >= shortest) continue;
    shortest = squared;
    edge = e;
  }
  if (edge < 0) return;
  const tagint one = atom->tag[atoms[graph.centres[edge]]];
  const tagint other = atom->tag[atoms[graph.neighbors[edge]]];
  see(SHORTEST, -std::sqrt(shortest), std::min(one, other), std::max(one, other));
}

void Guard::look_at_forces(const std::vector<double> &rows, int width)
{
  for (int i = 0; i < atom->nlocal; ++i) {
    const double *f = &rows[static_cast<size_t>(i) * width];
    see(FORCE, std::sqrt(f[0] * f[0] + f[1] * f[1] + f[2] * f[2]), atom->tag[i]);
  }
}

void Guard::look_at_deviations(const double *deviations)
{
  for (int i = 0; i < atom->nlocal; ++i) see(DEVIATION, deviations[i], atom->tag[i]);
}

bool Guard::violated(Kind kind, double badness) const
{
  if (kind == NOT_FINITE) return badness > NOTHING;
  if (kind == SHORTEST) return settings_.shortest > 0.0 && badness > -settings_.shortest;
  if (kind == FORCE) return settings_.force > 0.0 && badness > settings_.force;
  return settings_.deviation > 0.0 && badness > settings_.deviation;
}

void Guard::judge()
{
  struct Worst {
    double badness;
    int owner;
  };
  std::array<Worst, KINDS> found;
  for (int kind = 0; kind < KINDS; ++kind) found[kind] = {worst_[kind].badness, comm->me};
  MPI_Allreduce(MPI_IN_PLACE, found.data(), KINDS, MPI_DOUBLE_INT, MPI_MAXLOC, world);

  std::string violation;
  bool at_once = false;
  for (int kind = 0; kind < KINDS && !at_once; ++kind) {
    if (!violated(static_cast<Kind>(kind), found[kind].badness)) continue;
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
  MPI_Bcast(&sighting.badness, 1, MPI_DOUBLE, owner, world);
  MPI_Bcast(&sighting.id, 1, MPI_LMP_TAGINT, owner, world);
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
      return fmt::format("{} that is not finite for atom {} at step {}", worst.subject, worst.id,
                         step);
    case SHORTEST:
      return fmt::format("pair_style nequip guard: the distance between atoms {} and {} at step {} "
                         "is {:.8g} Angstrom, below the limit of {:.8g} Angstrom",
                         worst.id, worst.other, step, -worst.badness, settings_.shortest);
    case FORCE:
      return fmt::format("pair_style nequip guard: the force on atom {} at step {} is {:.8g} {}, "
                         "above the limit of {:.8g} {}",
                         worst.id, step, worst.badness, unit, settings_.force, unit);
    default:
      return fmt::format("pair_style nequip guard: the committee's force deviation of atom {} at "
                         "step {} is {:.8g} {}, above the limit of {:.8g} {}",
                         worst.id, step, worst.badness, unit, settings_.deviation, unit);
  }
}

// A step with numbers that are not finite is not to be finished: positions would be lost.
void Guard::stop(const std::string &violation, bool at_once)
{
  if (at_once) {
    violation_step_ = update->ntimestep;
    save("frame");
    violation_.clear();
    timer->reset_timeout();
    error->all(FLERR, violation);
  }
  if (!violation_.empty()) return;
  if (comm->me == 0) utils::logmesg(lmp, "{}: the run stops after this step\n", violation);
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
