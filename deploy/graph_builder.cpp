// SPDX-License-Identifier: GPL-2.0-only
// From LAMMPS's atoms and neighbor lists to a model's graph.
#include "graph_builder.h"

#include "atom.h"
#include "comm.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <utility>

using namespace LAMMPS_NS;
using tempermd::Graph;
using tempermd::ModelError;

GraphBuilder::GraphBuilder(LAMMPS *lmp, std::vector<int> type_map,
                           const std::vector<double> &cutoffs, int n_layers) :
    Pointers(lmp), type_map_(std::move(type_map)), n_layers_(std::max(n_layers, 1))
{
  for (const double cutoff : cutoffs) cutoffs_squared_.push_back(cutoff * cutoff);
}

void GraphBuilder::build(const NeighList *list, Graph &graph)
{
  if (lists_are_new()) {
    fold_images();
    mark_lists(list);
  }
  graph.clear();
  atoms_.clear();
  nodes_.assign(first_images_.size(), -1);
  for (int i = 0; i < atom->nlocal; ++i)
    if (type_map_[atom->type[i]] >= 0) add_node(i, graph);
  int64_t centre = 0;
  for (int level = 0; level < n_layers_; ++level) {
    const int64_t end = graph.n_atoms();
    graph.nodes_within.push_back(end);
    for (; centre < end; ++centre) add_edges(centre, list, graph);
    graph.edges_within.push_back(graph.n_edges());
    if (comm->nprocs == 1 && graph.n_atoms() > end)
      throw ModelError(fmt::format("pair_style nequip finds no owner of ghost atom {} at step {}",
                                   atom->tag[atoms_[end]], update->ntimestep));
  }
  graph.nodes_within.push_back(graph.n_atoms());
}

bool GraphBuilder::lists_are_new()
{
  const size_t n_all = atom->nlocal + atom->nghost;
  const bool same = neighbor->ago > 0 && neighbor->ncalls == n_builds_ &&
      neighbor->lastcall == last_build_ && first_images_.size() == n_all;
  n_builds_ = neighbor->ncalls;
  last_build_ = neighbor->lastcall;
  return !same;
}

// Sorted IDs need no atom map and no array as long as the largest ID.
void GraphBuilder::fold_images()
{
  const int n_all = atom->nlocal + atom->nghost;
  std::vector<std::pair<tagint, int>> ids(n_all);
  for (int i = 0; i < n_all; ++i) ids[i] = {atom->tag[i], i};
  std::sort(ids.begin(), ids.end());
  first_images_.resize(n_all);
  int first = 0;
  for (int k = 0; k < n_all; ++k) {
    const auto [id, i] = ids[k];
    const bool same_id = k > 0 && ids[k - 1].first == id;
    if (same_id && i < atom->nlocal)
      throw ModelError(fmt::format("pair_style nequip needs one atom for each atom ID, but {} "
                                   "is there twice: see 'reset_atoms id'", id));
    if (!same_id) first = i;
    first_images_[i] = first;
  }
}

void GraphBuilder::mark_lists(const NeighList *list)
{
  has_list_.assign(first_images_.size(), 0);
  const int n_lists = list->inum + (list->ghost ? list->gnum : 0);
  for (int ii = 0; ii < n_lists; ++ii) has_list_[list->ilist[ii]] = 1;
}

void GraphBuilder::add_node(int i, Graph &graph)
{
  nodes_[first_images_[i]] = graph.n_atoms();
  atoms_.push_back(i);
  graph.atom_types.push_back(type_map_[atom->type[i]]);
}

// A node is known by the image through which it was first reached: within h hops of a local atom,
// so that its own neighbors lie within the ghost shell. Other images of it may lack some of them.
void GraphBuilder::add_edges(int64_t centre, const NeighList *list, Graph &graph)
{
  const int i = atoms_[centre];
  if (!has_list_[i])
    throw ModelError(fmt::format("pair_style nequip has no neighbor list of atom {} at step {}: "
                                 "no other hybrid sub-style and no 'neigh_modify include' may "
                                 "take its type away", atom->tag[i], update->ntimestep));
  double **x = atom->x;
  const int *type = atom->type;
  const double *cutoffs_squared = &cutoffs_squared_[type[i] * type_map_.size()];
  const int *neighbors = list->firstneigh[i];
  const double xi = x[i][0], yi = x[i][1], zi = x[i][2];
  for (int jj = 0; jj < list->numneigh[i]; ++jj) {
    const int j = neighbors[jj] & NEIGHMASK;
    if (type_map_[type[j]] < 0) continue;
    const double dx = x[j][0] - xi, dy = x[j][1] - yi, dz = x[j][2] - zi;
    if (dx * dx + dy * dy + dz * dz >= cutoffs_squared[type[j]]) continue;
    if (nodes_[first_images_[j]] < 0) add_node(j, graph);
    graph.add_edge(centre, nodes_[first_images_[j]], dx, dy, dz);
  }
}

double GraphBuilder::memory_usage() const
{
  return static_cast<double>(first_images_.capacity() * sizeof(int) + has_list_.capacity() +
                             nodes_.capacity() * sizeof(int64_t) + atoms_.capacity() * sizeof(int));
}
