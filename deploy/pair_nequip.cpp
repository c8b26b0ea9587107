// SPDX-License-Identifier: GPL-2.0-only
// pair_style nequip: forces of a deployed NequIP model in LAMMPS.
#include "pair_nequip.h"

#include "atom.h"
#include "comm.h"
#include "edge_sums.h"
#include "error.h"
#include "force.h"
#include "ghost_shell.h"
#include "loaded_model.h"
#include "memory.h"
#include "modify.h"
#include "neighbor.h"
#include "rank_device.h"
#include "shared_fault.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cstring>

using namespace LAMMPS_NS;
using tempermd::Evaluation;
using tempermd::ModelError;

PairNequip::PairNequip(LAMMPS *lmp) :
    Pair(lmp), exchange_(lmp, this), guard_(lmp), profile_(lmp, exchange_)
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  // ghost forces are folded onto their owners here, so f.r over ghosts would miss them
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
  // hybrid styles and LAMMPS's buffers read these before a model is known
  ghostneigh = comm->nprocs > 1 ? 1 : 0;
  const bool several = comm->nprocs > 1;
  comm_forward = several ? LayerExchange::kWidest : 0;
  comm_reverse = comm_reverse_off = several ? LayerExchange::kWidest : 9;
  pvector = new double[3]();    // max, mean and min of the committee's deviation
}

PairNequip::~PairNequip()
{
  delete[] pvector;
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
  memory->destroy(cutghost);
}

void PairNequip::settings(int narg, char **arg)
{
  settings_ = parse_pair_settings(std::vector<std::string>(arg, arg + narg), lmp);
  guard_.set(settings_.guard);
  forget_models();
  engine_ = settings_.engine;
  engine_.device = choose_rank_device(lmp, settings_.engine.device);
}

// The device may be another one: the next pair_coeff loads models anew.
void PairNequip::forget_models()
{
  models_.clear();
  committee_.set(0);
  nextra = 0;
  if (!allocated) return;
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = 1; j <= atom->ntypes; ++j) setflag[i][j] = 0;
}

void PairNequip::allocate()
{
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  memory->create(cutghost, n, n, "pair:cutghost");
  allocated = 1;
}

void PairNequip::coeff(int narg, char **arg)
{
  if (!allocated) allocate();
  // the first word after '* *' is always a model; further ones show it by their ending
  int n_models = 1;
  while (2 + n_models < narg && utils::strmatch(arg[2 + n_models], "\\.pt[h2]?$")) ++n_models;
  const int n_elements = narg - 2 - n_models;
  if (n_elements != atom->ntypes)
    error->all(FLERR, "pair_coeff of pair_style nequip expects '* * MODEL.nequip.pth' and one "
                      "element for each of the {} atom types, got {} elements",
               atom->ntypes, std::max(n_elements, 0));
  if (std::strcmp(arg[0], "*") != 0 || std::strcmp(arg[1], "*") != 0)
    error->all(FLERR, "pair_coeff of pair_style nequip must start with '* *', got '{} {}'", arg[0],
               arg[1]);
  set_units();
  forget_models();
  load_models(n_models, arg + 2, n_elements, arg + 2 + n_models);
  set_flags();
  form_committee();
}

void PairNequip::set_units()
{
  const std::string units = update->unit_style;
  if (units != "metal" && units != "real")
    error->all(FLERR, "pair_style nequip needs 'units metal' or 'units real', got 'units {}'",
               units);
  eV_ = units == "metal" ? 1.0 : utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
}

void PairNequip::load_models(int n_models, char **names, int n_elements, char **elements)
{
  for (int k = 0; k < n_models; ++k) {
    models_.push_back(std::make_unique<LoadedModel>(lmp, names[k], engine_));
    models_.back()->map_types(n_elements, elements);
  }
  // with one layer, or with layers shared, the neighbor list's own ghosts suffice
  const auto layers = [](const auto &model) {
    return model->shares_layers() ? 1 : model->num_layers();
  };
  const auto reach = [&](const auto &model) {
    return layers(model) > 1 ? layers(model) * model->r_max() : 0.0;
  };
  const auto &longest = *std::max_element(
      models_.begin(), models_.end(),
      [&](const auto &one, const auto &other) { return reach(one) < reach(other); });
  shell_ = std::make_unique<GhostShell>(lmp, layers(longest), longest->r_max());
}

void PairNequip::set_flags()
{
  const auto &driver = *models_.front();
  int n_set = 0;
  for (int i = 1; i <= atom->ntypes; ++i) {
    for (int j = i; j <= atom->ntypes; ++j) {
      setflag[i][j] = setflag[j][i] = driver.maps(i) && driver.maps(j) ? 1 : 0;
      n_set += setflag[i][j];
    }
  }
  if (n_set == 0)
    error->all(FLERR, "pair_coeff of pair_style nequip maps every atom type to NULL");
}

