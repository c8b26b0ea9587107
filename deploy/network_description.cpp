// SPDX-License-Identifier: GPL-2.0-only
// Reading a network in plain numbers; nothing in it is trusted.
#include "network_description.h"

#include "network.h"

#include <charconv>
#include <cmath>
#include <string_view>

namespace tempermd::native {

namespace {

constexpr int kMostTypes = 1000, kMostLayers = 100, kMostChannels = 4096, kMostParts = 1000;
constexpr int kFewestKnots = 16, kMostKnots = 65536, kMostNeurons = 1 << 20;
constexpr const char *kVersion = "1";

class Reader {
 public:
  explicit Reader(const std::string &text) : rest_(text), size_(text.size()) {}

  std::string_view word()
  {
    const auto begin = rest_.find_first_not_of(" \n");
    if (begin == std::string_view::npos) damaged("it ends too early");
    const auto end = rest_.find_first_of(" \n", begin);
    if (end == std::string_view::npos) damaged("it ends too early");
    const auto found = rest_.substr(begin, end - begin);
    rest_.remove_prefix(end);
    return found;
  }

  void expect(const char *name)
  {
    const auto found = word();
    if (found != name)
      damaged("expected " + std::string(name) + ", got '" + std::string(found.substr(0, 40)) + "'");
  }

  int integer(const char *what, int lowest, int highest)
  {
    return read<int>(what, lowest, highest);
  }

  double number(const char *what) { return read<double>(what, -1e300, 1e300); }

  double positive(const char *what) { return read<double>(what, 1e-300, 1e300); }

  // as many as are left in the text could not be more than half its size
  std::vector<double> array(const char *what, int64_t expected)
  {
    const auto count = read<int64_t>(what, 0, static_cast<int64_t>(size_));
    if (expected >= 0 && count != expected)
      damaged(std::string(what) + " has " + std::to_string(count) + " numbers, expected " +
              std::to_string(expected));
    std::vector<double> values(count);
    for (auto &value : values) value = number(what);
    return values;
  }

  [[noreturn]] void damaged(const std::string &why) const
  {
    throw ModelError("its description of the network is damaged (" + why + "); " + kRedeploy);
  }

 private:
  template <typename N> N read(const char *what, N lowest, N highest)
  {
    const auto text = word();
    N value{};
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = fault == std::errc() && end == text.data() + text.size();
    // written so that NaN fails
    if (!whole || !(value >= lowest && value <= highest))
      damaged(std::string(what) + " is '" + std::string(text.substr(0, 40)) + "'");
    return value;
  }

