// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/critic_task.hpp"

#include <algorithm>
#include <cmath>

#include "foresight/core/replica_part.hpp"
#include "foresight/nn/state_dict.hpp"
#include "position.hpp"

namespace foresight::train {
namespace {

constexpr std::uint64_t kTrainingStream = 3, kValidationStream = 4;
constexpr int64_t kValidationBatches = 4;

int64_t below(float u, int64_t bound) {
  return std::min<int64_t>(
      static_cast<int64_t>(static_cast<double>(u) * static_cast<double>(bound)), bound - 1);
}

}  // namespace

PairSource::PairSource(const EpisodeLatents& episodes) : latents(episodes.latents) {
  for (std::size_t e = 0; e + 1 < episodes.first.size(); ++e)
    for (int64_t r = episodes.first[e]; r + 1 < episodes.first[e + 1]; ++r) {
      row.push_back(r);
      last.push_back(episodes.first[e + 1] - 1);
    }
}

std::vector<std::string> CriticTaskOptions::validate() const {
  return Rules("CriticTaskOptions")
      .check(batch >= 1, "batch", static_cast<double>(batch), "must be >= 1")
      .check(discount > 0 && discount <= 1, "discount", discount, "must be in (0, 1]")
      .check(expectile > 0 && expectile < 1, "expectile", expectile, "must be in (0, 1)")
      .check(reach >= 1, "reach", static_cast<double>(reach), "must be >= 1")
      .check(future >= 0 && random >= 0 && future + random <= 1, "future", future,
             "and random must be >= 0 and sum to at most 1")
      .check(target_rate > 0 && target_rate <= 1, "target_rate", target_rate, "must be in (0, 1]")
      .problems();
}

CriticTask::CriticTask(std::shared_ptr<models::ValueCritic> critic, const EpisodeLatents& training,
                       const EpisodeLatents& validation, int64_t block,
                       const CriticTaskOptions& options, std::uint64_t seed)
    : critic_(std::move(critic)),
      training_(training),
      validation_(validation),
      block_(block),
      options_(options),
      seed_(seed),
      noise_(seed, kTrainingStream),
      samples_(options.batch) {
  require_valid(options_);
  require(block_ >= 1, ErrorCategory::invalid_argument, "CriticTask: block must be >= 1");
  require(!training_.empty(), ErrorCategory::invalid_argument,
          "CriticTask: no training episode has two rows");
  target_ = critic_->copy();
  for (auto& parameter : target_->parameters()) parameter.set_requires_grad(false);
}

CriticTask::Pairs CriticTask::draw(const PairSource& source, int64_t count, Noise& noise) const {
  const auto rows = source.latents.size(0);
  const auto uniforms = noise.uniform({count, 4}, at::kFloat).contiguous();
  const auto u = uniforms.accessor<float, 2>();
  // Two tables, so that two copies bring all of it to a GPU.
  const auto rows_of_pairs = at::empty({3, count}, at::kLong);  // from, goal, later
  const auto facts = at::empty({3, count}, at::kFloat);         // steps, arrived, same
  auto* row = rows_of_pairs.mutable_data_ptr<int64_t>();
  auto* fact = facts.mutable_data_ptr<float>();
  for (int64_t i = 0; i < count; ++i) {
    const auto start =
        static_cast<std::size_t>(below(u[i][0], static_cast<int64_t>(source.row.size())));
    const auto s = source.row[start], last = source.last[start];
    const bool is_future = u[i][1] < options_.future;
    const bool is_random = !is_future && u[i][1] < options_.future + options_.random;
    int64_t g = s;
    if (is_future) g = s + 1 + below(u[i][2], last - s);
    if (is_random) g = below(u[i][3], rows);
    auto ahead = std::min(options_.reach, last - s);
    if (is_future) ahead = std::min(ahead, g - s);
    row[i] = s;
    row[count + i] = g;
    row[2 * count + i] = s + ahead;
    fact[i] = static_cast<float>(ahead) / static_cast<float>(block_);
    fact[count + i] = is_future && ahead == g - s ? 1.0F : 0.0F;
    fact[2 * count + i] = !is_future && !is_random ? 1.0F : 0.0F;
  }
  const auto device = source.latents.device();
  const auto picked = source.latents.index_select(0, rows_of_pairs.flatten().to(device)).chunk(3);
  const auto told = facts.to(device);
  return {picked[0], picked[1], picked[2], told[0], told[1].ne(0), told[2].ne(0)};
}

Tensor CriticTask::targets(const Pairs& pairs) const {
  c10::NoGradGuard no_grad;
  const auto rest = target_->forward(pairs.later, pairs.goal).masked_fill(pairs.arrived, 0.0);
  const auto discounted = at::pow(options_.discount, pairs.steps) * rest;
  return (pairs.steps + discounted).masked_fill(pairs.same, 0.0);
}

losses::Terms CriticTask::pair_loss(const Pairs& pairs) const {
  const auto value = critic_->forward(pairs.from, pairs.goal);
  losses::Terms terms;
  terms.add("expectile", 1.0, expectile_loss(value, targets(pairs), options_.expectile));
  return terms;
}

losses::Terms CriticTask::loss() {
  auto pairs = draw(training_, options_.batch, noise_);
  const auto part = replica_part(options_.batch);
  require(part.count > 0, ErrorCategory::invalid_option,
          "CriticTaskOptions.batch = " + std::to_string(options_.batch) +
              " must be >= " + std::to_string(replica_count()) + ", the number of processes");
  samples_ = part.count;
  if (part.count == options_.batch) return pair_loss(pairs);
  for (auto* column :
       {&pairs.from, &pairs.goal, &pairs.later, &pairs.steps, &pairs.arrived, &pairs.same})
    *column = column->narrow(0, part.first, part.count);
  // Parts may differ by a pair; the mean over processes is still that over all pairs.
  const double share =
      static_cast<double>(part.count * replica_count()) / static_cast<double>(options_.batch);
  const auto own = pair_loss(pairs);
  losses::Terms terms;
  for (const auto& term : own.terms()) terms.add(term.name, term.weight, term.value * share);
  return terms;
}

void CriticTask::updated() {
  c10::NoGradGuard no_grad;
  at::_foreach_lerp_(target_->parameters(), critic_->parameters(), options_.target_rate);
}

losses::Terms CriticTask::validate() {
  if (validation_.empty()) return {};
  PhiloxNoise noise(seed_, kValidationStream);
  return pair_loss(draw(validation_, kValidationBatches * options_.batch, noise));
}

std::string CriticTask::position() const {
  return write_position({{"noise", static_cast<int64_t>(noise_.position())}});
}

void CriticTask::seek(const std::string& position) {
  noise_.seek(static_cast<std::uint64_t>(read_position(position, {"noise"})[0]));
}

io::NamedTensors CriticTask::extra_tensors() { return nn::state_dict(*target_); }

Tensor expectile_loss(const Tensor& value, const Tensor& target, double expectile) {
  const auto difference = target - value;
  const auto weight =
      at::where(difference > 0, expectile, 1.0 - expectile).to(difference.scalar_type());
  return (weight * difference.square()).mean();
}

}  // namespace foresight::train
