// SPDX-License-Identifier: GPL-2.0-only
// Shared libraries that add operators to torch when they are loaded.
#include "operators.h"

#include <dlfcn.h>

#include <cstdlib>
#include <sstream>

namespace tempermd {

void load_operators(const Metadata &metadata)
{
  const auto packages = metadata.find(kOperatorPackages);
  if (packages == metadata.end() || packages->second.empty()) return;
  const std::string needs = "it needs operators of the Python package " + packages->second;
  const char *libraries = std::getenv("TEMPERMD_OPERATORS");
  if (!libraries || !*libraries)
    throw ModelError(needs + ", expected TEMPERMD_OPERATORS to name the shared library that holds "
                     "them (several: separated by colons); set it, or deploy without that modifier");
  std::istringstream stream(libraries);
  for (std::string library; std::getline(stream, library, ':');) {
    if (library.empty()) continue;
    // never closed: torch keeps what they register
    if (!dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
      const char *fault = dlerror();
      throw ModelError(needs + ", and of TEMPERMD_OPERATORS the library '" + library +
                       "' cannot be loaded (" + (fault ? fault : "no reason given") +
                       "); install that package for this torch, or deploy without that modifier");
    }
  }
}

}    // namespace tempermd
