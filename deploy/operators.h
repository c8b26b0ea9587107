// SPDX-License-Identifier: GPL-2.0-only
// Operators of torch that a model file needs besides torch's own.
#pragma once

#include "network.h"

#include <functional>

namespace tempermd {

// Opens a file by `open`. Where it says that it needs operators of Python packages, the shared
// libraries that TEMPERMD_OPERATORS names, separated by colons, are loaded before. Throws ModelError.
OpenedNetwork with_operators(const Metadata &, const std::function<OpenedNetwork()> &open);

}    // namespace tempermd
