// SPDX-License-Identifier: Apache-2.0
// Question: how long is one MPPI command on analytic dynamics, and how does it compare with
// pytorch_mppi? A torque-limited pendulum, one iteration, one thread, three ways in turns: dynamics
// as a C++ functor, the same dynamics composed of tensor operations, and pytorch_mppi. A command is
// what a control loop asks for: shift the last plan, draw, imagine, weigh, first action out.
//   benchmark_mppi_pendulum [<python>] [<rounds>]
// <python> runs peer_pytorch_mppi.py beside this file's source and must import torch and
// pytorch_mppi; "-" leaves the peer out. Prints one JSON object.
#include <ATen/Parallel.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <numbers>

#include "foresight/planning/functor_model.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "measurement.hpp"
#include "peer.hpp"

namespace {

using namespace foresight;
using namespace foresight::benchmark;
constexpr double kPi = std::numbers::pi;

struct Pendulum {
  static constexpr int kState = 2, kAction = 1;
  template <class T>
  std::array<T, 2> operator()(const std::array<T, 2>& x, const std::array<T, 1>& u) const {
    const T speed = x[1] + (-15.0 * sin(x[0] + kPi) + 3.0 * clamp(u[0], -2, 2)) * 0.05;
    return {x[0] + speed * 0.05, clamp(speed, -8, 8)};
  }
  template <class T>
  T cost(const std::array<T, 2>& x, const std::array<T, 1>&) const {
    const T angle = floor_mod(x[0] + kPi, 2 * kPi) - kPi;
    return angle * angle + 0.1 * x[1] * x[1];
  }
};

Costs tensor_cost(const Tensor& state, const Tensor& actions) {
  auto angle = state.select(1, 0).unsqueeze(1), speed = state.select(1, 1).unsqueeze(1);
  const auto torque = actions.select(3, 0).clamp(-2, 2);
  Tensor total;
  for (int64_t t = 0; t < actions.size(2); ++t) {
    const auto faster = speed + (at::sin(angle + kPi) * -15.0 + torque.select(2, t) * 3.0) * 0.05;
    angle = angle + faster * 0.05;
    speed = faster.clamp(-8, 8);
    const auto wrapped = at::remainder(angle + kPi, 2 * kPi) - kPi;
    const auto cost = wrapped.square() + speed.square() * 0.1;
    total = total.defined() ? total + cost : cost;
  }
  return {total, {}, {}};
}

struct Size {
  int64_t samples, horizon, batch;
  at::ScalarType type = at::kFloat;
};

enum class Dynamics { functor, tensor };

// One MPPI controller as a control loop would hold it.
class Controller {
 public:
  Controller(Dynamics dynamics, Size size, double temperature = 1.0)
      : dynamics_(dynamics), size_(size) {
    auto options = mppi();
    options.samples = size.samples;
    options.initial_std = {std::sqrt(10.0)};
    options.temperature = options.control_cost = temperature;
    options.evaluate_result = false;
    planner_ = std::make_unique<SamplingPlanner>(options);
    action_.low = {-2.0};
    action_.high = {2.0};
    state_ = at::tensor({kPi, 1.0}, at::kDouble).to(size.type).expand({size.batch, 2}).contiguous();
  }
  double command() { return command(noise_); }
  double command(Noise& noise) {
    Problem problem;
    problem.batch = size_.batch;
    problem.horizon = size_.horizon;
    problem.action = action_;
    problem.options = at::TensorOptions().dtype(size_.type);
    problem.warm_start =
        planner_->advance(last_, std::vector<int64_t>(static_cast<std::size_t>(size_.batch), 1), 1);
    if (dynamics_ == Dynamics::functor) {
      problem.cost = functor_cost(functor_, action_, state_);
    } else {
      problem.cost = [&](const Tensor& actions) { return tensor_cost(state_, actions); };
    }
    auto plan = planner_->solve(problem, noise);
    const double action = *plan.actions.select(1, 0).to(at::kDouble).data_ptr<double>();
    if (plan.status != Status::ok) throw std::runtime_error(plan.message);
    cost_ms_ = 1e3 * plan.timings.cost;
    last_ = std::move(plan.warm_start);
    return action;
  }
  double timed() {
    return milliseconds([&] { command(); });
  }
  void forget() { last_ = {}; }
  Tensor plan() const { return last_.mean[0].flatten(); }
  /// Of the last command, inside the cost function.
  double cost_ms() const { return cost_ms_; }

