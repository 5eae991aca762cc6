// SPDX-License-Identifier: Apache-2.0
// Example 5: a robot arm that reaches. Its program knows Eigen and the arm's equations of motion,
// nothing else: they are written once, as a functor, and imagined for hundreds of candidates at a
// time. Two joints in the plane, torques with limits and rate limits, 50 control steps a second;
// the real arm carries a load that its model does not know of.
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "foresight/control/eigen_controller.hpp"

namespace {

constexpr double kPeriod = 0.02, kLength = 0.5;  // s; m, both links

// State: joint angles and speeds (rad, rad/s). Action: torques (Nm). Parameters: where the hand
// should be (m).
struct Arm {
  static constexpr int kState = 4, kAction = 2, kParameters = 2;
  double load = 0.0;  // kg in the hand

  template <class T>
  std::array<T, 4> operator()(const std::array<T, 4>& x, const std::array<T, 2>& torque,
                              const std::array<T, 2>&) const {
    using std::cos, std::sin;
    // Two rods of 1 kg: inertia and coupling (e.g. Spong, Hutchinson, Vidyasagar, Robot Modeling
    // and Control, section 7.3), friction 0.2 Nms.
    const double square = kLength * kLength;
    const double outer = (1.0 / 3 + load) * square, coupling = (0.5 + load) * square,
                 inner = outer + (4.0 / 3 + load) * square;
    const T c = cos(x[1]), s = sin(x[1]);
    const T m11 = inner + 2 * coupling * c, m12 = outer + coupling * c;
    const T t1 = torque[0] + coupling * s * x[3] * (2 * x[2] + x[3]) - 0.2 * x[2];
    const T t2 = torque[1] - coupling * s * x[2] * x[2] - 0.2 * x[3];
    const T determinant = m11 * outer - m12 * m12;
    const T v1 = x[2] + kPeriod * (outer * t1 - m12 * t2) / determinant;
    const T v2 = x[3] + kPeriod * (m11 * t2 - m12 * t1) / determinant;
    return {x[0] + kPeriod * v1, x[1] + kPeriod * v2, v1, v2};
  }

  template <class T>
  static std::array<T, 2> hand(const std::array<T, 4>& x) {
    using std::cos, std::sin;
    return {kLength * (cos(x[0]) + cos(x[0] + x[1])), kLength * (sin(x[0]) + sin(x[0] + x[1]))};
  }

  template <class T>
  T cost(const std::array<T, 4>& x, const std::array<T, 2>& torque,
         const std::array<T, 2>& target) const {
    const auto at = hand(x);
    const T dx = at[0] - target[0], dy = at[1] - target[1];
    return 100 * (dx * dx + dy * dy) + 0.1 * (x[2] * x[2] + x[3] * x[3]) +
           0.002 * (torque[0] * torque[0] + torque[1] * torque[1]);
  }
  template <class T>
  T terminal(const std::array<T, 4>& x, const std::array<T, 2>& target) const {
    return 10 * cost(x, {T(0), T(0)}, target);
  }
};

}  // namespace

int main() {
  const Eigen::Vector2d limit(5.0, 2.5), step(1.0, 0.5);
  foresight::EigenController controller(
      Arm{}, {.low = {-5.0, -2.5},
              .high = {5.0, 2.5},
              .max_step = {1.0, 0.5},
              .horizon = 25,  // half a second. A real arm would have .deadline_ms = 15 as well
              .settings = R"({"sampling": {"samples": 200, "elites": 20, "iterations": 4}})"});
  controller.set_goal(Eigen::Vector2d(0.4, 0.4));
  controller.warm_up();

  const Arm arm{.load = 0.2};  // stands for the real one
  Eigen::Vector4d state(0.3, 0.5, 0.0, 0.0);
  Eigen::Vector2d last = Eigen::Vector2d::Zero();
  controller.applied(last);  // the motors are off: rate limits count from there
  double slowest = 0;
  bool kept = true, reached = true;  // the limits; the targets
  int planned = 0, ticks = 0;
  for (const Eigen::Vector2d& target :
       {Eigen::Vector2d(0.4, 0.4), Eigen::Vector2d(-0.5, 0.5), Eigen::Vector2d(0.0, 0.8)}) {
    controller.set_goal(target);
    for (int tick = 0; tick < 100; ++tick) {  // 2 s for each
      const auto& decision = controller.act(state);
      const Eigen::Vector2d torque = decision.action;
      slowest = std::max(slowest, 1e3 * decision.total_seconds);
      planned += decision.source == "plan" ? 1 : 0;
      ++ticks;
      kept = kept && (torque.cwiseAbs().array() <= limit.array()).all() &&
             ((torque - last).cwiseAbs().array() <= step.array() + 1e-6).all();
      last = torque;
      const auto next = foresight::functor_step(arm, {state[0], state[1], state[2], state[3]},
                                                {torque[0], torque[1]});
      state = Eigen::Map<const Eigen::Vector4d>(next.data());
    }
    const auto at = Arm::hand<double>({state[0], state[1], state[2], state[3]});
    const double away = (Eigen::Vector2d(at[0], at[1]) - target).norm();
    std::printf("hand at (%5.2f, %5.2f) m, %.1f cm from the target\n", at[0], at[1], 100 * away);
    reached = reached && away < 0.03;
  }
  std::printf("%d of %d actions planned, slowest decision %.1f ms\n", planned, ticks, slowest);
  std::printf("limits %s, targets %s\n", kept ? "kept" : "broken", reached ? "reached" : "missed");
  return kept && reached && planned == ticks ? 0 : 1;
}
