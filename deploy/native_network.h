// SPDX-License-Identifier: GPL-2.0-only
// The native engine: a network in plain numbers, evaluated without torch.
#pragma once

#include "network.h"
#include "network_description.h"

namespace tempermd::native {

// With splines the radial weights come from tables, else from the radial networks themselves.
std::unique_ptr<Network> native_network(const NetworkDescription &, bool splines);

}    // namespace tempermd::native
