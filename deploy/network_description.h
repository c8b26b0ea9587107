// SPDX-License-Identifier: GPL-2.0-only
// A network in plain numbers, as tempermd.deploy.description writes it into a model file.
#pragma once

#include "native_kernels.h"

#include <string>
#include <vector>

namespace tempermd::native {

struct Matrix {
  int rows = 0, columns = 0;
  std::vector<double> values;    // row-major
};

// Matrices between layers of neurons, SiLU after each but the last.
using Mlp = std::vector<Matrix>;

struct BlockShape {
  int l, channels;
};

struct PathShape {
  int source;                         // block
  int l_harmonic, l_message;
  std::vector<double> couplings;      // (triples,) in the order of the kernels' loops
};

struct ActivationShape {
  int l = 0, channels = 0;            // of what it scales; l = 0 for scalars
  Activation kind = Activation::silu;
  double factor = 1.0;
};

// Onto block `output` from block `input` of a row; one matrix for all atom types or one for each.
struct BlockMap {
  int input, output;
  std::vector<Matrix> matrices;
};

struct LayerShape {
  bool resnet = false;
  std::vector<BlockShape> sources;
  std::vector<PathShape> paths;       // each makes one block of messages, with its source's channels
  Mlp radial;                         // basis -> weights, path after path
  // what the gate reads: scalars, one block of gates for each gated block, gated blocks
  std::vector<ActivationShape> scalars, gated;
  std::vector<BlockMap> senders;      // features -> what neighbors see
  std::vector<BlockMap> sums;         // summed messages -> the gate's input
  std::vector<BlockMap> connection;   // features -> the gate's input
};

struct NetworkDescription {
  bool double_precision = false;
  int n_types = 0;
  std::vector<double> cutoffs;        // (types, types) Angstrom; centre, neighbor
  int l_max = 0;
  std::vector<double> bessel;         // frequencies in units of pi / cutoff
  double power = 6.0, factor = 1.0;   // of the cutoff polynomial; times the basis
  int knots = 0;                      // of the radial weights' splines, from 0 to the cutoff
  std::vector<double> first;          // (types, channels) features before the first layer
  std::vector<LayerShape> layers;
  Mlp readout;                        // features -> one number
  std::vector<double> scales, shifts; // (types,) eV
};

// Throws ModelError where the text is truncated, says what it cannot mean, or holds a number that is
// not finite: whatever passes can be evaluated without reading outside of an array.
NetworkDescription parse_network(const std::string &text);

}    // namespace tempermd::native
