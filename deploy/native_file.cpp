// SPDX-License-Identifier: GPL-2.0-only
// Model files that hold a network in plain numbers, opened for the native engine.
#include "native_network.h"
#include "stored_archive.h"

#include <charconv>
#include <sstream>

namespace tempermd {

namespace {

constexpr const char *kRecord = "tempermd/network.txt";

// How far the splines' forces may be off, eV/Angstrom: what the test configuration is judged by, so
// that a number which forgives everything is refused.
double spline_bound(const Metadata &metadata)
{
  constexpr const char *key = "spline_bound";
  const auto text = metadata.count(key) ? metadata.at(key) : "";
  double value = -1.0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size() || !(value >= 0.0 && value < 1e3))
    throw ModelError(std::string("its ") + key + " is '" + text +
                     "', expected a number from 0 to 1000; " + kRedeploy);
  return value;
}

}    // namespace

bool has_native(const std::string &path)
{
  try {
    return StoredArchive(path).has(kRecord);
  } catch (const ModelError &) {    // torch says what is wrong with its own files
    return false;
  }
}

OpenedNetwork open_native(const std::string &path, const std::string &radial)
{
  const StoredArchive archive(path);
  OpenedNetwork opened;
  opened.metadata = archive.read_folder("extra");
  const auto description = native::parse_network(archive.read(kRecord));
  const bool splines =
      radial == "spline" || (radial == "auto" && !description.double_precision);
  opened.network = native::native_network(description, splines);
  std::ostringstream line;
  line << "native (" << native::kernels_name();
  if (splines) {
    opened.tolerance = spline_bound(opened.metadata);
    line << ", splines of " << description.knots << " knots: forces within " << opened.tolerance
         << " eV/A of the network's";
  } else {
    line << ", radial networks";
  }
  line << ")";
  opened.engine = line.str();
  return opened;
}

}    // namespace tempermd
