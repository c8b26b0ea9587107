// SPDX-License-Identifier: GPL-2.0-only
// The border between a model and the library that runs it: a file opened on a device.
#pragma once

#include "graph.h"

#include "engine_choice.h"

#include <map>
#include <memory>
#include <string>

namespace tempermd {

using Metadata = std::map<std::string, std::string>;

// How ranks share what their atoms know between layers. Rows are those of a graph's nodes, of which
// the first n_local are this rank's own and the others are owned by other ranks.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // Copies rows (N, bytes) of own atoms to where they are other ranks' neighbors. Collective.
  virtual void to_neighbors(int bytes, char *rows) = 0;

  // Adds rows (N, n) that neighbors hold of other ranks' atoms to their owners' rows. Collective.
  virtual void to_owners(int n, float *rows) = 0;
  virtual void to_owners(int n, double *rows) = 0;
};

class Network {
 public:
  virtual ~Network() = default;

  // Energies of all atoms; gradients of the energy of those of level 0.
  // exchange: null, or what a network that shares layers calls once per layer and direction on every
  // rank, also for an empty graph; then the graph has one level besides its own atoms.
  virtual Evaluation evaluate(const Graph &graph, int n_threads, Exchange *exchange) = 0;

  // Where the time since the last call of begin_account went, in words; empty: not known.
  virtual void begin_account() {}
  virtual std::string account() const { return ""; }

  // Whether evaluate can use an exchange.
  virtual bool shares_layers() const { return false; }

  // False where the file sums the energies of all nodes: wrong as soon as there are ghosts.
  virtual bool exact_with_ghosts() const = 0;
};

struct OpenedNetwork {
  std::unique_ptr<Network> network;
  Metadata metadata;            // empty where the file has none
  std::string engine;           // for the log
  double tolerance = 0.0;       // eV/Angstrom: how far it may be from the model it stands for
};

// device: "cpu", "cuda" or "cuda:N". All throw ModelError.
OpenedNetwork open_torchscript(const std::string &path, const std::string &device);
OpenedNetwork open_aotinductor(const std::string &path, const std::string &device);

// Whether a file holds a network in plain numbers, and that network; radial: see EngineChoice.
bool has_native(const std::string &path);
OpenedNetwork open_native(const std::string &path, const std::string &radial);

// What a ModelError of a bad file ends with.
extern const char *const kRedeploy;

}    // namespace tempermd
