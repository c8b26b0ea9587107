// SPDX-License-Identifier: GPL-2.0-only
// pair_style nequip: forces of a deployed NequIP model in LAMMPS.
#include "pair_nequip.h"

#include "atom.h"
#include "comm.h"
#include "device.h"
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
#include <limits>
#include <utility>

using namespace LAMMPS_NS;

PairNequip::PairNequip(LAMMPS *lmp) : Pair(lmp), guard_(lmp)
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  // ghost forces are folded onto their owners here, so f.r over ghosts would miss them
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
  pvector = new double[3]();    // max, mean and min of the committee's deviation
}

PairNequip::~PairNequip()
{
  delete[] pvector;
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairNequip::settings(int narg, char **arg)
{
  if (comm->nprocs > 1)
    error->all(FLERR, "pair_style nequip runs on one MPI rank in this version, got {}: start lmp "
                      "without mpirun, or by mpirun -np 1, and set OMP_NUM_THREADS for threads",
               comm->nprocs);
  settings_ = parse_pair_settings(std::vector<std::string>(arg, arg + narg), lmp);
  guard_.set(settings_.guard);
  forget_models();
  choose_device();
}

// The device may have changed: models are loaded anew by the next pair_coeff.
void PairNequip::forget_models()
{
  members_.clear();
  committee_.set(0);
  nextra = 0;
  if (!allocated) return;
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = 1; j <= atom->ntypes; ++j) setflag[i][j] = 0;
}

void PairNequip::choose_device()
{
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, comm->me, MPI_INFO_NULL, &node);
  int node_rank = 0, node_ranks = 1;
  MPI_Comm_rank(node, &node_rank);
  MPI_Comm_size(node, &node_ranks);
  MPI_Comm_free(&node);
  const int n_gpus = settings_.device == "cpu" ? 0 : tempermd::count_gpus();
  std::string fault;
  try {
    device_ = tempermd::resolve_device(settings_.device, node_rank, n_gpus);
  } catch (const tempermd::ModelError &failure) {
    fault = failure.what();
  }
  // one node may have GPUs where another has none
  int failed = fault.empty() ? 0 : 1;
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, world);
  if (!fault.empty()) error->one(FLERR, "pair_style nequip: {}", fault);
  say_device(node_ranks, n_gpus);
}

void PairNequip::say_device(int node_ranks, int n_gpus)
{
  int sharing = 0;    // ranks on the fullest GPU of this node
  if (device_ != "cpu")
    sharing = utils::strmatch(settings_.device, ":") ? node_ranks : (node_ranks - 1) / n_gpus + 1;
  MPI_Allreduce(MPI_IN_PLACE, &sharing, 1, MPI_INT, MPI_MAX, world);
  if (comm->me != 0) return;
  if (sharing == 0)
    utils::logmesg(lmp, "pair_style nequip computes on the CPU\n");
  else
    utils::logmesg(lmp, "pair_style nequip computes on the GPU ({} on the first rank), with up to {} "
                        "rank(s) on each\n", device_, sharing);
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
  if (std::strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style nequip needs 'units metal' (eV, Angstrom, ps), got 'units {}'",
               update->unit_style);
  if (narg < 3)
    error->all(FLERR, "pair_coeff of pair_style nequip expects '* * MODEL.nequip.pth' and one "
                      "element for each of the {} atom types, got {} words", atom->ntypes, narg);
  if (std::strcmp(arg[0], "*") != 0 || std::strcmp(arg[1], "*") != 0)
    error->all(FLERR, "pair_coeff of pair_style nequip must start with '* *', got '{} {}'", arg[0],
               arg[1]);
  // the first word after '* *' is always a model; further ones show it by their extension
  int n_models = 1;
  while (2 + n_models < narg && utils::strmatch(arg[2 + n_models], "\\.pt[h2]?$")) ++n_models;
  const int n_elements = narg - 2 - n_models;
  if (n_elements != atom->ntypes)
    error->all(FLERR, "pair_coeff of pair_style nequip expects '* * MODEL.nequip.pth' and one "
                      "element for each of the {} atom types, got {} elements", atom->ntypes,
               n_elements);
  forget_models();
  for (int k = 0; k < n_models; ++k) load_model(arg[2 + k]);
  for (auto &member : members_) map_types(member, n_elements, arg + 2 + n_models);
  set_flags();
  check_committee();
}

