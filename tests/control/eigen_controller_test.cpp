// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/eigen_controller.hpp"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <regex>
#include <set>
#include <type_traits>

#include "../../src/control/eigen_bridge.hpp"
#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "foresight/planning/functor_model.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"

namespace {

// Allocations of this thread while counting is on.
thread_local bool counting = false;
thread_local int allocations = 0;

void* counted(std::size_t size) {
  if (counting) ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

template <class Work>
int allocations_of(Work&& work) {
  allocations = 0;
  counting = true;
  work();
  counting = false;
  return allocations;
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace foresight::eigen_controller_test {
namespace {

namespace fs = std::filesystem;

// Accelerated along two axes towards a place, which is the parameter.
struct Slider {
  static constexpr int kState = 4, kAction = 2, kParameters = 2;
  template <class T>
  std::array<T, 4> operator()(const std::array<T, 4>& x, const std::array<T, 2>& u,
                              const std::array<T, 2>&) const {
    const T v0 = x[2] + 0.1 * u[0], v1 = x[3] + 0.1 * u[1];
    return {x[0] + 0.1 * v0, x[1] + 0.1 * v1, v0, v1};
  }
  template <class T>
  T cost(const std::array<T, 4>& x, const std::array<T, 2>& u, const std::array<T, 2>& to) const {
    const T dx = x[0] - to[0], dy = x[1] - to[1];
    return dx * dx + dy * dy + 0.1 * (x[2] * x[2] + x[3] * x[3]) +
           0.01 * (u[0] * u[0] + u[1] * u[1]);
  }
};

EigenControllerOptions slider_options() {
  EigenControllerOptions options;
  options.low = {-1.0, -0.5};
  options.high = {1.0, 0.5};
  options.max_step = {0.4, 0.4};
  options.settings = R"({"sampling": {"samples": 128, "elites": 16, "iterations": 3}})";
  return options;
}

Eigen::Vector4d advance(const Eigen::Vector4d& x, const Eigen::Vector2d& u) {
  const auto next = functor_step(Slider{}, {x[0], x[1], x[2], x[3]}, {u[0], u[1]});
  return Eigen::Map<const Eigen::Vector4d>(next.data());
}

TEST_CASE("a functor is driven to its goal within limits and rate limits, and to the next goal") {
  EigenController controller(Slider{}, slider_options());
  CHECK(controller.action_size() == 2);
  CHECK(controller.fields() == std::vector<std::string>{"state", "parameters"});
  CHECK(controller.field_size("state") == 4);
  Eigen::Vector4d x(1.0, -0.5, 0.0, 0.0);
  Eigen::Vector2d last(0.0, 0.0);
  bool first = true;
  for (const Eigen::Vector2d& goal : {Eigen::Vector2d(0.0, 0.0), Eigen::Vector2d(-0.5, 0.3)}) {
    controller.set_goal(goal);
    for (int step = 0; step < 80; ++step) {
      const auto& decision = controller.act(x);
      INFO(decision.message);
      REQUIRE(decision.status == Status::ok);
      CHECK(decision.source == "plan");
      CHECK(decision.fault == "none");
      CHECK(decision.replanned);
      CHECK(decision.total_seconds >= decision.plan_seconds);
      CHECK(decision.plan_seconds > 0);
      const Eigen::Vector2d u = decision.action;
      CHECK(std::abs(u[0]) <= 1.0);
      CHECK(std::abs(u[1]) <= 0.5);
      if (!first) CHECK((u - last).cwiseAbs().maxCoeff() <= 0.4 + 1e-6);
      first = false;
      last = u;
      x = advance(x, u);
    }
    CHECK((x.head<2>() - goal).norm() < 0.05);
    CHECK(x.tail<2>().norm() < 0.1);
  }
}

TEST_CASE("the Eigen controller decides exactly as the Mpc that it wraps") {
  EigenController controller(Slider{}, slider_options());
  const ActionSpace space{
      .dim = 2, .low = {-1.0, -0.5}, .high = {1.0, 0.5}, .mean = {0.0, 0.0}, .std = {0.5, 0.25}};
  const auto model = std::make_shared<FunctorModel>(make_functor(Slider{}), space);
  auto search = icem();
  search.samples = 128;
  search.elites = 16;
  search.iterations = 3;
  Mpc mpc(model, functor_objective(model), std::make_shared<SamplingPlanner>(search),
          {.horizon = 20, .replan_steps = 1, .max_step = {0.4, 0.4}});
  controller.set_goal(Eigen::Vector2d(0.2, 0.1));
  mpc.set_task("parameters", at::tensor({0.2F, 0.1F}).view({1, 2}));
  Eigen::Vector4d x(1.0, -0.5, 0.0, 0.0);
  for (int step = 0; step < 5; ++step) {
    Observation seen("state",
                     at::tensor({float(x[0]), float(x[1]), float(x[2]), float(x[3])}).view({1, 4}));
    seen.set("parameters", at::tensor({0.2F, 0.1F}).view({1, 2}));
    const auto expected = mpc.act(seen).action;
    const auto& action = controller.act(x).action;
    for (int d = 0; d < 2; ++d) CHECK(action[d] == expected[0][d].item<double>());
    x = advance(x, action);
  }
}

TEST_CASE("a bad observation is answered, told by the status, and forgotten") {
  auto options = slider_options();
  options.safe_action = {0.25, -0.25};
  EigenController controller(Slider{}, options);
  controller.set_goal(Eigen::Vector2d(0.0, 0.0));
  // Nothing planned yet: the safe action.
  CHECK(controller.act(Eigen::Vector3d(1, 2, 3)).status == Status::invalid_input);
  CHECK(controller.decision().source == "safe_action");
  CHECK(controller.decision().action == Eigen::Vector2d(0.25, -0.25));
  const double nan = std::nan("");
  CHECK(controller.act(Eigen::Vector4d(nan, 0, 0, 0)).status == Status::invalid_input);
  CHECK(controller.decision().action.allFinite());
  CHECK(controller.decision().fault != "none");
  controller.observe("nonsense", Eigen::Vector2d(1, 2));
  CHECK(controller.act().status == Status::invalid_input);
  CHECK(controller.act(Eigen::Vector4d(1, 0, 0, 0)).status == Status::ok);
}

TEST_CASE("a field that was never written is named, not taken for zeros") {
  EigenController controller(Slider{}, slider_options());
  const Eigen::Vector4d x(1.0, -0.5, 0.0, 0.0);
  CHECK(controller.act(x).status == Status::invalid_input);
  CHECK(controller.decision().message.find("'parameters'") != std::string_view::npos);
  controller.set_goal(Eigen::Vector2d(0.0, 0.0));
  CHECK(controller.act().status == Status::ok);  // the state keeps its numbers
  controller.reset();
  CHECK(controller.act().status == Status::invalid_input);  // but not into another episode
  CHECK(controller.decision().message.find("'state'") != std::string_view::npos);
  CHECK(controller.act(x).status == Status::ok);  // whose goal is the old one
  const double bad = std::nan("");
  CHECK_THROWS_WITH(controller.set_goal(Eigen::Vector2d(0, bad)), Catch::Contains("parameters"));
  CHECK(controller.act(x).status == Status::ok);
}

TEST_CASE("what was really applied is what rate limits count from") {
  EigenController controller(Slider{}, slider_options());
  controller.set_goal(Eigen::Vector2d(5.0, 5.0));  // far: full acceleration
  const Eigen::Vector4d x(0, 0, 0, 0);
  controller.act(x);
  controller.applied(Eigen::Vector2d(-0.8, -0.5));
  CHECK(controller.act(x).action[0] <= -0.8 + 0.4 + 1e-6);
  CHECK_THROWS_WITH(controller.applied(Eigen::Vector3d(0, 0, 0)), Catch::Contains("expected 2"));
}

TEST_CASE("a warmed up controller decides as a fresh one does, and so does a reset one") {
  EigenController fresh(Slider{}, slider_options()), warm(Slider{}, slider_options());
  const Eigen::Vector4d x(1.0, -0.5, 0.0, 0.0);
  for (auto* controller : {&fresh, &warm}) controller->set_goal(Eigen::Vector2d(0.0, 0.0));
  CHECK(warm.warm_up().status == Status::ok);
  const Eigen::Vector2d first = fresh.act(x).action;
  CHECK(warm.act(x).action == first);
  warm.act(x);
  warm.reset();
  CHECK(warm.act(x).status == Status::ok);
}

TEST_CASE("misuse is refused by name") {
  auto options = slider_options();
  options.horizon = 0;
  CHECK_THROWS_WITH(EigenController(Slider{}, options), Catch::Contains("horizon = 0"));
  options = slider_options();
  options.settings = R"({"sampling": {"sample": 3}})";
  CHECK_THROWS_WITH(EigenController(Slider{}, options), Catch::Contains("samples"));
  options.settings = "{nonsense";
  CHECK_THROWS_WITH(EigenController(Slider{}, options), Catch::Contains("not valid JSON"));
  options.settings = R"({"control": {"batch": 2}})";
  CHECK_THROWS_WITH(EigenController(Slider{}, options), Catch::Contains("batch = 2"));
  options = slider_options();
  options.planner = "icme";
  CHECK_THROWS_WITH(EigenController(Slider{}, options), Catch::Contains("icem"));
  EigenController controller(Slider{}, slider_options());
  CHECK_THROWS_WITH(controller.set_goal(Eigen::Vector3d(1, 2, 3)),
                    Catch::Contains("parameters") && Catch::Contains("[2]"));
  CHECK_THROWS_WITH(controller.field_size("stat"), Catch::Contains("did you mean 'state'"));
  CHECK_THROWS_AS(EigenController::load("/nonexistent"), Error);
}

ModelSpec image_spec() {
  ModelSpec spec;
  spec.observation = {{"pixels", {4, 6, 3}, at::kByte}, {"proprio", {3}}};
  return spec;
}

TEST_CASE("images and vectors cross over unchanged, whatever view they are passed as") {
  detail::EigenInput input(image_spec());
  EigenImage image(6, 24);  // larger than the field: a block of it is passed
  for (int i = 0; i < image.size(); ++i) image.data()[i] = static_cast<std::uint8_t>(i);
  REQUIRE(input.write(0, image.block(1, 3, 4, 18)));
  const auto& pixels = input.observation().at("pixels");
  for (int row = 0; row < 4; ++row)
    for (int column = 0; column < 18; ++column)
      CHECK(pixels[0][row][column / 3][column % 3].item<int>() == image(1 + row, 3 + column));
  Eigen::Matrix<double, 5, 1> numbers;
  numbers << 1, 2.5, -3, 4, 5;
  REQUIRE(input.write(1, numbers.segment<3>(1)));
  CHECK(at::equal(input.observation().at("proprio"), at::tensor({2.5F, -3.0F, 4.0F}).view({1, 3})));
  CHECK_FALSE(input.write(1, numbers));
  CHECK_FALSE(input.write(0, numbers));
  CHECK_FALSE(input.write(0, image));
  CHECK_FALSE(input.write(-1, numbers));
}

TEST_CASE("the Eigen layer allocates nothing after construction") {
  detail::EigenInput input(image_spec());
  EigenDecision told;
  told.action = Eigen::VectorXd::Zero(2);
  Decision decision;
  decision.action = at::tensor({0.5F, -0.25F}).view({1, 2});
  decision.sources = {ActionSource::plan};
  decision.faults = {Fault::none};
  decision.statuses = {Status::ok};
  decision.message = "a message that is longer than what a string holds without allocating";
  const EigenImage image = EigenImage::Constant(4, 18, 7);
  const Eigen::Vector3d numbers(1, 2, 3);
  CHECK(allocations_of([] {
          int* volatile number = new int(1);
          delete number;
        }) == 1);  // the counter counts
  CHECK(allocations_of([&] {
          input.write(input.find("pixels"), image);
          input.write(input.find("proprio"), numbers);
          detail::tell(decision, told);
        }) == 0);
  CHECK(told.action == Eigen::Vector2d(0.5, -0.25));
  CHECK(told.message == decision.message);
  CHECK(input.observation().at("proprio")[0][2].item<float>() == 3.0F);
}

TEST_CASE("acting through Eigen allocates no more than the Mpc beneath it") {
  // The same control loop twice, once past the Eigen layer.
  EigenController controller(Slider{}, slider_options());
  controller.set_goal(Eigen::Vector2d(0.2, 0.1));
  const ActionSpace space{
      .dim = 2, .low = {-1.0, -0.5}, .high = {1.0, 0.5}, .mean = {0.0, 0.0}, .std = {0.5, 0.25}};
  const auto model = std::make_shared<FunctorModel>(make_functor(Slider{}), space);
  auto search = icem();
  search.samples = 128;
  search.elites = 16;
  search.iterations = 3;
  Mpc mpc(model, functor_objective(model), std::make_shared<SamplingPlanner>(search),
          {.horizon = 20, .replan_steps = 1, .max_step = {0.4, 0.4}});
  mpc.set_task("parameters", at::tensor({0.2F, 0.1F}).view({1, 2}));
  Observation seen("state", at::zeros({1, 4}));
  seen.set("parameters", at::tensor({0.2F, 0.1F}).view({1, 2}));
  const Eigen::Vector4d x = Eigen::Vector4d::Zero();
  Decision decision;
  int through = 0, beneath = 0;
  for (int step = 0; step < 5; ++step) {
    through = allocations_of([&] { controller.act(x); });
    beneath = allocations_of([&] { decision = mpc.act(seen); });
  }
  CHECK(beneath > 0);
  CHECK(through == beneath);
}

// Every header that `header` includes from the library, itself among them.
std::set<fs::path> includes(const fs::path& header) {
  static const std::regex own(R"re(^\s*#\s*include\s*"(foresight/[^"]+)".*)re");
  std::set<fs::path> found{header};
  std::ifstream file(header);
  std::smatch match;
  for (std::string line; std::getline(file, line);)
    if (std::regex_match(line, match, own))
      found.merge(includes(fs::path(FORESIGHT_SOURCE_DIR) / "include" / match[1].str()));
  return found;
}

TEST_CASE("the Eigen interface shows its user no torch") {
  const auto headers =
      includes(fs::path(FORESIGHT_SOURCE_DIR) / "include/foresight/control/eigen_controller.hpp");
  CHECK(headers.size() > 4);
  for (const auto& header : headers) {
    INFO(header);
    std::ifstream file(header);
    std::string line;
    while (std::getline(file, line)) {
      const bool included = line.find("#include") != std::string::npos;
      CHECK_FALSE((included && (line.find("ATen") != std::string::npos ||
                                line.find("torch") != std::string::npos ||
                                line.find("c10") != std::string::npos ||
                                line.find("core/tensor") != std::string::npos)));
    }
  }
}

}  // namespace
}  // namespace foresight::eigen_controller_test
