// SPDX-License-Identifier: GPL-2.0-only
// Sums over edges: forces and virials from the gradients of a model's energy by its edge vectors.
#pragma once

#include "graph.h"

namespace tempermd {

// Adds to rows (atoms, width): three forces, and where width is 9 six virials xx yy zz xy xz yz, of
// which each edge gives half to its centre and half to its neighbor: one partition of the total.
// atoms: node -> row.
void add_edges(const Graph &graph, const std::vector<double> &gradients,
               const std::vector<int> &atoms, int width, std::vector<double> &rows);

// Adds the total virial: xx yy zz xy xz yz.
void add_virial(const Graph &graph, const Evaluation &evaluation, double virial[6]);

}    // namespace tempermd