void PairNequip::form_committee()
{
  if (models_.size() > 1) {
    committee_.set(settings_.committee_every);
    nextra = 3;
  } else if (settings_.committee || settings_.guard.deviation > 0.0) {
    error->all(FLERR, "pair_style nequip with '{}' expects two models or more in pair_coeff, got 1",
               settings_.committee ? "committee" : "guard deviation");
  }
}

void PairNequip::init_style()
{
  if (!atom->tag_enable)
    error->all(FLERR, "pair_style nequip needs atom IDs to find the owners of ghost atoms: "
                      "remove 'atom_modify id no'");
  if (!modify->get_compute_by_style("^centroid/stress/atom").empty())
    error->all(FLERR, "pair_style nequip does not give centroid/stress/atom: edge gradients of a "
                      "message-passing model do not determine it, and a heat flux made from them "
                      "is wrong; use stress/atom for stresses");
  require_full_neighbor_list();
  if (neighbor->nex_type + neighbor->nex_group + neighbor->nex_mol > 0 && comm->me == 0)
    error->warning(FLERR, "neigh_modify exclude takes pairs out of what pair_style nequip sees, "
                          "which changes the forces of their neighbors, too");
  computed_step_ = -1;
  profile_.begin_run();
  models_.front()->begin_account();
  shell_->raise_cutoff();
  // LAMMPS trims lists of hybrid sub-styles to their own cutoff, but not those of ghosts
  if (shell_->needed()) trim_flag = 0;
  const int ghosts = shell_->needed() ? NeighConst::REQ_GHOST : 0;
  neighbor->add_request(this, NeighConst::REQ_FULL | ghosts);
}

void PairNequip::require_full_neighbor_list()
{
  if (atom->molecular == Atom::ATOMIC) return;
  for (int k = 1; k <= 3; ++k)
    if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
      error->all(FLERR, "pair_style nequip needs bonded pairs too, which special_bonds leaves out: "
                        "set 'special_bonds lj/coul 1 1 1'");
}

double PairNequip::init_one(int i, int j)
{
  if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
  double r_max = 0.0;
  for (const auto &model : models_) r_max = std::max(r_max, model->r_max());
  cutghost[i][j] = cutghost[j][i] = r_max;
  return r_max;
}

void PairNequip::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  shell_->check();
  guard_.begin();
  auto &driver = *models_.front();
  const auto evaluation = evaluate(driver);
  profile_.count(graph_);
  const int width = vflag_atom ? 9 : 3;
  add_energies(evaluation);
  sum_forces(driver, evaluation, width);
  add_forces(width);
  if (vflag_global) tempermd::add_virial(graph_, evaluation, virial);
  guard_driver(evaluation, width);
  ask_committee(width);
  guard_.judge();
  computed_step_ = update->ntimestep;
}

// Collective: what fails on one rank is an error on all.
Evaluation PairNequip::evaluate(LoadedModel &model)
{
  Evaluation evaluation;
  stop_if_any(lmp, fault_of(lmp, [&] { model.build(list, graph_, profile_); }));
  stop_if_any(lmp, fault_of(lmp, [&] {
    evaluation = model.evaluate(eV_, graph_, profile_, exchange_);
    if (vflag_atom && !evaluation.forces.empty() && &model == models_.front().get())
      throw ModelError(fmt::format("NequIP model {} gives forces but no gradients of edges, so "
                                   "there is no virial per atom (stress/atom); {}", model.path(),
                                   tempermd::kRedeploy));
  }));
  return evaluation;
}

// Those of ghosts count on the ranks that own them.
void PairNequip::add_energies(const Evaluation &evaluation)
{
  const auto &energies = evaluation.atomic_energies;
  if (energies.empty()) return;
  const auto &atoms = models_.front()->atoms();
  for (int64_t node = 0; node < graph_.n_local(); ++node) {
    if (eflag_global) eng_vdwl += energies[node];
    if (eflag_atom) eatom[atoms[node]] += energies[node];
  }
}

// Ghosts get forces (and virials) of this rank's energies. LAMMPS sums them onto their owners only
// with newton on, so this is done here, on rows of our own, for both settings. Collective.
void PairNequip::sum_forces(const LoadedModel &model, const Evaluation &evaluation, int width)
{
  PairProfile::Lap lap(profile_, PairProfile::SUMS);
  rows_.assign(static_cast<size_t>(atom->nlocal + atom->nghost) * width, 0.0);
  const auto &atoms = model.atoms();
  tempermd::add_edges(graph_, evaluation.edge_gradients, atoms, width, rows_);
  for (size_t k = 0; k < evaluation.forces.size(); ++k)
    rows_[static_cast<size_t>(atoms[k / 3]) * width + k % 3] += evaluation.forces[k];
  sum_onto_owners(rows_, width);
}

void PairNequip::add_forces(int width)
{
  for (int i = 0; i < atom->nlocal; ++i) {
    const double *sums = &rows_[static_cast<size_t>(i) * width];
    for (int k = 0; k < 3; ++k) atom->f[i][k] += sums[k];
    for (int k = 3; k < width; ++k) vatom[i][k - 3] += sums[k];
  }
}

