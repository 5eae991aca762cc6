// SPDX-License-Identifier: Apache-2.0
// Question: how long is one MPPI command on analytic dynamics, and how does it compare with
// pytorch_mppi? Two systems: a torque-limited pendulum, and the unbounded linear one of
// pytorch_mppi's own benchmark, that one with smooth and kernel MPPI too. One iteration, one
// thread, three ways in turns: dynamics as a C++ functor, the same dynamics composed of tensor
// operations, and pytorch_mppi. A command is what a control loop asks for: shift the last plan,
// draw, imagine, weigh, first action out. Then one iteration of every kind of planner beside
// pytorch_mppi's.
//   benchmark_mppi_command [<python>] [<rounds>] [<table>]
// <python> runs peer_pytorch_mppi.py beside this file's source and must import torch and
// pytorch_mppi; "-" leaves the peer out. <table> = "-" leaves out the table over sizes. Prints one
// JSON object.
#include <ATen/Parallel.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <numbers>

#include "../tests/temporary_folder.hpp"
#include "foresight/io/files.hpp"
#include "foresight/planning/cma_es_planner.hpp"
#include "foresight/planning/functor_model.hpp"
#include "foresight/planning/gradient_planner.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "measurement.hpp"
#include "peer.hpp"

namespace {

using namespace foresight;
using namespace foresight::benchmark;
constexpr double kPi = std::numbers::pi;
constexpr double kSmoothness = 5.0;  // SMPPI's price of squared changes between actions

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

Costs pendulum_cost(const Tensor& state, const Tensor& actions) {
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

// x' = x + diag(1, -1) u towards (2, 2).
struct Linear {
  static constexpr int kState = 2, kAction = 2;
  template <class T>
  std::array<T, 2> operator()(const std::array<T, 2>& x, const std::array<T, 2>& u) const {
    return {x[0] + u[0], x[1] - u[1]};
  }
  template <class T>
  T cost(const std::array<T, 2>& x, const std::array<T, 2>&) const {
    const T east = 2.0 - x[0], north = 2.0 - x[1];
    return east * east + north * north;
  }
};

// The same with SMPPI's price of squared changes between actions, which the state remembers:
// position, last action, last change, and whether there was an action before.
struct SmoothLinear {
  static constexpr int kState = 6, kAction = 2;
  template <class T>
  std::array<T, 6> operator()(const std::array<T, 6>& x, const std::array<T, 2>& u) const {
    const T first = u[0] - x[2], second = u[1] - x[3];
    return {x[0] + u[0], x[1] - u[1], u[0], u[1], x[5] * (first * first + second * second), T(1)};
  }
  template <class T>
  T cost(const std::array<T, 6>& x, const std::array<T, 2>&) const {
    const T east = 2.0 - x[0], north = 2.0 - x[1];
    return east * east + north * north + kSmoothness * x[4];
  }
};

// A step at a time, as pytorch_mppi computes it, although these sums could be taken at once.
Costs linear_cost(const Tensor& state, const Tensor& actions) {
  const auto gain = at::tensor({1.0, -1.0}, actions.options());
  auto position = state.unsqueeze(1);
  Tensor total;
  for (int64_t t = 0; t < actions.size(2); ++t) {
    position = position + actions.select(2, t) * gain;
    const auto cost = (2.0 - position).square().sum(-1);
    total = total.defined() ? total + cost : cost;
  }
  return {total, {}, {}};
}

struct System {
  const char* name;
  std::shared_ptr<const FunctorDynamics> functor;
  Costs (*tensor_cost)(const Tensor& state, const Tensor& actions);
  std::vector<double> start, low, high;  // no limits: empty
  double std;
};

System pendulum() {
  return {"pendulum", make_functor(Pendulum{}), pendulum_cost, {kPi, 1.0}, {-2.0},
          {2.0},      std::sqrt(10.0)};
}
System linear() {
  return {"linear", make_functor(Linear{}), linear_cost, {-3.0, -2.0}, {}, {}, 1.0};
}

System smooth(System system) {  // of the linear one
  system.functor = make_functor(SmoothLinear{});
  system.start.resize(SmoothLinear::kState, 0.0);
  return system;
}

struct Size {
  int64_t samples, horizon, batch;
  at::ScalarType type = at::kFloat;
};

enum class Dynamics { functor, tensor };

enum class Method { mppi, smppi, kmppi };
constexpr std::array<const char*, 3> kMethodNames{"mppi", "smppi", "kmppi"};
constexpr int64_t kKnots = 5;

std::shared_ptr<const Planner> planner_of(Method method, const System& system, Size size,
                                          double temperature) {
  auto options = method == Method::mppi ? mppi() : method == Method::smppi ? smppi() : kmppi();
  options.samples = size.samples;
  options.initial_std = {system.std};
  options.temperature = options.control_cost = temperature;
  options.knots = kKnots;
  options.kernel_width = 2.0;
  options.evaluate_result = false;
  return std::make_shared<SamplingPlanner>(options);
}

// One controller as a control loop would hold it.
class Controller {
 public:
  Controller(System system, Dynamics dynamics, Size size, std::shared_ptr<const Planner> planner,
             double smoothness = 0.0)
      : system_(std::move(system)),
        dynamics_(dynamics),
        size_(size),
        planner_(std::move(planner)),
        smoothness_(smoothness) {
    action_.dim = system_.functor->action_size();
    action_.low = system_.low;
    action_.high = system_.high;
    state_ = at::tensor(system_.start, at::kDouble)
                 .to(size.type)
                 .expand({size.batch, system_.functor->state_size()})
                 .contiguous();
  }
  Controller(const System& system, Dynamics dynamics, Size size, Method method = Method::mppi,
             double temperature = 1.0)
      : Controller(
            dynamics == Dynamics::functor && method == Method::smppi ? smooth(system) : system,
            dynamics, size, planner_of(method, system, size, temperature),
            dynamics == Dynamics::tensor && method == Method::smppi ? kSmoothness : 0.0) {}

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
      problem.cost = functor_cost(system_.functor, action_, state_);
    } else {
      problem.cost = [&](const Tensor& actions) { return system_.tensor_cost(state_, actions); };
    }
    if (smoothness_ > 0)
      problem.cost = [this, cost = problem.cost](const Tensor& actions) {
        auto costs = cost(actions);
        costs.total = costs.total + at::diff(actions, 1, 2).square().sum({2, 3}) * smoothness_;
        return costs;
      };
    auto plan = planner_->solve(problem, noise);
    const double action =
        *plan.actions.select(1, 0).to(at::kDouble).contiguous().data_ptr<double>();
    if (plan.status != Status::ok) throw std::runtime_error(plan.message);
    cost_ms_ = 1e3 * plan.timings.cost;
    last_ = std::move(plan.warm_start);
    return action;
  }
  double timed() {
    return milliseconds([&] { command(); });
  }
  Tensor plan() const { return last_.mean[0].flatten(); }
  /// Of the last command, inside the cost function.
  double cost_ms() const { return cost_ms_; }