void PairNequip::load_model(const std::string &name)
{
  if (!utils::strmatch(name, "\\.nequip\\.pt[h2]$"))
    error->all(FLERR, "Model file {} has the wrong extension: expected NAME.nequip.pth or "
                      "NAME.nequip.pt2, as made by deploy-model", name);
  Member member;
  member.path = utils::get_potential_file_path(name);
  if (member.path.empty())
    error->all(FLERR, "Model file {} does not exist or is not readable, here or in the folders "
                      "of LAMMPS_POTENTIALS", name);
  std::string fault;
  // error->all throws a LAMMPS exception itself, so it is called outside the try block
  try {
    member.model = std::make_unique<tempermd::NequipModel>(member.path, device_);
  } catch (const tempermd::ModelError &failure) {
    fault = failure.what();
  }
  if (!fault.empty()) error->all(FLERR, "Model file {} is refused: {}", member.path, fault);
  if (comm->me == 0)
    utils::logmesg(lmp, "NequIP model {}: {}\n", member.path, member.model->describe());
  members_.push_back(std::move(member));
}

void PairNequip::map_types(Member &member, int n_types, char **elements)
{
  member.type_map.assign(n_types + 1, -1);
  for (int t = 1; t <= n_types; ++t) {
    const std::string element = elements[t - 1];
    if (element == "NULL") continue;
    member.type_map[t] = member.model->type_of(element);
    if (member.type_map[t] >= 0) continue;
    std::string known;
    for (const auto &type_name : member.model->type_names()) known += " " + type_name;
    error->all(FLERR, "Element {} is unknown to model {}, which knows:{}", element, member.path,
               known);
  }
}

void PairNequip::set_flags()
{
  const auto &type_map = members_.front().type_map;
  int n_set = 0;
  for (int i = 1; i <= atom->ntypes; ++i) {
    for (int j = i; j <= atom->ntypes; ++j) {
      setflag[i][j] = setflag[j][i] = (type_map[i] >= 0 && type_map[j] >= 0) ? 1 : 0;
      n_set += setflag[i][j];
    }
  }
  if (n_set == 0)
    error->all(FLERR, "pair_coeff of pair_style nequip maps every atom type to NULL");
}

void PairNequip::check_committee()
{
  if (members_.size() > 1) {
    committee_.set(settings_.committee_every);
    nextra = 3;
    return;
  }
  const char *word = settings_.committee ? "committee" : "guard deviation";
  if (settings_.committee || settings_.guard.deviation > 0.0)
    error->all(FLERR, "pair_style nequip with '{}' expects two models or more in pair_coeff, got 1",
               word);
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
  first_evaluation_ = true;
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
  double cutoff = 0.0;
  for (const auto &member : members_) cutoff = std::max(cutoff, member.model->r_max());
  return cutoff;
}

void PairNequip::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  guard_.begin();
  find_owners();
  auto &driver = members_.front();
  build_graph(driver);
  const auto evaluation = evaluate(driver);
  add_energies(evaluation.atomic_energies);
  sum_forces(driver, evaluation.edge_gradients);
  double *f = atom->nlocal > 0 ? atom->f[0] : nullptr;
  for (size_t k = 0; k < forces_.size(); ++k) f[k] += forces_[k];
  if (vflag_either) add_virial(evaluation.edge_gradients);
  check_numbers(driver, evaluation.atomic_energies);
  look_at_limits();
  ask_committee();
  guard_.judge();
  first_evaluation_ = false;
  evaluated_step_ = update->ntimestep;
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

void PairNequip::build_graph(const Member &member)
{
  const auto &type_map = member.type_map;
  graph_.clear();
  locals_.clear();
  nodes_.assign(atom->nlocal, -1);
  for (int i = 0; i < atom->nlocal; ++i) {
    const int model_type = type_map[atom->type[i]];
    if (model_type < 0) continue;
    nodes_[i] = static_cast<int>(locals_.size());
    locals_.push_back(i);
    graph_.atom_types.push_back(model_type);
  }
  double **x = atom->x;
  for (int ii = 0; ii < list->inum; ++ii) {
    const int i = list->ilist[ii];
    const int centre_type = type_map[atom->type[i]];
    if (centre_type < 0) continue;
    const int *neighbors = list->firstneigh[i];
    for (int jj = 0; jj < list->numneigh[i]; ++jj) {
      const int j = neighbors[jj] & NEIGHMASK;
      const int neighbor_type = type_map[atom->type[j]];
      if (neighbor_type < 0) continue;
      const double dx = x[j][0] - x[i][0];
      const double dy = x[j][1] - x[i][1];
      const double dz = x[j][2] - x[i][2];
      const double cutoff = member.model->cutoff(centre_type, neighbor_type);
      if (dx * dx + dy * dy + dz * dz >= cutoff * cutoff) continue;
      graph_.add_edge(nodes_[i], nodes_[owners_[j]], dx, dy, dz);
    }
  }
}

tempermd::Evaluation PairNequip::evaluate(Member &member)
{
  std::string fault;
  tempermd::Evaluation evaluation;
  try {
    evaluation = member.model->evaluate(graph_, comm->nthreads);
  } catch (const tempermd::ModelError &failure) {
    fault = failure.what();
  }
  if (!fault.empty())
    error->one(FLERR, "NequIP model {} failed at step {}: {}", member.path, update->ntimestep,
               fault);
  return evaluation;
}

