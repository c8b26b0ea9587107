// SPDX-License-Identifier: GPL-2.0-only
// pair_style nequip: forces of a deployed NequIP model in LAMMPS.
#include "pair_nequip.h"

#include "atom.h"
#include "comm.h"
#include "edge_sums.h"
#include "error.h"
#include "force.h"
#include "ghost_shell.h"
#include "graph_builder.h"
#include "memory.h"
#include "modify.h"
#include "neighbor.h"
#include "shared_fault.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;
using tempermd::Evaluation;
using tempermd::ModelError;

PairNequip::PairNequip(LAMMPS *lmp) : Pair(lmp)
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
  comm_reverse = comm_reverse_off = 9;
}

PairNequip::~PairNequip()
{
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
  memory->destroy(cutghost);
}

void PairNequip::settings(int narg, char **arg)
{
  if (narg > 0)
    error->all(FLERR, "pair_style nequip takes no arguments, got '{}': name the model file in "
                      "pair_coeff", arg[0]);
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
  if (narg != 3 + atom->ntypes)
    error->all(FLERR, "pair_coeff of pair_style nequip expects '* * MODEL.nequip.pth' and one "
                      "element for each of the {} atom types, got {} elements",
               atom->ntypes, std::max(narg - 3, 0));
  if (std::strcmp(arg[0], "*") != 0 || std::strcmp(arg[1], "*") != 0)
    error->all(FLERR, "pair_coeff of pair_style nequip must start with '* *', got '{} {}'", arg[0],
               arg[1]);
  set_units();
  load_model(arg[2]);
  map_types(narg - 3, arg + 3);
}

void PairNequip::set_units()
{
  const std::string units = update->unit_style;
  if (units != "metal" && units != "real")
    error->all(FLERR, "pair_style nequip needs 'units metal' or 'units real', got 'units {}'",
               units);
  eV_ = units == "metal" ? 1.0 : utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
}

void PairNequip::load_model(const std::string &name)
{
  if (!utils::strmatch(name, "\\.nequip\\.pt[h2]$"))
    error->all(FLERR, "Model file {} has the wrong extension: expected NAME.nequip.pth or "
                      "NAME.nequip.pt2, as made by deploy-model", name);
  // each rank may see other files
  const std::string path = utils::get_potential_file_path(name);
  std::string missing;
  if (path.empty())
    missing = "Model file " + name + " does not exist or is not readable, here or in the folders "
              "of LAMMPS_POTENTIALS";
  stop_if_any(lmp, missing);
  model_path_ = path;
  stop_if_any(lmp, fault_of([this] {
    try {
      model_ = std::make_unique<tempermd::NequipModel>(model_path_, "cpu");
    } catch (const ModelError &failure) {
      throw ModelError("Model file " + model_path_ + " is refused: " + failure.what());
    }
  }));
  if (comm->nprocs > 1) refuse_several_ranks();
  shell_ = std::make_unique<GhostShell>(lmp, model_->num_layers(), model_->r_max());
  if (comm->me == 0)
    utils::logmesg(lmp, "NequIP model {}: {}\n", model_path_, model_->describe());
}

void PairNequip::refuse_several_ranks()
{
  if (model_->exact_with_ghosts() && model_->num_layers() > 0) return;
  error->all(FLERR, "Model file {} runs on one MPI rank only, got {}: it does not say its number of "
                    "layers or sums the energies of ghosts, as files of nequip-compile do; {}",
             model_path_, comm->nprocs, tempermd::kRedeploy);
}

void PairNequip::map_types(int n_types, char **elements)
{
  type_map_.assign(n_types + 1, -1);
  for (int t = 1; t <= n_types; ++t) {
    const std::string element = elements[t - 1];
    if (element == "NULL") continue;
    type_map_[t] = model_->type_of(element);
    if (type_map_[t] < 0) {
      std::string known;
      for (const auto &type_name : model_->type_names()) known += " " + type_name;
      error->all(FLERR, "Element {} is unknown to model {}, which knows:{}", element, model_path_,
                 known);
    }
  }
  int n_set = 0;
  for (int i = 1; i <= n_types; ++i) {
    for (int j = i; j <= n_types; ++j) {
      setflag[i][j] = setflag[j][i] = (type_map_[i] >= 0 && type_map_[j] >= 0) ? 1 : 0;
      n_set += setflag[i][j];
    }
  }
  if (n_set == 0)
    error->all(FLERR, "pair_coeff of pair_style nequip maps every atom type to NULL");
  std::vector<double> cutoffs;    // (types + 1, types + 1)
  for (const int centre : type_map_)
    for (const int other : type_map_)
      cutoffs.push_back(centre < 0 || other < 0 ? 0.0 : model_->cutoff(centre, other));
  builder_ = std::make_unique<GraphBuilder>(lmp, type_map_, cutoffs, model_->num_layers());
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
  cutghost[i][j] = cutghost[j][i] = model_->r_max();
  return model_->r_max();
}

