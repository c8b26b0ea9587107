// SPDX-License-Identifier: GPL-2.0-only
// Reading and judging the test configuration of a model file.
#include "test_configuration.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <sstream>

namespace tempermd {

namespace {

constexpr int64_t kLargest = 1000000;    // atoms or edges: more means a damaged file

[[noreturn]] void damaged(const std::string &what)
{
  throw ModelError("its test configuration is damaged (" + what +
                   "); deploy the checkpoint anew with deploy-model");
}

double read_number(std::istringstream &stream, const char *what)
{
  double value = 0.0;
  if (!(stream >> value) || !std::isfinite(value)) damaged(what);
  return value;
}

int64_t read_index(std::istringstream &stream, int64_t end, const char *what)
{
  int64_t value = -1;
  if (!(stream >> value) || value < 0 || value >= end) damaged(what);
  return value;
}

}    // namespace

TestConfiguration parse_test_configuration(const std::string &text, int64_t n_types)
{
  std::istringstream stream(text);
  TestConfiguration record;
  const int64_t n_atoms = read_index(stream, kLargest, "number of atoms");
  const int64_t n_edges = read_index(stream, kLargest, "number of edges");
  if (n_atoms == 0 || n_edges == 0) damaged("no atoms or no edges");
  record.tolerance = read_number(stream, "tolerance");
  for (int64_t i = 0; i < n_atoms; ++i)
    record.graph.atom_types.push_back(read_index(stream, n_types, "atom types"));
  for (int64_t e = 0; e < n_edges; ++e) {
    const int64_t centre = read_index(stream, n_atoms, "edge list");
    const int64_t neighbor = read_index(stream, n_atoms, "edge list");
    const double dx = read_number(stream, "edge vectors");
    const double dy = read_number(stream, "edge vectors");
    const double dz = read_number(stream, "edge vectors");
    record.graph.add_edge(centre, neighbor, dx, dy, dz);
  }
  record.total_energy = read_number(stream, "energy");
  for (int64_t k = 0; k < 3 * n_atoms; ++k) record.forces.push_back(read_number(stream, "forces"));
  return record;
}

std::vector<double> forces_from_edges(const Graph &graph, const std::vector<double> &gradients)
{
  std::vector<double> forces(3 * graph.n_atoms(), 0.0);
  for (int64_t e = 0; e < graph.n_edges(); ++e) {
    for (int k = 0; k < 3; ++k) {
      forces[3 * graph.centres[e] + k] += gradients[3 * e + k];
      forces[3 * graph.neighbors[e] + k] -= gradients[3 * e + k];
    }
  }
  return forces;
}

void compare_with_record(const TestConfiguration &record, const Evaluation &evaluation)
{
  const auto forces = forces_from_edges(record.graph, evaluation.edge_gradients);
  double force_difference = 0.0;
  for (size_t k = 0; k < forces.size(); ++k) {
    const double difference = std::fabs(forces[k] - record.forces[k]);
    // std::max would drop a NaN
    if (!(difference <= force_difference)) force_difference = difference;
    if (std::isnan(difference)) break;
  }
  const auto &energies = evaluation.atomic_energies;
  const double energy = std::accumulate(energies.begin(), energies.end(), 0.0);
  const double per_atom =
      std::fabs(energy - record.total_energy) / static_cast<double>(energies.size());
  if (force_difference <= record.tolerance && per_atom <= record.tolerance) return;
  char text[256];
  std::snprintf(text, sizeof(text),
                "its forces differ from those recorded at deployment by %.3g eV/A and its energy "
                "by %.3g eV/atom (tolerance %.3g); deploy it anew with the torch of this "
                "environment",
                force_difference, per_atom, record.tolerance);
  throw ModelError(text);
}

}    // namespace tempermd
