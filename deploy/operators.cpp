// SPDX-License-Identifier: GPL-2.0-only
// Shared libraries that add operators to torch when they are loaded.
#include "operators.h"

#include <dlfcn.h>

#include <cstdlib>
#include <sstream>

namespace tempermd {

namespace {

// nequip's name for the Python packages whose operators a file calls
constexpr const char *kPackages = "nequip_custom_ops_libs";

// Never closed: torch keeps what they register.
void load(const std::string &libraries)
{
  std::istringstream stream(libraries);
  for (std::string library; std::getline(stream, library, ':');) {
    if (library.empty() || dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL)) continue;
    const char *fault = dlerror();
    throw ModelError("the library '" + library + "' cannot be loaded (" +
                     (fault ? fault : "no reason given") + ")");
  }
}

}    // namespace

OpenedNetwork with_operators(const Metadata &metadata, const std::function<OpenedNetwork()> &open)
{
  const auto packages = metadata.find(kPackages);
  if (packages == metadata.end() || packages->second.empty()) return open();
  const std::string needs = "it needs operators of the Python package " + packages->second;
  const char *given = std::getenv("TEMPERMD_OPERATORS");
  const std::string libraries = given ? given : "";
  if (libraries.empty())
    throw ModelError(needs + ", expected TEMPERMD_OPERATORS to name the shared library that holds "
                     "them (several: separated by colons); set it, or deploy without that modifier");
  std::string fault;
  try {
    load(libraries);
    return open();
  } catch (const std::exception &error) {    // torch's, too: of an operator registered twice
    fault = error.what();
  }
  throw ModelError(needs + ", and with TEMPERMD_OPERATORS='" + libraries + "' it cannot be opened: " +
                   fault + "; name the libraries of that package there, made for this torch, or "
                   "deploy without that modifier");
}

}    // namespace tempermd