 private:
  Dynamics dynamics_;
  Size size_;
  std::unique_ptr<SamplingPlanner> planner_;
  std::shared_ptr<const FunctorDynamics> functor_ = make_functor(Pendulum{});
  ActionSpace action_;
  Tensor state_;
  WarmStart last_;
  PhiloxNoise noise_{1};
  double cost_ms_ = 0;
};

nlohmann::json request(const char* what, Size size) {
  return {{"do", what},
          {"samples", size.samples},
          {"horizon", size.horizon},
          {"dtype", size.type == at::kFloat ? "float32" : "float64"}};
}

double largest_difference(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// The three plans that the same draws give, from the same start; at a temperature that lets
// hundreds of candidates count, so that all of their costs are compared.
nlohmann::json compare(Peer* peer, Size size) {
  constexpr double kTemperature = 100.0;
  const auto draws = PhiloxNoise(7).normal({1, size.samples, size.horizon, 1});
  const auto plan = [&](Dynamics dynamics) {
    Controller controller(dynamics, size, kTemperature);
    RecordedNoise noise;
    noise.push(draws);
    controller.command(noise);
    return controller.plan();
  };
  const auto functor = plan(Dynamics::functor), tensor = plan(Dynamics::tensor);
  nlohmann::json result{{"functor_to_tensor", largest_difference(functor, tensor)}};
  if (!peer) return result;
  std::array<char, 32> path{"/tmp/foresight_drawsXXXXXX"};
  const int file = mkstemp(path.data());
  const auto bytes = static_cast<std::size_t>(draws.numel()) * sizeof(float);
  if (file < 0 || write(file, draws.data_ptr<float>(), bytes) != static_cast<ssize_t>(bytes))
    throw std::runtime_error("cannot write the draws to /tmp");
  close(file);
  auto ask = request("plan", size);
  ask["draws"] = path.data();
  ask["lambda"] = kTemperature;
  const auto theirs = peer->ask(ask).at("plan").get<std::vector<double>>();
  unlink(path.data());
  result["functor_to_pytorch_mppi"] = largest_difference(functor, at::tensor(theirs, at::kDouble));
  return result;
}

nlohmann::json head_to_head(Peer* peer, Size size, int rounds) {
  Controller functor(Dynamics::functor, size), tensor(Dynamics::tensor, size);
  std::vector<std::function<double()>> works{[&] { return functor.timed(); },
                                             [&] { return tensor.timed(); }};
  if (peer)
    works.emplace_back([&] { return peer->ask(request("time", size)).at("ms").get<double>(); });
  const auto times = in_turns(works, rounds, 10);
  nlohmann::json result{
      {"samples", size.samples},           {"horizon", size.horizon},
      {"dtype", c10::toString(size.type)}, {"largest_difference_of_plans", compare(peer, size)},
      {"functor", summary(times[0])},      {"tensor", summary(times[1])}};
  if (peer) {
    result["pytorch_mppi"] = summary(times[2]);
    result["functor_times_faster"] = median(times[2]) / median(times[0]);
    result["tensor_times_faster"] = median(times[2]) / median(times[1]);
  }
  return result;
}

// Median milliseconds over sizes, and what part of them is not the dynamics.
nlohmann::json table() {
  nlohmann::json rows = nlohmann::json::array();
  for (const int64_t batch : {1, 8})
    for (const int64_t samples : {128, 512, 2048, 8192})
      for (const int64_t horizon : {15, 50}) {
        const Size size{samples, horizon, batch};
        Controller functor(Dynamics::functor, size), tensor(Dynamics::tensor, size);
        std::vector<double> inside;
        const auto times = in_turns({[&] {
                                       const double ms = functor.timed();
                                       inside.push_back(functor.cost_ms());
                                       return ms;
                                     },
                                     [&] { return tensor.timed(); }},
                                    batch * samples > 8192 ? 11 : 31, 3);
        rows.push_back({{"batch", batch},
                        {"samples", samples},
                        {"horizon", horizon},
                        {"functor_ms", median(times[0])},
                        {"functor_dynamics_ms", median(inside)},
                        {"tensor_ms", median(times[1])}});
      }
  return rows;
}

}  // namespace

int main(int argc, char** argv) try {
  at::set_num_threads(1);
  const std::string python = argc > 1 ? argv[1] : "python3";
  const int rounds = argc > 2 ? std::stoi(argv[2]) : 200;
  std::unique_ptr<Peer> peer;
  if (python != "-") peer = std::make_unique<Peer>(python, "peer_pytorch_mppi.py");
  nlohmann::json report{{"benchmark", "mppi_pendulum"}, {"machine", machine()}, {"threads", 1}};
  if (peer) report["peer"] = peer->about;
  for (const auto type : {at::kFloat, at::kDouble})
    for (const auto& [samples, horizon] :
         std::vector<std::pair<int64_t, int64_t>>{{500, 15}, {1000, 50}})
      report["head_to_head"].push_back(
          head_to_head(peer.get(), {samples, horizon, 1, type}, rounds));
  report["table"] = table();
  std::cout << report.dump(2) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_mppi_pendulum: " << error.what() << "\n";
  return 1;
}
