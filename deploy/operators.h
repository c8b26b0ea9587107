// SPDX-License-Identifier: GPL-2.0-only
// Operators of torch that a model file needs besides torch's own.
#pragma once

#include "network.h"

namespace tempermd {

// nequip's name for the Python packages whose operators a file calls
constexpr const char *kOperatorPackages = "nequip_custom_ops_libs";

// Where a file says that it needs operators of Python packages: loads the shared libraries that
// TEMPERMD_OPERATORS names, separated by colons. Throws ModelError.
void load_operators(const Metadata &);

}    // namespace tempermd
