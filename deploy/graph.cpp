// SPDX-License-Identifier: GPL-2.0-only
// What a model sees of the atoms.
#include "graph.h"

namespace tempermd {

int64_t Graph::n_nodes(int level) const
{
  return nodes_within.empty() ? n_atoms() : nodes_within.at(level);
}

int64_t Graph::n_edges(int level) const
{
  return edges_within.empty() ? n_edges() : edges_within.at(level);
}

void Graph::clear()
{
  atom_types.clear();
  centres.clear();
  neighbors.clear();
  edge_vectors.clear();
  nodes_within.clear();
  edges_within.clear();
}

void Graph::add_edge(int64_t centre, int64_t neighbor, double dx, double dy, double dz)
{
  centres.push_back(centre);
  neighbors.push_back(neighbor);
  edge_vectors.insert(edge_vectors.end(), {dx, dy, dz});
}

}    // namespace tempermd
