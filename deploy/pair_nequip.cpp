// SPDX-License-Identifier: GPL-2.0-only
// pair_style nequip: forces of a deployed NequIP model in LAMMPS.
#include "pair_nequip.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

using namespace LAMMPS_NS;

PairNequip::PairNequip(LAMMPS *lmp) : Pair(lmp)
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  // ghost forces are folded onto their owners here, so f.r over ghosts would miss them
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
}

PairNequip::~PairNequip()
{
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairNequip::settings(int narg, char **arg)
{
  if (narg > 0)
    error->all(FLERR, "pair_style nequip takes no arguments, got '{}': name the model file in "
                      "pair_coeff", arg[0]);
  if (comm->nprocs > 1)
    error->all(FLERR, "pair_style nequip runs on one MPI rank in this version, got {}: start lmp "
                      "without mpirun, or by mpirun -np 1, and set OMP_NUM_THREADS for threads",
               comm->nprocs);
}

void PairNequip::allocate()
{
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
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
  if (std::strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style nequip needs 'units metal' (eV, Angstrom, ps), got 'units {}'",
               update->unit_style);
  load_model(arg[2]);
  map_types(narg - 3, arg + 3);
}

void PairNequip::load_model(const std::string &name)
{
  if (!utils::strmatch(name, "\\.nequip\\.pt[h2]$"))
    error->all(FLERR, "Model file {} has the wrong extension: expected NAME.nequip.pth or "
                      "NAME.nequip.pt2, as made by deploy-model", name);
  model_path_ = utils::get_potential_file_path(name);
  if (model_path_.empty())
    error->all(FLERR, "Model file {} does not exist or is not readable, here or in the folders "
                      "of LAMMPS_POTENTIALS", name);
  std::string fault;
  // error->all throws a LAMMPS exception itself, so it is called outside the try block
  try {
    model_ = std::make_unique<tempermd::NequipModel>(model_path_, "cpu");
  } catch (const tempermd::ModelError &failure) {
    fault = failure.what();
  }
  if (!fault.empty()) error->all(FLERR, "Model file {} is refused: {}", model_path_, fault);
  if (comm->me == 0)
    utils::logmesg(lmp, "NequIP model {}: {}\n", model_path_, model_->describe());
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
  neighbor->add_request(this, NeighConst::REQ_FULL);
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
  return model_->r_max();
}

void PairNequip::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  find_owners();
  build_graph();
  if (graph_.n_atoms() == 0) return;
  const auto evaluation = evaluate();
  add_energies(evaluation.atomic_energies);
  add_forces(evaluation.edge_gradients);
  if (vflag_either) add_virial(evaluation.edge_gradients);
}

// With one rank every ghost is an image of a local atom. A sorted list of IDs needs no atom map
// and no array as long as the largest ID.
void PairNequip::find_owners()
{
  const int nlocal = atom->nlocal;
  const int nall = nlocal + atom->nghost;
  std::vector<std::pair<tagint, int>> ids(nlocal);
  for (int i = 0; i < nlocal; ++i) ids[i] = {atom->tag[i], i};
  std::sort(ids.begin(), ids.end());
  owners_.resize(nall);
  for (int i = 0; i < nlocal; ++i) owners_[i] = i;
  for (int i = nlocal; i < nall; ++i) {
    const tagint id = atom->tag[i];
    const auto found = std::lower_bound(ids.begin(), ids.end(), std::make_pair(id, 0));
    if (found == ids.end() || found->first != id)
      error->one(FLERR, "pair_style nequip finds no owner of ghost atom {} at step {}", id,
                 update->ntimestep);
    owners_[i] = found->second;
  }
}