void PairNequip::add_energies(const std::vector<double> &atomic_energies)
{
  for (size_t node = 0; node < atomic_energies.size(); ++node) {
    const double energy = atomic_energies[node];
    if (eflag_global) eng_vdwl += energy;
    if (eflag_atom) eatom[locals_[node]] += energy;
  }
}

void PairNequip::sum_forces(const Member &, const std::vector<double> &edge_gradients)
{
  forces_.assign(3 * static_cast<size_t>(atom->nlocal), 0.0);
  for (int64_t e = 0; e < graph_.n_edges(); ++e) {
    double *f_centre = &forces_[3 * locals_[graph_.centres[e]]];
    double *f_neighbor = &forces_[3 * locals_[graph_.neighbors[e]]];
    for (int k = 0; k < 3; ++k) {
      const double gradient = edge_gradients[3 * e + k];
      f_centre[k] += gradient;
      f_neighbor[k] -= gradient;
    }
  }
}

void PairNequip::check_numbers(const Member &member, const std::vector<double> &atomic_energies)
{
  const auto source = "NequIP model " + member.path;
  for (size_t node = 0; node < locals_.size(); ++node)
    if (!std::isfinite(atomic_energies[node]))
      guard_.see_not_finite(source, "potential energy", atom->tag[locals_[node]]);
  for (int i = 0; i < atom->nlocal; ++i)
    if (!std::isfinite(forces_[3 * i] + forces_[3 * i + 1] + forces_[3 * i + 2]))
      guard_.see_not_finite(source, "force", atom->tag[i]);
}

// Of the driving model: its graph and its forces are still there.
void PairNequip::look_at_limits()
{
  if (!guard_.due(update->ntimestep)) return;
  if (guard_.watches_distance()) {
    double shortest = std::numeric_limits<double>::infinity();
    int64_t edge = -1;
    for (int64_t e = 0; e < graph_.n_edges(); ++e) {
      const double *r = &graph_.edge_vectors[3 * e];
      const double squared = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
      if (squared >= shortest) continue;
      shortest = squared;
      edge = e;
    }
    if (edge >= 0)
      guard_.see_distance(std::sqrt(shortest), atom->tag[locals_[graph_.centres[edge]]],
                          atom->tag[locals_[graph_.neighbors[edge]]]);
  }
  if (!guard_.watches_force()) return;
  for (int i = 0; i < atom->nlocal; ++i) {
    const double *f = &forces_[3 * i];
    guard_.see_force(std::sqrt(f[0] * f[0] + f[1] * f[1] + f[2] * f[2]), atom->tag[i]);
  }
}

void PairNequip::ask_committee()
{
  const bigint step = update->ntimestep;
  const bool guarded = guard_.due(step) && guard_.watches_deviation();
  if (!committee_.exists() || !(committee_.due(step) || guarded || first_evaluation_)) return;
  committee_.begin(atom->nlocal);
  committee_.add(forces_.data());
  for (size_t k = 1; k < members_.size(); ++k) {
    build_graph(members_[k]);
    const auto evaluation = evaluate(members_[k]);
    sum_forces(members_[k], evaluation.edge_gradients);
    check_numbers(members_[k], evaluation.atomic_energies);
    committee_.add(forces_.data());
  }
  std::vector<char> counted(atom->nlocal);
  for (int i = 0; i < atom->nlocal; ++i)
    counted[i] = members_.front().type_map[atom->type[i]] >= 0;
  committee_.end(step, counted, world);
  // compute pair sums over ranks
  const bool first = comm->me == 0;
  pvector[0] = first ? committee_.max() : 0.0;
  pvector[1] = first ? committee_.mean() : 0.0;
  pvector[2] = first ? committee_.min() : 0.0;
  if (!guarded) return;
  for (int i = 0; i < atom->nlocal; ++i)
    guard_.see_deviation(committee_.deviations()[i], atom->tag[i]);
}

// 'fix pair' with 1 after the field sets this flag at its steps: the committee is asked then too.
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
                      "got {}", members_.size());
  // atoms have moved between indices since an earlier step
  if (update->whichflag != 0 && !first_evaluation_ && evaluated_step_ == update->ntimestep &&
      committee_.step() != evaluated_step_)
    error->all(FLERR, "'fix pair' asks for the deviation at step {}, when the committee is not "
                      "evaluated: let its interval be a multiple of {}, as in 'pair_style nequip "
                      "committee every {}', or write 'deviation 1'",
               update->ntimestep, settings_.committee_every, settings_.committee_every);
  return committee_.deviations();
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
