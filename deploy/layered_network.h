// SPDX-License-Identifier: GPL-2.0-only
// TorchScript files of deploy-model on the CPU, layer by layer.
#pragma once

#include "network.h"

#include <torch/script.h>

namespace tempermd {

// The module must have the methods of tempermd.deploy.layers.
std::unique_ptr<Network> layered_network(torch::jit::Module module);

}    // namespace tempermd
