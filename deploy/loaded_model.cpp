// SPDX-License-Identifier: GPL-2.0-only
// A model file in LAMMPS.
#include "loaded_model.h"

#include "comm.h"
#include "error.h"
#include "layer_exchange.h"
#include "pair_profile.h"
#include "shared_fault.h"
#include "update.h"
#include "utils.h"

using namespace LAMMPS_NS;
using tempermd::EngineChoice;
using tempermd::Evaluation;
using tempermd::Graph;
using tempermd::ModelError;

LoadedModel::LoadedModel(LAMMPS *lmp, const std::string &name, const EngineChoice &engine) :
    Pointers(lmp)
{
  find(name);
  stop_if_any(lmp, fault_of(lmp, [&] {
    try {
      model_ = std::make_unique<tempermd::NequipModel>(path_, engine);
    } catch (const ModelError &failure) {
      throw ModelError("Model file " + path_ + " is refused: " + failure.what());
    }
  }));
  if (comm->nprocs > 1) refuse_several_ranks();
  choose_ghosts(engine.ghosts);
  if (comm->me == 0) utils::logmesg(lmp, "NequIP model {}: {}\n", path_, model_->describe());
}

void LoadedModel::find(const std::string &name)
{
  if (!utils::strmatch(name, "\\.nequip\\.pt[h2]$"))
    error->all(FLERR, "Model file {} has the wrong extension: expected NAME.nequip.pth or "
                      "NAME.nequip.pt2, as made by deploy-model", name);
  // each rank may see other files
  path_ = utils::get_potential_file_path(name);
  std::string missing;
  if (path_.empty())
    missing = "Model file " + name + " does not exist or is not readable, here or in the folders "
              "of LAMMPS_POTENTIALS";
  stop_if_any(lmp, missing);
}

void LoadedModel::refuse_several_ranks()
{
  if (model_->exact_with_ghosts() && model_->num_layers() > 0) return;
  error->all(FLERR, "Model file {} runs on one MPI rank only, got {}: it does not say its number "
                    "of layers or sums the energies of ghosts, as files of nequip-compile do; {}",
             path_, comm->nprocs, tempermd::kRedeploy);
}

void LoadedModel::choose_ghosts(const std::string &wish)
{
  if (wish == "exchange" && !model_->shares_layers())
    error->all(FLERR, "Model file {}: 'ghosts exchange' of pair_style nequip needs the native "
                      "engine; use 'ghosts extended'", path_);
  shares_layers_ = comm->nprocs > 1 && model_->num_layers() > 1 && model_->shares_layers() &&
      wish != "extended";
}

void LoadedModel::map_types(int n_types, char **elements)
{
  type_map_.assign(n_types + 1, -1);
  for (int t = 1; t <= n_types; ++t) {
    const std::string element = elements[t - 1];
    if (element == "NULL") continue;
    type_map_[t] = model_->type_of(element);
    if (type_map_[t] >= 0) continue;
    std::string known;
    for (const auto &type_name : model_->type_names()) known += " " + type_name;
    error->all(FLERR, "Element {} is unknown to model {}, which knows:{}", element, path_, known);
  }
  std::vector<double> cutoffs;    // (types + 1, types + 1)
  for (const int centre : type_map_)
    for (const int other : type_map_)
      cutoffs.push_back(centre < 0 || other < 0 ? 0.0 : model_->cutoff(centre, other));
  builder_ = std::make_unique<GraphBuilder>(lmp, type_map_, cutoffs,
                                            shares_layers_ ? 1 : model_->num_layers());
}

void LoadedModel::build(const NeighList *list, Graph &graph, PairProfile &profile)
{
  PairProfile::Lap lap(profile, PairProfile::GRAPH);
  builder_->build(list, graph);
}

Evaluation LoadedModel::evaluate(double eV, const Graph &graph, PairProfile &profile,
                                 LayerExchange &exchange)
{
  PairProfile::Lap lap(profile, PairProfile::NETWORK);
  Evaluation evaluation;
  if (graph.n_atoms() == 0 && !shares_layers_) return evaluation;
  exchange.set(graph, atoms());
  try {
    evaluation = model_->evaluate(graph, comm->nthreads, shares_layers_ ? &exchange : nullptr);
  } catch (const ModelError &failure) {
    const auto sentence = fmt::format("NequIP model {} failed at step {}: {}", path_,
                                      update->ntimestep, failure.what());
    // other ranks wait for this one's rows
    if (shares_layers_) error->one(FLERR, sentence);
    throw ModelError(sentence);
  }
  for (auto *numbers : {&evaluation.atomic_energies, &evaluation.edge_gradients,
                        &evaluation.forces, &evaluation.virial})
    for (double &number : *numbers) number *= eV;
  return evaluation;
}