 private:
  System system_;
  Dynamics dynamics_;
  Size size_;
  std::shared_ptr<const Planner> planner_;
  double smoothness_;
  ActionSpace action_;
  Tensor state_;
  WarmStart last_;
  PhiloxNoise noise_{1};
  double cost_ms_ = 0;
};

nlohmann::json request(const char* what, const System& system, Size size, Method method) {
  return {{"do", what},
          {"system", system.name},
          {"method", kMethodNames[static_cast<std::size_t>(method)]},
          {"samples", size.samples},
          {"horizon", size.horizon},
          {"dtype", size.type == at::kFloat ? "float32" : "float64"}};
}

double largest_difference(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// The three plans that the same draws give, from the same start; at a temperature that lets
// hundreds of candidates count, so that all of their costs are compared.
nlohmann::json compare(Peer* peer, const System& system, Size size, Method method) {
  constexpr double kTemperature = 100.0;
  const auto rows = method == Method::kmppi ? kKnots : size.horizon;
  const auto draws = PhiloxNoise(7).normal({1, size.samples, rows, system.functor->action_size()});
  const auto plan = [&](Dynamics dynamics) {
    Controller controller(system, dynamics, size, method, kTemperature);
    RecordedNoise noise;
    noise.push(draws);
    controller.command(noise);
    return controller.plan();
  };
  const auto functor = plan(Dynamics::functor), tensor = plan(Dynamics::tensor);
  nlohmann::json result{{"functor_to_tensor", largest_difference(functor, tensor)}};
  if (!peer) return result;
  const TemporaryFolder folder;
  const auto path = folder / "draws";
  io::replace_file_atomically(path, [&](io::OutputFile& file) {
    file.write(draws.data_ptr<float>(), static_cast<std::size_t>(draws.numel()) * sizeof(float));
  });
  auto ask = request("plan", system, size, method);
  ask["draws"] = path.string();
  ask["lambda"] = kTemperature;
  const auto theirs = peer->ask(ask).at("plan").get<std::vector<double>>();
  result["functor_to_pytorch_mppi"] = largest_difference(functor, at::tensor(theirs, at::kDouble));
  return result;
}

nlohmann::json head_to_head(Peer* peer, const System& system, Size size, Method method,
                            int rounds) {
  Controller functor(system, Dynamics::functor, size, method);
  Controller tensor(system, Dynamics::tensor, size, method);
  std::vector<std::function<double()>> works{[&] { return functor.timed(); },
                                             [&] { return tensor.timed(); }};
  if (peer)
    works.emplace_back(
        [&] { return peer->ask(request("time", system, size, method)).at("ms").get<double>(); });
  const auto times = in_turns(works, rounds, 10);
  nlohmann::json result{{"system", system.name},
                        {"method", kMethodNames[static_cast<std::size_t>(method)]},
                        {"samples", size.samples},
                        {"horizon", size.horizon},
                        {"dtype", c10::toString(size.type)},
                        {"largest_difference_of_plans", compare(peer, system, size, method)},
                        {"functor", summary(times[0])},
                        {"tensor", summary(times[1])}};
  if (peer) {
    result["pytorch_mppi"] = summary(times[2]);
    const auto faster = [&](const std::vector<double>& ours) {
      return nlohmann::json{{"medians", median(times[2]) / median(ours)},
                            {"fastest", std::ranges::min(times[2]) / std::ranges::min(ours)}};
    };
    result["functor_times_faster"] = faster(times[0]);
    result["tensor_times_faster"] = faster(times[1]);
  }
  return result;
}

// One iteration of each kind of planner on the pendulum, functor dynamics (gradients need tensors),
// in turns with a command of pytorch_mppi.
nlohmann::json planners(Peer* peer, Size size, int rounds) {
  std::vector<std::pair<std::string, std::shared_ptr<const Planner>>> kinds;
  for (auto [name, options] : std::vector<std::pair<std::string, SamplingOptions>>{
           {"CEM", lewm_cem()},
           {"iCEM", icem()},
           {"MPPI", mppi()},
           {"SMPPI", smppi()},
           {"KMPPI", kmppi()},
           {"predictive sampling", predictive_sampling()}}) {
    options.samples = size.samples;
    options.iterations = 1;
    options.initial_std = {std::sqrt(10.0)};
    options.bound = BoundKind::box;
    options.evaluate_result = false;
    kinds.emplace_back(name, std::make_shared<SamplingPlanner>(options));
  }
  kinds.emplace_back("CMA-ES", std::make_shared<CmaEsPlanner>(
                                   CmaEsOptions{.samples = size.samples, .iterations = 1}));
  kinds.emplace_back("AdamW, tensor operations", std::make_shared<GradientPlanner>(GradientOptions{
                                                     .samples = size.samples, .iterations = 1}));
  std::vector<std::unique_ptr<Controller>> controllers;
  std::vector<std::function<double()>> works;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const auto dynamics = i + 1 == kinds.size() ? Dynamics::tensor : Dynamics::functor;
    controllers.push_back(
        std::make_unique<Controller>(pendulum(), dynamics, size, kinds[i].second));
    works.emplace_back([controller = controllers.back().get()] { return controller->timed(); });
  }
  if (peer)
    works.emplace_back([&] {
      return peer->ask(request("time", pendulum(), size, Method::mppi)).at("ms").get<double>();
    });
  const auto times = in_turns(works, rounds, 5);
  nlohmann::json rows{{"samples", size.samples}, {"horizon", size.horizon}};
  for (std::size_t i = 0; i < kinds.size(); ++i) rows["ms"][kinds[i].first] = median(times[i]);
  if (peer) rows["ms"]["pytorch_mppi"] = median(times.back());
  return rows;
}