// Its graph and its forces are still there.
void PairNequip::guard_driver(const Evaluation &evaluation, int width)
{
  const auto &driver = *models_.front();
  guard_.look_at_numbers(driver.path(), evaluation.atomic_energies, driver.atoms(), rows_, width);
  if (!guard_.due(update->ntimestep)) return;
  guard_.look_at_distances(graph_, driver.atoms());
  guard_.look_at_forces(rows_, width);
}

// At its steps, those of the guard, and the first of a run, whose thermo output is always printed.
void PairNequip::ask_committee(int width)
{
  const bigint step = update->ntimestep;
  const bool guarded = guard_.wants_deviations(step);
  if (!committee_.exists() || !(committee_.due(step) || guarded || computed_step_ < 0)) return;
  committee_.begin(atom->nlocal);
  committee_.add(rows_, width);
  for (size_t k = 1; k < models_.size(); ++k) {
    auto &model = *models_[k];
    const auto evaluation = evaluate(model);
    sum_forces(model, evaluation, 3);
    guard_.look_at_numbers(model.path(), evaluation.atomic_energies, model.atoms(), rows_, 3);
    committee_.add(rows_, 3);
  }
  std::vector<char> counted(atom->nlocal);
  for (int i = 0; i < atom->nlocal; ++i) counted[i] = models_.front()->maps(atom->type[i]);
  committee_.end(step, counted, world);
  // compute pair sums over ranks
  const bool first = comm->me == 0;
  pvector[0] = first ? committee_.max() : 0.0;
  pvector[1] = first ? committee_.mean() : 0.0;
  pvector[2] = first ? committee_.min() : 0.0;
  if (guarded) guard_.look_at_deviations(committee_.deviations());
}

void PairNequip::finish()
{
  profile_.print(models_.front()->account());
  guard_.finish();
}

// 'fix pair' with 1 after the field sets this flag before its steps: the committee is asked, too.
void *PairNequip::extract(const char *name, int &dimensions)
{
  dimensions = 0;
  return std::strcmp(name, "deviation_flag") == 0 ? committee_.wanted() : nullptr;
}

void *PairNequip::extract_peratom(const char *name, int &columns)
{
  columns = 0;
  if (std::strcmp(name, "deviation") != 0) return nullptr;
  if (!committee_.exists())
    error->all(FLERR, "'deviation' of pair_style nequip expects two models or more in pair_coeff, "
                      "got {}", models_.size());
  // atoms change their places in memory between steps, so older values are of no use
  const bool in_run = update->whichflag != 0 && computed_step_ == update->ntimestep;
  if (in_run && committee_.step() != computed_step_)
    error->all(FLERR, "'fix pair' asks for the deviation at step {}, when the committee is not "
                      "evaluated: let its interval be a multiple of {}, as in 'pair_style nequip "
                      "committee every {}', or write 'deviation 1'", update->ntimestep,
               settings_.committee_every, settings_.committee_every);
  return committee_.deviations();
}

// Adds the rows of ghosts to those of their owners, on whatever rank; at most comm_reverse numbers
// per atom. Collective.
void PairNequip::sum_onto_owners(std::vector<double> &rows, int width)
{
  if (comm->nprocs == 1) return;
  reversed_ = rows.data();
  reversed_width_ = width;
  // versions before 2025 take no width; buffers are made for the largest, which must come back
  const int largest = comm_reverse;
  comm_reverse = comm_reverse_off = width;
  comm->reverse_comm(this);
  comm_reverse = comm_reverse_off = largest;
}

int PairNequip::pack_forward_comm(int n, int *atoms, double *buffer, int, int *)
{
  return exchange_.pack_forward(n, atoms, buffer);
}

void PairNequip::unpack_forward_comm(int n, int first, double *buffer)
{
  exchange_.unpack_forward(n, first, buffer);
}

int PairNequip::pack_reverse_comm(int n, int first, double *buffer)
{
  if (exchange_.active()) return exchange_.pack_reverse(n, first, buffer);
  const double *begin = reversed_ + static_cast<size_t>(first) * reversed_width_;
  std::copy_n(begin, static_cast<size_t>(n) * reversed_width_, buffer);
  return n * reversed_width_;
}

void PairNequip::unpack_reverse_comm(int n, int *atoms, double *buffer)
{
  if (exchange_.active()) return exchange_.unpack_reverse(n, atoms, buffer);
  for (int k = 0; k < n; ++k) {
    double *row = reversed_ + static_cast<size_t>(atoms[k]) * reversed_width_;
    for (int m = 0; m < reversed_width_; ++m) row[m] += *buffer++;
  }
}

double PairNequip::memory_usage()
{
  const double per_edge = 2 * sizeof(int64_t) + 3 * sizeof(double);
  double bytes = Pair::memory_usage() + static_cast<double>(rows_.capacity() * sizeof(double)) +
      per_edge * static_cast<double>(graph_.centres.capacity());
  for (const auto &model : models_) bytes += model->memory_usage();
  return bytes;
}
