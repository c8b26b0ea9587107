// SPDX-License-Identifier: GPL-2.0-only
// A model file of NequIP: what it says of itself, and whether it computes as it should.
#include "nequip_model.h"

#include "device.h"
#include "test_configuration.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

namespace tempermd {

const char *const kRedeploy = "deploy the checkpoint anew with "
                              "'deploy-model CKPT -o MODEL.nequip.pth'";

namespace {

constexpr const char *kFormat = "2";

std::vector<std::string> words(const std::string &text)
{
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

double positive_number(const std::string &text, const char *key)
{
  std::istringstream stream(text);
  double value = 0.0;
  if (!(stream >> value) || !(value > 0.0))
    throw ModelError(std::string("its ") + key + " is '" + text + "', expected a positive number; " +
                     kRedeploy);
  return value;
}

bool ends_with(const std::string &text, const std::string &end)
{
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

OpenedNetwork open_by(const EngineChoice &choice, const std::string &path)
{
  const bool compiled = ends_with(path, ".pt2"), on_cpu = choice.device == "cpu";
  if (choice.engine == "native") {
    if (!on_cpu) throw ModelError("the native engine runs on the cpu, got device " + choice.device);
    if (compiled || !has_native(path))
      throw ModelError("it holds no network for the native engine (an AOTInductor file, a network "
                       "with unusual parts, or deployed by an older version); use 'engine torch', "
                       "or " + std::string(kRedeploy));
    return open_native(path, choice.radial);
  }
  if (choice.engine == "auto" && on_cpu && !compiled && has_native(path))
    return open_native(path, choice.radial);
  auto opened = compiled ? open_aotinductor(path, choice.device)
                         : open_torchscript(path, choice.device);
  opened.engine = compiled ? "AOTInductor" : "TorchScript";
  return opened;
}

}    // namespace

NequipModel::NequipModel(const std::string &path, const EngineChoice &choice) :
    device_(choice.device)
{
  if (std::filesystem::is_directory(path))
    throw ModelError("it is a folder, expected a file made by deploy-model");
  auto opened = open_by(choice, path);
  network_ = std::move(opened.network);
  engine_ = opened.engine;
  const auto test_configuration = opened.metadata["test_configuration"];
  const bool ours = !opened.metadata["tempermd_format"].empty();
  read_metadata(std::move(opened.metadata));
  if (ours) replay_test_configuration(test_configuration, opened.tolerance);
}

NequipModel::~NequipModel() = default;

void NequipModel::read_metadata(Metadata metadata)
{
  if (metadata["r_max"].empty() || metadata["type_names"].empty())
    throw ModelError(std::string("it is not a file of a NequIP model (no r_max or type_names "
                                 "inside); ") +
                     kRedeploy);
  const auto &format = metadata["tempermd_format"];
  if (!format.empty()) {
    if (format != kFormat)
      throw ModelError("its tempermd_format is " + format + ", this pair style reads " + kFormat +
                       "; " + kRedeploy);
    if (metadata["units"] != "metal")
      throw ModelError("its units are '" + metadata["units"] + "', expected 'metal'; " + kRedeploy);
    num_layers_ = static_cast<int>(positive_number(metadata["num_layers"], "num_layers"));
  }
  r_max_ = positive_number(metadata["r_max"], "r_max");
  type_names_ = words(metadata["type_names"]);
  for (const auto &word : words(metadata["per_edge_type_cutoff"]))
    edge_type_cutoffs_.push_back(positive_number(word, "per_edge_type_cutoff"));
  const size_t n_pairs = type_names_.size() * type_names_.size();
  if (!edge_type_cutoffs_.empty() && edge_type_cutoffs_.size() != n_pairs)
    throw ModelError("its per_edge_type_cutoff has " + std::to_string(edge_type_cutoffs_.size()) +
                     " numbers, expected " + std::to_string(n_pairs) + "; " + kRedeploy);
  dtype_ = metadata["model_dtype"];
  allow_tf32_ = metadata["allow_tf32"] == "1";
  const auto &sha256 = metadata["checkpoint_sha256"];
  if (format.empty()) origin_ = ", compiled by nequip: no test configuration inside, one rank only";
  if (!sha256.empty()) origin_ = ", checkpoint sha256 " + sha256.substr(0, 16);
}

void NequipModel::replay_test_configuration(const std::string &text, double tolerance)
{
  auto record = parse_test_configuration(text, static_cast<int64_t>(type_names_.size()));
  record.tolerance = std::max(record.tolerance, tolerance);
  compare_with_record(record, evaluate(record.graph, 1));
}

Evaluation NequipModel::evaluate(const Graph &graph, int n_threads, Exchange *exchange)
{
  // torch's switch is one for the process, and a committee's models may differ
  if (device_ != "cpu") set_tf32(allow_tf32_);
  try {
    return network_->evaluate(graph, n_threads, exchange);
  } catch (const std::bad_alloc &) {
    throw ModelError("out of memory with " + std::to_string(graph.n_atoms()) + " atoms and " +
                     std::to_string(graph.n_edges()) + " edges");
  }
}

int NequipModel::type_of(const std::string &name) const
{
  for (size_t k = 0; k < type_names_.size(); ++k)
    if (type_names_[k] == name) return static_cast<int>(k);
  return -1;
}

double NequipModel::cutoff(int64_t centre_type, int64_t neighbor_type) const
{
  if (edge_type_cutoffs_.empty()) return r_max_;
  return edge_type_cutoffs_[centre_type * type_names_.size() + neighbor_type];
}

std::string NequipModel::describe() const
{
  std::ostringstream line;
  line << "types";
  for (const auto &name : type_names_) line << ' ' << name;
  line << ", r_max " << r_max_ << " A, ";
  if (num_layers_ > 0) line << num_layers_ << " layers, ";
  line << dtype_ << ", on " << device_ << ", engine " << engine_ << origin_;
  return line.str();
}

}    // namespace tempermd