// Median milliseconds of the pendulum over sizes, and what part of them is not the dynamics.
nlohmann::json table() {
  nlohmann::json rows = nlohmann::json::array();
  for (const int64_t batch : {1, 8})
    for (const int64_t samples : {128, 512, 2048, 8192})
      for (const int64_t horizon : {15, 50}) {
        const Size size{samples, horizon, batch};
        Controller functor(pendulum(), Dynamics::functor, size);
        Controller tensor(pendulum(), Dynamics::tensor, size);
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
  nlohmann::json report{{"benchmark", "mppi_command"}, {"machine", machine()}, {"threads", 1}};
  if (peer) report["peer"] = peer->about;
  const auto measure = [&](const System& system, Size size, Method method = Method::mppi) {
    report["head_to_head"].push_back(head_to_head(peer.get(), system, size, method, rounds));
  };
  for (const auto type : {at::kFloat, at::kDouble}) {
    measure(pendulum(), {500, 15, 1, type});
    measure(pendulum(), {1000, 50, 1, type});
    for (const auto method : {Method::mppi, Method::smppi, Method::kmppi})
      measure(linear(), {500, 15, 1, type}, method);
  }
  report["one_iteration"] = {planners(peer.get(), {500, 15, 1}, rounds / 4),
                             planners(peer.get(), {1000, 50, 1}, rounds / 4)};
  if (argc <= 3 || std::string(argv[3]) != "-") report["table"] = table();
  std::cout << report.dump(2) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_mppi_command: " << error.what() << "\n";
  return 1;
}
