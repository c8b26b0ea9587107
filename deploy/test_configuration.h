// SPDX-License-Identifier: GPL-2.0-only
// The small configuration inside a model file that shows whether the model computes as it should.
#pragma once

#include "graph.h"

namespace tempermd {

struct TestConfiguration {
  Graph graph;
  double tolerance = 0.0;            // eV/Angstrom for forces, eV per atom for the energy
  double total_energy = 0.0;         // eV
  std::vector<double> forces;        // (N, 3) eV/Angstrom
};

// Parses the text that deploy-model wrote; throws ModelError when it is damaged.
TestConfiguration parse_test_configuration(const std::string &text, int64_t n_types);

// F_i += dE/d(edge vector), F_j -= dE/d(edge vector); returns (N, 3).
std::vector<double> forces_from_edges(const Graph &graph, const std::vector<double> &gradients);

// Throws ModelError with the largest difference when an evaluation is not the recorded one.
void compare_with_record(const TestConfiguration &record, const Evaluation &evaluation);

}    // namespace tempermd
