// SPDX-License-Identifier: GPL-2.0-only
// Sums over edges: forces and virials.
#include "edge_sums.h"

namespace tempermd {

namespace {

constexpr int kAxes[6][2] = {{0, 0}, {1, 1}, {2, 2}, {0, 1}, {0, 2}, {1, 2}};

// -r (x) g, symmetrised: the antisymmetric part sums to zero by rotation invariance
void edge_virial(const double *r, const double *g, double v[6])
{
  for (int k = 0; k < 6; ++k) {
    const int a = kAxes[k][0], b = kAxes[k][1];
    v[k] = -0.5 * (r[a] * g[b] + r[b] * g[a]);
  }
}

}    // namespace

void add_edges(const Graph &graph, const std::vector<double> &gradients,
               const std::vector<int> &atoms, int width, std::vector<double> &rows)
{
  for (size_t e = 0; 3 * e < gradients.size(); ++e) {
    double *centre = &rows[static_cast<size_t>(atoms[graph.centres[e]]) * width];
    double *neighbor = &rows[static_cast<size_t>(atoms[graph.neighbors[e]]) * width];
    const double *g = &gradients[3 * e];
    for (int k = 0; k < 3; ++k) {
      centre[k] += g[k];
      neighbor[k] -= g[k];
    }
    if (width < 9) continue;
    double v[6];
    edge_virial(&graph.edge_vectors[3 * e], g, v);
    for (int k = 0; k < 6; ++k) {
      centre[3 + k] += 0.5 * v[k];
      neighbor[3 + k] += 0.5 * v[k];
    }
  }
}

void add_virial(const Graph &graph, const Evaluation &evaluation, double virial[6])
{
  for (size_t e = 0; 3 * e < evaluation.edge_gradients.size(); ++e) {
    double v[6];
    edge_virial(&graph.edge_vectors[3 * e], &evaluation.edge_gradients[3 * e], v);
    for (int k = 0; k < 6; ++k) virial[k] += v[k];
  }
  if (evaluation.virial.empty()) return;
  for (int k = 0; k < 6; ++k) virial[k] += evaluation.virial[3 * kAxes[k][0] + kAxes[k][1]];
}

}    // namespace tempermd
