// Runs the native engine without LAMMPS and without torch, for sanitizers and for damaged files.
//
//   native_harness run MODEL THREADS ATOMS     evaluates a random cell, twice
//   native_harness fuzz MODEL SECONDS SEED     opens damaged copies of a model file until time is up
//
// A damaged file must open, or be refused by a ModelError; anything else ends the program.
#include "nequip_model.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

using namespace tempermd;

namespace {

using Random = std::mt19937_64;

// Atoms at random in a periodic cube, none nearer than 1.2 Angstrom.
Graph random_graph(const NequipModel &model, int n_atoms, Random &random)
{
  const double side = std::cbrt(n_atoms * 8.0);
  std::uniform_real_distribution<double> place(0.0, side);
  std::vector<double> x;
  while (static_cast<int>(x.size()) < 3 * n_atoms) {
    const double trial[3] = {place(random), place(random), place(random)};
    bool free = true;
    for (size_t i = 0; i < x.size() && free; i += 3) {
      double square = 0.0;
      for (int k = 0; k < 3; ++k) {
        const double d = std::remainder(x[i + k] - trial[k], side);
        square += d * d;
      }
      free = square > 1.44;
    }
    if (free) x.insert(x.end(), trial, trial + 3);
  }
  Graph graph;
  const auto n_types = static_cast<int64_t>(model.type_names().size());
  for (int i = 0; i < n_atoms; ++i) graph.atom_types.push_back(i % n_types);
  for (int i = 0; i < n_atoms; ++i)
    for (int j = 0; j < n_atoms; ++j) {
      double d[3], square = 0.0;
      for (int k = 0; k < 3; ++k) {
        d[k] = std::remainder(x[3 * j + k] - x[3 * i + k], side);
        square += d[k] * d[k];
      }
      const double cutoff = model.cutoff(graph.atom_types[i], graph.atom_types[j]);
      if (i != j && square < cutoff * cutoff) graph.add_edge(i, j, d[0], d[1], d[2]);
    }
  return graph;
}

int run(const char *path, int n_threads, int n_atoms)
{
  Random random(1);
  for (const char *radial : {"spline", "network"}) {
    EngineChoice choice;
    choice.engine = "native";
    choice.radial = radial;
    NequipModel model(path, choice);
    const auto graph = random_graph(model, n_atoms, random);
    const auto one = model.evaluate(graph, 1), other = model.evaluate(graph, n_threads);
    double sum = 0.0;
    for (const double energy : one.atomic_energies) sum += energy;
    std::printf("%s: %d atoms, %lld edges, %.9g eV, %s\n", radial, n_atoms,
                static_cast<long long>(graph.n_edges()), sum,
                one.edge_gradients == other.edge_gradients ? "same" : "DIFFERENT");
    if (one.edge_gradients != other.edge_gradients) return 1;
  }
  return 0;
}

std::string contents(const char *path)
{
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// One to eight changes: bytes, words from elsewhere in the file, pieces cut out or repeated.
std::string damaged(const std::string &original, Random &random)
{
  std::string text = original;
  const auto below = [&](size_t n) { return n == 0 ? 0 : random() % n; };
  for (size_t change = below(8) + 1; change > 0 && !text.empty(); --change) {
    const size_t at = below(text.size()), length = std::min<size_t>(below(64) + 1, text.size() - at);
    switch (below(6)) {
      case 0: text[at] = static_cast<char>(random()); break;
      case 1: text[at] = "0123456789-.en \n"[below(16)]; break;
      case 2: text.erase(at, length); break;
      case 3: text.insert(at, original.substr(below(original.size()), length)); break;
      case 4: text.replace(at, length, original.substr(below(original.size()), length)); break;
      default: text.resize(below(50) == 0 ? at : text.size());
    }
  }
  return text;
}

int fuzz(const char *path, double seconds, unsigned long seed)
{
  Random random(seed);
  const auto original = contents(path);
  // most of the file is for torch: half of the changes are made to the description alone
  const auto begin = original.find("tempermd-network"), end = original.find("\nend\n", begin);
  if (begin == std::string::npos || end == std::string::npos) return 2;
  const auto copy = std::filesystem::temp_directory_path() /
      ("native_fuzz_" + std::to_string(seed) + ".nequip.pth");
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  long opened = 0, refused = 0;
  while (std::chrono::steady_clock::now() < until) {
    std::string text = original;
    if (random() % 2 == 0) {
      // of the same length, or the archive's directory would hide it
      auto part = damaged(original.substr(begin, end - begin), random);
      part.resize(end - begin, ' ');
      text.replace(begin, end - begin, part);
    } else {
      text = damaged(original, random);
    }
    std::ofstream(copy, std::ios::binary) << text;
    try {
      EngineChoice choice;
      choice.engine = "native";
      choice.radial = random() % 2 ? "spline" : "network";
      NequipModel model(copy.string(), choice);
      model.evaluate(random_graph(model, 6, random), 1);
      ++opened;
    } catch (const ModelError &) {
      ++refused;
    }
  }
  std::filesystem::remove(copy);
  std::printf("%ld opened, %ld refused\n", opened, refused);
  return 0;
}

}    // namespace

int main(int count, char **words)
{
  const std::string mode = count > 1 ? words[1] : "";
  if (mode == "run" && count == 5) return run(words[2], std::atoi(words[3]), std::atoi(words[4]));
  if (mode == "fuzz" && count == 5)
    return fuzz(words[2], std::atof(words[3]), std::strtoul(words[4], nullptr, 10));
  return 2;
}
