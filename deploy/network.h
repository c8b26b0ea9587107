// SPDX-License-Identifier: GPL-2.0-only
// The border between a model and the library that runs it: a file opened on a device.
#pragma once

#include "graph.h"

#include <map>
#include <memory>
#include <string>

namespace tempermd {

using Metadata = std::map<std::string, std::string>;

class Network {
 public:
  virtual ~Network() = default;

  // Energies of all atoms; gradients of the energy of those of level 0.
  virtual Evaluation evaluate(const Graph &graph, int n_threads) = 0;

  // False where the file sums the energies of all nodes: wrong as soon as there are ghosts.
  virtual bool exact_with_ghosts() const = 0;
};

struct OpenedNetwork {
  std::unique_ptr<Network> network;
  Metadata metadata;    // empty where the file has none
};

// device: "cpu", "cuda" or "cuda:N". Both throw ModelError.
OpenedNetwork open_torchscript(const std::string &path, const std::string &device);
OpenedNetwork open_aotinductor(const std::string &path, const std::string &device);

// What a ModelError of a bad file ends with.
extern const char *const kRedeploy;

}    // namespace tempermd
