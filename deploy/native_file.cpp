// SPDX-License-Identifier: GPL-2.0-only
// Model files that hold a network in plain numbers, opened for the native engine.
#include "native_network.h"
#include "stored_archive.h"

#include <charconv>
#include <sstream>

namespace tempermd {

namespace {

constexpr const char *kRecord = "tempermd/network.txt";

// Only our own files have it, so that what it says is a number.
double number_of(const Metadata &metadata, const char *key)
{
  const auto found = metadata.find(key);
  double value = 0.0;
  if (found == metadata.end()) return value;
  const auto &text = found->second;
  std::from_chars(text.data(), text.data() + text.size(), value);
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
    opened.tolerance = number_of(opened.metadata, "spline_bound");
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