void PairNequip::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  shell_->check();
  Evaluation evaluation;
  stop_if_any(lmp, fault_of([&] {
    builder_->build(list, graph_);
    if (graph_.n_atoms() == 0) return;
    evaluation = evaluate();
    require_finite(evaluation);
  }));
  add_energies(evaluation.atomic_energies);
  add_forces(evaluation);
  if (vflag_global) tempermd::add_virial(graph_, evaluation, virial);
}

// No error of LAMMPS may be raised by `call`: it would not reach the other ranks.
std::string PairNequip::fault_of(const std::function<void()> &call) const
{
  try {
    call();
  } catch (const ModelError &failure) {
    return failure.what();
  } catch (const std::bad_alloc &) {
    return "pair_style nequip is out of memory on MPI rank " + std::to_string(comm->me);
  }
  return "";
}

Evaluation PairNequip::evaluate()
{
  Evaluation evaluation;
  try {
    evaluation = model_->evaluate(graph_, comm->nthreads);
  } catch (const ModelError &failure) {
    throw ModelError(fmt::format("NequIP model {} failed at step {}: {}", model_path_,
                                 update->ntimestep, failure.what()));
  }
  if (vflag_atom && !evaluation.forces.empty())
    throw ModelError(fmt::format("NequIP model {} gives forces but no gradients of edges, so there "
                                 "is no virial per atom (stress/atom); {}", model_path_,
                                 tempermd::kRedeploy));
  for (auto *numbers : {&evaluation.atomic_energies, &evaluation.edge_gradients,
                        &evaluation.forces, &evaluation.virial})
    for (double &number : *numbers) number *= eV_;
  return evaluation;
}

void PairNequip::not_finite(const char *what, int64_t node) const
{
  throw ModelError(fmt::format("NequIP model {} gives a {} that is not finite for atom {} at step "
                               "{}", model_path_, what, atom->tag[builder_->atoms()[node]],
                               update->ntimestep));
}

void PairNequip::require_finite(const Evaluation &evaluation) const
{
  for (int64_t node = 0; node < graph_.n_local(); ++node)
    if (!std::isfinite(evaluation.atomic_energies[node])) not_finite("potential energy", node);
  for (size_t k = 0; k < evaluation.edge_gradients.size(); ++k)
    if (!std::isfinite(evaluation.edge_gradients[k])) not_finite("force", graph_.centres[k / 3]);
  for (size_t k = 0; k < evaluation.forces.size(); ++k)
    if (!std::isfinite(evaluation.forces[k])) not_finite("force", k / 3);
}

// Those of ghosts count on the ranks that own them.
void PairNequip::add_energies(const std::vector<double> &atomic_energies)
{
  if (atomic_energies.empty()) return;
  for (int64_t node = 0; node < graph_.n_local(); ++node) {
    if (eflag_global) eng_vdwl += atomic_energies[node];
    if (eflag_atom) eatom[builder_->atoms()[node]] += atomic_energies[node];
  }
}

// Ghosts get forces (and virials) of this rank's energies. LAMMPS sums them onto their owners only
// with newton on, so this is done here, on rows of our own, for both settings.
void PairNequip::add_forces(const Evaluation &evaluation)
{
  const int width = vflag_atom ? 9 : 3;
  rows_.assign(static_cast<size_t>(atom->nlocal + atom->nghost) * width, 0.0);
  const auto &atoms = builder_->atoms();
  tempermd::add_edges(graph_, evaluation.edge_gradients, atoms, width, rows_);
  for (size_t k = 0; k < evaluation.forces.size(); ++k)
    rows_[atoms[k / 3] * width + k % 3] += evaluation.forces[k];
  sum_onto_owners(rows_, width);
  for (int i = 0; i < atom->nlocal; ++i) {
    const double *sums = &rows_[static_cast<size_t>(i) * width];
    for (int k = 0; k < 3; ++k) atom->f[i][k] += sums[k];
    for (int k = 3; k < width; ++k) vatom[i][k - 3] += sums[k];
  }
}

// Adds the rows of ghosts to those of their owners, on whatever rank; at most comm_reverse numbers
// per atom. Collective.
void PairNequip::sum_onto_owners(std::vector<double> &rows, int width)
{
  if (comm->nprocs == 1) return;
  reversed_ = rows.data();
  reversed_width_ = width;
  comm->reverse_comm(this, width);
}

int PairNequip::pack_reverse_comm(int n, int first, double *buffer)
{
  const double *begin = reversed_ + static_cast<size_t>(first) * reversed_width_;
  std::copy_n(begin, static_cast<size_t>(n) * reversed_width_, buffer);
  return n * reversed_width_;
}

void PairNequip::unpack_reverse_comm(int n, int *atoms, double *buffer)
{
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
  if (builder_) bytes += builder_->memory_usage();
  return bytes;
}
