// SPDX-License-Identifier: GPL-2.0-only
// AOTInductor files (.nequip.pt2).
#include "network.h"

namespace tempermd {

OpenedNetwork open_aotinductor(const std::string &, const std::string &)
{
  throw ModelError("AOTInductor files are not read yet");
}

}    // namespace tempermd
