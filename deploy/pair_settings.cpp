// SPDX-License-Identifier: GPL-2.0-only
// The words that follow 'pair_style nequip'.
#include "pair_settings.h"

#include "error.h"
#include "lammps.h"
#include "utils.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

using namespace LAMMPS_NS;

namespace {

class Parser {
 public:
  Parser(const std::vector<std::string> &words, LAMMPS *lmp) : words_(words), lmp_(lmp) {}

  PairSettings parse()
  {
    while (next_ < words_.size()) {
      const auto word = take("a keyword");
      if (word == "device" || word == "engine" || word == "radial" || word == "ghosts" ||
          word == "committee" || word == "guard")
        section_ = word;
      else if (section_ != "guard" || !guard_words_.count(word))
        unknown(word);
      if (!seen_.insert(word).second) refuse("expects '{}' once, got it twice", word);
      read(word);
    }
    check_guard();
    return settings_;
  }

 private:
  void read(const std::string &word)
  {
    auto &guard = settings_.guard;
    if (word == "device") settings_.engine.device = device();
    if (word == "engine") settings_.engine.engine = one_of(word, {"native", "torch", "auto"});
    if (word == "radial") settings_.engine.radial = one_of(word, {"spline", "network", "auto"});
    if (word == "ghosts") settings_.engine.ghosts = one_of(word, {"exchange", "extended", "auto"});
    if (word == "committee") {
      settings_.committee = true;
      settings_.committee_every = every(word);
    }
    if (word == "guard") guard.every = every(word);
    if (word == "shortest") guard.shortest = limit(word);
    if (word == "force") guard.force = limit(word);
    if (word == "deviation") guard.deviation = limit(word);
    if (word == "action") guard.stop = stops();
  }

  std::string device()
  {
    const auto word = take("cpu, cuda, cuda:N or auto after 'device'");
    const bool known = word == "cpu" || word == "cuda" || word == "auto";
    if (!known && !utils::strmatch(word, "^cuda:\\d+$"))
      refuse("expects cpu, cuda, cuda:N or auto after 'device', got '{}'", word);
    return word;
  }

  std::string one_of(const std::string &keyword, const std::array<std::string, 3> &known)
  {
    const auto expected =
        fmt::format("{}, {} or {} after '{}'", known[0], known[1], known[2], keyword);
    const auto word = take(expected);
    if (std::find(known.begin(), known.end(), word) == known.end())
      refuse("expects {}, got '{}'", expected, word);
    return word;
  }

  bigint every(const std::string &keyword)
  {
    const auto expected = "'every N' with N > 0 after '" + keyword + "'";
    if (take(expected) != "every") refuse("expects {}, got '{}'", expected, words_[next_ - 1]);
    const auto word = take(expected);
    const bigint steps = utils::is_integer(word) ? utils::bnumeric(FLERR, word, true, lmp_) : 0;
    if (steps <= 0) refuse("expects {}, got '{}'", expected, word);
    return steps;
  }

  double limit(const std::string &keyword)
  {
    const auto expected = "a positive number after '" + keyword + "'";
    const auto word = take(expected);
    const double value = utils::is_double(word) ? utils::numeric(FLERR, word, true, lmp_) : 0.0;
    if (!(value > 0.0) || !std::isfinite(value)) refuse("expects {}, got '{}'", expected, word);
    return value;
  }

  bool stops()
  {
    const auto word = take("error or stop after 'action'");
    if (word != "error" && word != "stop")
      refuse("expects error or stop after 'action', got '{}'", word);
    return word == "stop";
  }

  void check_guard()
  {
    const auto &guard = settings_.guard;
    if (guard.every > 0 && guard.shortest < 0.0 && guard.force < 0.0 && guard.deviation < 0.0 &&
        !seen_.count("action"))
      refuse("expects after 'guard every {}' a limit (shortest, force or deviation) or an action, "
             "got none",
             guard.every);
  }

  std::string take(const std::string &expected)
  {
    if (next_ >= words_.size()) refuse("expects {}, got the end of the line", expected);
    return words_[next_++];
  }

  [[noreturn]] void unknown(const std::string &word)
  {
    if (guard_words_.count(word))
      refuse("expects '{}' after 'guard every N', got it before 'guard'", word);
    if (section_ == "guard")
      refuse("expects device, engine, radial, ghosts, committee, shortest, force, deviation or "
             "action, got '{}'", word);
    if (utils::strmatch(word, "\\.nequip\\.pt"))
      refuse("expects the model file '{}' in pair_coeff, got it here", word);
    refuse("expects device, engine, radial, ghosts, committee or guard, got '{}'", word);
  }

  template <typename... Args> [[noreturn]] void refuse(const std::string &format, Args &&...args)
  {
    const auto sentence = fmt::format(fmt::runtime("pair_style nequip " + format), args...);
    lmp_->error->all(FLERR, sentence);
  }

  const std::vector<std::string> &words_;
  LAMMPS *lmp_;
  size_t next_ = 0;
  std::string section_;
  std::set<std::string> seen_;
  const std::set<std::string> guard_words_ = {"shortest", "force", "deviation", "action"};
  PairSettings settings_;
};

}    // namespace

PairSettings LAMMPS_NS::parse_pair_settings(const std::vector<std::string> &words, LAMMPS *lmp)
{
  return Parser(words, lmp).parse();
}