void PairNequip::build_graph()
{
  graph_.clear();
  locals_.clear();
  nodes_.assign(atom->nlocal, -1);
  for (int i = 0; i < atom->nlocal; ++i) {
    const int model_type = type_map_[atom->type[i]];
    if (model_type < 0) continue;
    nodes_[i] = static_cast<int>(locals_.size());
    locals_.push_back(i);
    graph_.atom_types.push_back(model_type);
  }
  double **x = atom->x;
  for (int ii = 0; ii < list->inum; ++ii) {
    const int i = list->ilist[ii];
    const int centre_type = type_map_[atom->type[i]];
    if (centre_type < 0) continue;
    const int *neighbors = list->firstneigh[i];
    for (int jj = 0; jj < list->numneigh[i]; ++jj) {
      const int j = neighbors[jj] & NEIGHMASK;
      const int neighbor_type = type_map_[atom->type[j]];
      if (neighbor_type < 0) continue;
      const double dx = x[j][0] - x[i][0];
      const double dy = x[j][1] - x[i][1];
      const double dz = x[j][2] - x[i][2];
      const double cutoff = model_->cutoff(centre_type, neighbor_type);
      if (dx * dx + dy * dy + dz * dz >= cutoff * cutoff) continue;
      graph_.add_edge(nodes_[i], nodes_[owners_[j]], dx, dy, dz);
    }
  }
}

tempermd::Evaluation PairNequip::evaluate()
{
  std::string fault;
  tempermd::Evaluation evaluation;
  try {
    evaluation = model_->evaluate(graph_, comm->nthreads);
  } catch (const tempermd::ModelError &failure) {
    fault = failure.what();
  }
  if (!fault.empty())
    error->one(FLERR, "NequIP model {} failed at step {}: {}", model_path_, update->ntimestep,
               fault);
  return evaluation;
}

void PairNequip::not_finite(const char *what, int i)
{
  error->one(FLERR, "NequIP model {} gives a {} that is not finite for atom {} at step {}",
             model_path_, what, atom->tag[i], update->ntimestep);
}

void PairNequip::add_energies(const std::vector<double> &atomic_energies)
{
  for (size_t node = 0; node < atomic_energies.size(); ++node) {
    const double energy = atomic_energies[node];
    if (!std::isfinite(energy)) not_finite("potential energy", locals_[node]);
    if (eflag_global) eng_vdwl += energy;
    if (eflag_atom) eatom[locals_[node]] += energy;
  }
}

void PairNequip::add_forces(const std::vector<double> &edge_gradients)
{
  double **f = atom->f;
  for (int64_t e = 0; e < graph_.n_edges(); ++e) {
    double *f_centre = f[locals_[graph_.centres[e]]];
    double *f_neighbor = f[locals_[graph_.neighbors[e]]];
    for (int k = 0; k < 3; ++k) {
      const double gradient = edge_gradients[3 * e + k];
      if (!std::isfinite(gradient)) not_finite("force", locals_[graph_.centres[e]]);
      f_centre[k] += gradient;
      f_neighbor[k] -= gradient;
    }
  }
}

void PairNequip::add_virial(const std::vector<double> &edge_gradients)
{
  constexpr int axes[6][2] = {{0, 0}, {1, 1}, {2, 2}, {0, 1}, {0, 2}, {1, 2}};
  for (int64_t e = 0; e < graph_.n_edges(); ++e) {
    const double *r = &graph_.edge_vectors[3 * e];
    const double *g = &edge_gradients[3 * e];
    double v[6];
    // -r (x) g, symmetrised: the antisymmetric part sums to zero by rotation invariance
    for (int k = 0; k < 6; ++k) {
      const int a = axes[k][0], b = axes[k][1];
      v[k] = -0.5 * (r[a] * g[b] + r[b] * g[a]);
    }
    if (vflag_global)
      for (int k = 0; k < 6; ++k) virial[k] += v[k];
    if (vflag_atom) add_atom_virial(v, e);
  }
}

// One partition of the total: each edge gives half to its centre, half to its neighbor.
void PairNequip::add_atom_virial(const double v[6], int64_t e)
{
  double *v_centre = vatom[locals_[graph_.centres[e]]];
  double *v_neighbor = vatom[locals_[graph_.neighbors[e]]];
  for (int k = 0; k < 6; ++k) {
    v_centre[k] += 0.5 * v[k];
    v_neighbor[k] += 0.5 * v[k];
  }
}

double PairNequip::memory_usage()
{
  const double per_edge = 2 * sizeof(int64_t) + 3 * sizeof(double);
  return Pair::memory_usage() + per_edge * static_cast<double>(graph_.centres.capacity());
}
