// SPDX-License-Identifier: GPL-2.0-only
// Which library evaluates a model, and where.
#pragma once

#include <string>

namespace tempermd {

struct EngineChoice {
  std::string device = "cpu";     // "cpu", "cuda" or "cuda:N" once chosen; "auto" as a wish
  std::string engine = "auto";    // "native", "torch" or "auto"
  std::string radial = "auto";    // "spline", "network" or "auto"
  std::string ghosts = "auto";    // "exchange", "extended" or "auto"
};

}    // namespace tempermd
