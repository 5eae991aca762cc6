// SPDX-License-Identifier: Apache-2.0
// Planning problems: taken from recordings (start where an episode was, reach what it saw some
// steps later), or drawn from an environment (start anywhere, reach any other place).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"
#include "foresight/envs/env.hpp"

namespace foresight::eval {

/// The `episode` of a problem that no recording shows.
inline constexpr int64_t kNoEpisode = -1;

/// One problem. Steps are 0-based rows of the episode.
struct PlanningInstance {
  int64_t episode = 0;  ///< kNoEpisode: drawn from an environment
  int64_t start_step = 0;
  int64_t goal_step = 0;
  std::vector<double> start_state;
  std::vector<double> goal_state;
};

/// When a problem counts as solved.
enum class SolvedWhen {
  terminated,   ///< the environment terminates after any step within the budget
  near_at_end,  ///< nearer than PlanningProtocol::success_distance after the last step: reaching
                ///< the goal is not enough, one must stay (EB-JEPA)
};

}  // namespace foresight::eval

template <>
struct foresight::EnumNames<foresight::eval::SolvedWhen> {
  using E = foresight::eval::SolvedWhen;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"terminated", E::terminated}, {"near_at_end", E::near_at_end}}};
};

namespace foresight::eval {

/// A named set of problems with one budget.
struct PlanningProtocol {
  std::string name;
  int64_t goal_offset = 0;  ///< goal_step - start_step; 0 where nothing was recorded
  int64_t budget = 0;       ///< environment steps within which the goal must be reached
  std::vector<PlanningInstance> instances;
  SolvedWhen solved_when = SolvedWhen::terminated;
  double success_distance = 0;  ///< near_at_end only; in the units of Env::goal_distance()

  /// Whether recorded frames and actions belong to the problems.
  bool recorded() const { return !instances.empty() && instances.front().episode != kNoEpisode; }
};

/// Reads the problems "protocols.<name>" of a JSON file. Throws Error: not_found for the file or
/// the name, bad_file for anything missing or out of range.
FORESIGHT_API PlanningProtocol read_planning_protocol(const std::filesystem::path& file,
                                                      const std::string& name);
/// Names of the protocols in the file.
FORESIGHT_API std::vector<std::string> planning_protocol_names(const std::filesystem::path& file);

/// Which problems are drawn from recordings.
struct FORESIGHT_API ProtocolOptions {
  int64_t goal_offset = 25;  ///< environment steps between start and goal; LeWM 25
  int64_t budget = 50;       ///< environment steps allowed; LeWM 50
  int64_t count = 50;        ///< problems; LeWM 50
  int64_t seed = 42;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("goal_offset", self.goal_offset, "environment steps between start and goal");
    visit("budget", self.budget, "environment steps allowed");
    visit("count", self.count, "number of problems");
    visit("seed", self.seed, "which problems are drawn");
  }
  std::vector<std::string> validate() const;
};

/// Draws problems the way the LeWM evaluation does: every row with a row `goal_offset` later in its
/// episode is a candidate; `count` of them are drawn uniformly without replacement and sorted.
/// `episode_states[e]` are the states [T,N] of episode e. (The reference draws with numpy's
/// generator: same distribution, other problems.) Throws Error(invalid_argument) if there are fewer
/// candidates than `count`.
FORESIGHT_API PlanningProtocol sample_planning_protocol(const std::vector<Tensor>& episode_states,
                                                        const ProtocolOptions& options);

/// Draws `count` problems as Env::reset() does: start and goal anywhere. Its seeds are
/// std::mt19937_64's of `seed`, so that the problems of two seeds have none in common, nor with
/// recordings, which are made from seed, seed + 1, ... They count as solved as EnvSpec::end_distance
/// says. `budget`: steps, usually EnvSpec::problem_steps. Problems that are solved at the start are
/// left out. Goals a few steps ahead in a recording lie on a way that was shown; these need not, so
/// they tell a model that knows the world from one that follows distances. Throws
/// Error(invalid_argument) unless budget and count are at least 1, and if the environment draws
/// solved problems only.
FORESIGHT_API PlanningProtocol sample_environment_protocol(envs::Env& env, int64_t budget,
                                                           int64_t count, int64_t seed);

}  // namespace foresight::eval