  std::string_view rest_;
  size_t size_;
};

Matrix matrix(Reader &reader, const char *what)
{
  Matrix found;
  found.rows = reader.integer(what, 1, kMostNeurons);
  found.columns = reader.integer(what, 1, kMostNeurons);
  found.values = reader.array(what, int64_t(found.rows) * found.columns);
  return found;
}

Mlp mlp(Reader &reader, const char *what, int n_inputs, int n_outputs)
{
  Mlp found;
  const int n = reader.integer(what, 1, kMostParts);
  int width = n_inputs;
  for (int k = 0; k < n; ++k) {
    found.push_back(matrix(reader, what));
    if (found.back().rows != width)
      reader.damaged(std::string(what) + " has a matrix of " + std::to_string(found.back().rows) +
                     " rows, expected " + std::to_string(width));
    width = found.back().columns;
  }
  if (width != n_outputs)
    reader.damaged(std::string(what) + " gives " + std::to_string(width) + " numbers, expected " +
                   std::to_string(n_outputs));
  return found;
}

ActivationShape activation(Reader &reader, int l)
{
  ActivationShape found;
  found.l = l;
  found.channels = reader.integer("channels of the gate", 1, kMostChannels);
  const auto name = reader.word();
  if (name == "silu")
    found.kind = Activation::silu;
  else if (name == "tanh")
    found.kind = Activation::tanh;
  else if (name == "abs")
    found.kind = Activation::abs;
  else if (name == "ssp")
    found.kind = Activation::ssp;
  else
    reader.damaged("unknown nonlinearity '" + std::string(name.substr(0, 40)) + "'");
  found.factor = reader.number("factor of a nonlinearity");
  return found;
}

// inputs, outputs: the blocks of the rows on either side
std::vector<BlockMap> maps(Reader &reader, const char *what, int n_types,
                           const std::vector<BlockShape> &inputs,
                           const std::vector<BlockShape> &outputs)
{
  std::vector<BlockMap> found(reader.integer(what, 0, kMostParts));
  for (auto &map : found) {
    map.input = reader.integer(what, 0, static_cast<int>(inputs.size()) - 1);
    map.output = reader.integer(what, 0, static_cast<int>(outputs.size()) - 1);
    const auto &input = inputs[map.input];
    const auto &output = outputs[map.output];
    if (input.l != output.l) reader.damaged(std::string(what) + " maps blocks of different l");
    const int n = reader.integer(what, 1, n_types);
    if (n != 1 && n != n_types) reader.damaged(std::string(what) + " has matrices for some types only");
    const int rows = reader.integer(what, input.channels, input.channels);
    const int columns = reader.integer(what, output.channels, output.channels);
    for (int k = 0; k < n; ++k)
      map.matrices.push_back({rows, columns, reader.array(what, int64_t(rows) * columns)});
  }
  return found;
}

std::vector<BlockShape> blocks(Reader &reader)
{
  std::vector<BlockShape> found(reader.integer("number of blocks", 1, kMostParts));
  for (auto &block : found) {
    block.l = reader.integer("l of a block", 0, kMaxL);
    block.channels = reader.integer("channels of a block", 1, kMostChannels);
  }
  return found;
}

PathShape path(Reader &reader, const LayerShape &layer, int l_max)
{
  PathShape found;
  found.source = reader.integer("source of a path", 0, static_cast<int>(layer.sources.size()) - 1);
  found.l_harmonic = reader.integer("harmonic of a path", 0, l_max);
  found.l_message = reader.integer("l of a message", 0, kMaxL);
  const int l1 = layer.sources[found.source].l, l2 = found.l_harmonic, l3 = found.l_message;
  if (l3 > l1 + l2 || l1 > l2 + l3 || l2 > l1 + l3) reader.damaged("a path that does not exist");
  found.couplings = reader.array("couplings", count_triples(l1, l2, l3));
  return found;
}

std::vector<BlockShape> gate_input(const LayerShape &layer)
{
  std::vector<BlockShape> found;
  for (const auto &one : layer.scalars) found.push_back({0, one.channels});
  for (const auto &one : layer.gated) found.push_back({0, one.channels});
  for (const auto &one : layer.gated) found.push_back({one.l, one.channels});
  return found;
}

LayerShape layer(Reader &reader, const NetworkDescription &network)
{
  LayerShape found;
  reader.expect("layer");
  found.resnet = reader.integer("resnet", 0, 1) == 1;
  reader.expect("sources");
  found.sources = blocks(reader);
  reader.expect("paths");
  found.paths.resize(reader.integer("number of paths", 1, kMostParts));
  std::vector<BlockShape> messages;
  int n_weights = 0;
  for (auto &one : found.paths) {
    one = path(reader, found, network.l_max);
    messages.push_back({one.l_message, found.sources[one.source].channels});
    n_weights += messages.back().channels;
  }
  reader.expect("radial");
  found.radial = mlp(reader, "radial network", static_cast<int>(network.bessel.size()), n_weights);
  reader.expect("scalars");
  found.scalars.resize(reader.integer("number of scalars", 0, kMostParts));
  for (auto &one : found.scalars) one = activation(reader, 0);
  reader.expect("gated");
  found.gated.resize(reader.integer("number of gated blocks", 0, kMostParts));
  for (auto &one : found.gated) one = activation(reader, reader.integer("l of a gated block", 0, kMaxL));
  const auto inner = gate_input(found);
  reader.expect("senders");
  found.senders = maps(reader, "senders", network.n_types, found.sources, found.sources);
  reader.expect("sums");
  found.sums = maps(reader, "sums", network.n_types, messages, inner);
  reader.expect("connection");
  found.connection = maps(reader, "connection", network.n_types, found.sources, inner);
  return found;
}

std::vector<BlockShape> gate_output(const LayerShape &layer)
{
  std::vector<BlockShape> found;
  for (const auto &one : layer.scalars) found.push_back({0, one.channels});
  for (const auto &one : layer.gated) found.push_back({one.l, one.channels});
  return found;
}

// Each layer reads what the one before it wrote.
void check_sequence(Reader &reader, const NetworkDescription &network)
{
  std::vector<BlockShape> written{{0, static_cast<int>(network.first.size()) / network.n_types}};
  for (const auto &one : network.layers) {
    bool same = written.size() == one.sources.size();
    for (size_t k = 0; same && k < written.size(); ++k)
      same = written[k].l == one.sources[k].l && written[k].channels == one.sources[k].channels;
    if (!same) reader.damaged("a layer reads other blocks than the one before it writes");
    const auto output = gate_output(one);
    if (one.resnet) {
      same = output.size() == one.sources.size();
      for (size_t k = 0; same && k < output.size(); ++k)
        same = output[k].l == one.sources[k].l && output[k].channels == one.sources[k].channels;
      if (!same) reader.damaged("a residual layer writes other blocks than it reads");
    }
    written = output;
  }
  if (written.size() != 1 || written[0].l != 0)
    reader.damaged("the last layer writes more than scalars");
}

void edges(Reader &reader, NetworkDescription &network)
{
  reader.expect("cutoffs");
  network.cutoffs = reader.array("cutoffs", int64_t(network.n_types) * network.n_types);
  for (const double cutoff : network.cutoffs)
    if (!(cutoff > 0.0)) reader.damaged("a cutoff that is not positive");
  reader.expect("l_max");
  network.l_max = reader.integer("l_max", 0, kMaxL);
  reader.expect("bessel");
  network.bessel = reader.array("bessel", -1);
  if (network.bessel.empty() || network.bessel.size() > kMostParts)
    reader.damaged("no Bessel functions, or too many");
  reader.expect("power");
  network.power = reader.positive("power");
  reader.expect("factor");
  network.factor = reader.number("factor");
  reader.expect("knots");
  network.knots = reader.integer("knots", kFewestKnots, kMostKnots);
}

}    // namespace

NetworkDescription parse_network(const std::string &text)
{
  Reader reader(text);
  NetworkDescription network;
  reader.expect("tempermd-network");
  const auto version = reader.word();
  if (version != kVersion)
    throw ModelError("its description of the network is of version " +
                     std::string(version.substr(0, 40)) + ", this pair style reads " + kVersion +
                     "; " + kRedeploy);
  reader.expect("dtype");
  const auto dtype = reader.word();
  if (dtype != "float32" && dtype != "float64") reader.damaged("unknown dtype");
  network.double_precision = dtype == "float64";
  reader.expect("types");
  network.n_types = reader.integer("types", 1, kMostTypes);
  edges(reader, network);
  reader.expect("first");
  network.first = reader.array("first features", -1);
  if (network.first.empty() || network.first.size() % network.n_types != 0 ||
      network.first.size() / network.n_types > kMostChannels)
    reader.damaged("first features that are not one row for each type");
  reader.expect("layers");
  const int n_layers = reader.integer("layers", 1, kMostLayers);
  for (int k = 0; k < n_layers; ++k) network.layers.push_back(layer(reader, network));
  check_sequence(reader, network);
  reader.expect("readout");
  network.readout = mlp(reader, "readout", network.layers.back().scalars[0].channels, 1);
  reader.expect("scales");
  network.scales = reader.array("scales", network.n_types);
  reader.expect("shifts");
  network.shifts = reader.array("shifts", network.n_types);
  reader.expect("end");
  return network;
}

}    // namespace tempermd::native
