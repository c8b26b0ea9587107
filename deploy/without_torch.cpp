// SPDX-License-Identifier: GPL-2.0-only
// What a plugin compiled without torch says where torch would be needed.
#include "device.h"
#include "network.h"

namespace tempermd {

namespace {

[[noreturn]] void refuse()
{
  throw ModelError("it needs torch, and this plugin was compiled without it (TEMPERMD_TORCH=OFF); "
                   "for the native engine " + std::string(kRedeploy));
}

}    // namespace

OpenedNetwork open_torchscript(const std::string &, const std::string &)
{
  refuse();
}

OpenedNetwork open_aotinductor(const std::string &, const std::string &)
{
  refuse();
}

int count_gpus()
{
  return 0;
}

void set_tf32(bool) {}

}    // namespace tempermd
