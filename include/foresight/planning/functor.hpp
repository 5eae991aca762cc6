// SPDX-License-Identifier: Apache-2.0
// Dynamics and costs written as one plain C++ functor, evaluated for many candidates at once. No
// torch in here: a robot's model compiles in a second. planning/functor_model.hpp makes a cost
// function and a WorldModel of it.
//
//   struct Cart {                                     // accelerates by the action, 0.1 s a step
//     static constexpr int kState = 2, kAction = 1;
//     template <class T>
//     std::array<T, 2> operator()(const std::array<T, 2>& x, const std::array<T, 1>& u) const {
//       const T v = x[1] + 0.1 * u[0];
//       return {x[0] + 0.1 * v, v};
//     }
//     template <class T>                              // of the step that led to x
//     T cost(const std::array<T, 2>& x, const std::array<T, 1>& u) const {
//       return x[0] * x[0] + 0.01 * u[0] * u[0];
//     }
//     template <class T>                              // optional: of the last state
//     T terminal(const std::array<T, 2>& x) const { return 10 * x[1] * x[1]; }
//   };
//
// T is a Lanes of float or double: as many candidates as a vector register holds. So there is no
// branching on values (select() instead), and sin, cos, exp, log, tanh, sqrt, abs, min, max, clamp,
// floor and floor_mod are called without std::. With `kParameters = n`, numbers that stay the same
// over an imagined future but change from one control step to the next (a goal, a payload), every
// function takes a further std::array<T, n>.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "foresight/core/export.hpp"
#include "foresight/core/lanes.hpp"

namespace foresight {

namespace detail {

template <class Model>
consteval int parameters_of() {
  if constexpr (requires { Model::kParameters; }) {
    return Model::kParameters;
  } else {
    return 0;
  }
}

// One pack of candidates: the arrays of numbers that a functor takes.
template <class Model, class T>
struct FunctorArrays {
  std::array<T, Model::kState> state;
  std::array<T, Model::kAction> action;
  std::array<T, parameters_of<Model>()> parameters;
};

template <class Model, class T>
auto apply_step(const Model& model, const FunctorArrays<Model, T>& at) {
  if constexpr (parameters_of<Model>() == 0) {
    return model(at.state, at.action);
  } else {
    return model(at.state, at.action, at.parameters);
  }
}
template <class Model, class T>
T apply_cost(const Model& model, const FunctorArrays<Model, T>& at) {
  if constexpr (parameters_of<Model>() == 0) {
    return model.cost(at.state, at.action);
  } else {
    return model.cost(at.state, at.action, at.parameters);
  }
}
template <class Model, class T>
inline constexpr bool kHasTerminal = requires(const Model& model,
                                              const FunctorArrays<Model, T>& at) {
  model.terminal(at.state);
}
|| requires(const Model& model, const FunctorArrays<Model, T>& at) {
  model.terminal(at.state, at.parameters);
};
template <class Model, class T>
T apply_terminal(const Model& model, const FunctorArrays<Model, T>& at) {
  if constexpr (!kHasTerminal<Model, T>) {
    return T(0);
  } else if constexpr (parameters_of<Model>() == 0) {
    return model.terminal(at.state);
  } else {
    return model.terminal(at.state, at.parameters);
  }
}

}  // namespace detail

/// A functor as described at the top of this file.
template <class Model>
concept ArrayModel = Model::kState >
0 && Model::kAction > 0 &&
    requires(const Model& model, const detail::FunctorArrays<Model, Lanes<float>>& at) {
  {detail::apply_step(model, at)};
  {detail::apply_cost(model, at)};
};

/// Candidates to imagine, as arrays in row-major order. A null output is not computed.
template <class Scalar>
struct FunctorRollout {
  std::int64_t batch = 1, samples = 1, horizon = 1;  ///< B, S, H
  std::int64_t block = 1;                            ///< raw actions per block
  const Scalar* states_before = nullptr;             ///< [B,NX], or [B,S,NX] with `own_states`
  bool own_states = false;                           ///< every candidate starts from its own state
  const Scalar* parameters = nullptr;                ///< [B,NP], or [B,S,NP] with `own_states`
  const Scalar* actions = nullptr;                   ///< [B,S,H,block,NU], normalised
  const Scalar* mean = nullptr;                      ///< [NU]: raw = normalised * std + mean
  const Scalar* std = nullptr;                       ///< [NU]
  Scalar* cost = nullptr;                            ///< [B,S], sum over all raw steps
  Scalar* terminal = nullptr;                        ///< [B,S], of the last state
  Scalar* states = nullptr;                          ///< [B,S,H,NX], after each block
  Scalar* rewards = nullptr;                         ///< [B,S,H], minus the cost of each block
};

/// A functor with its type forgotten. Immutable; one serves several threads.
class FORESIGHT_API FunctorDynamics {
 public:
  virtual ~FunctorDynamics() = default;
  virtual std::int64_t state_size() const = 0;      ///< NX
  virtual std::int64_t action_size() const = 0;     ///< NU
  virtual std::int64_t parameter_size() const = 0;  ///< NP
  virtual bool has_terminal() const = 0;
  /// Imagines the candidates first..last-1 of the B*S, independently of each other.
  virtual void roll(const FunctorRollout<float>& job, std::int64_t first,
                    std::int64_t last) const = 0;
  virtual void roll(const FunctorRollout<double>& job, std::int64_t first,
                    std::int64_t last) const = 0;
};

namespace detail {

template <class Model>
class FunctorKernel final : public FunctorDynamics {
 public:
  explicit FunctorKernel(Model model) : model_(std::move(model)) {}
  std::int64_t state_size() const override { return Model::kState; }
  std::int64_t action_size() const override { return Model::kAction; }
  std::int64_t parameter_size() const override { return parameters_of<Model>(); }
  bool has_terminal() const override { return kHasTerminal<Model, Lanes<float>>; }
  void roll(const FunctorRollout<float>& job, std::int64_t first,
            std::int64_t last) const override {
    roll_all(job, first, last);
  }
  void roll(const FunctorRollout<double>& job, std::int64_t first,
            std::int64_t last) const override {
    roll_all(job, first, last);
  }

 private:
  // Packs of candidates computed side by side: the steps of one candidate wait for each other,
  // those of independent candidates fill the gaps.
  static constexpr int kPacks = 4;

  // A chunk of candidates of one problem, `count` of them real; the others repeat the last one.
  struct Chunk {
    std::int64_t problem, first;
    int count;
    std::int64_t candidate(int i) const { return first + std::min(i, count - 1); }
  };

  // Where the processor has wider registers than this file is compiled for, they are used all the
  // same. The operations are those of the narrow ones, so that the numbers are the same bit for
  // bit.
  template <class Scalar>
  void roll_all(const FunctorRollout<Scalar>& job, std::int64_t first, std::int64_t last) const {
#if defined(__x86_64__) && !defined(__AVX2__)
    static const bool wide = __builtin_cpu_supports("avx2") != 0;
    if (wide) {
      roll_wide(job, first, last);
      return;
    }
#endif
    roll_plain(job, first, last);
  }
#if defined(__x86_64__) && !defined(__AVX2__)
  template <class Scalar>
  [[gnu::flatten, gnu::target("avx2")]] void roll_wide(const FunctorRollout<Scalar>& job,
                                                       std::int64_t first,
                                                       std::int64_t last) const {
    roll_chunks<Lanes<Scalar, 32 / sizeof(Scalar)>>(job, first, last);
  }
#endif
  template <class Scalar>
  [[gnu::flatten]] void roll_plain(const FunctorRollout<Scalar>& job, std::int64_t first,
                                   std::int64_t last) const {
    roll_chunks<Lanes<Scalar>>(job, first, last);
  }

  template <class T, class Scalar>
  void roll_chunks(const FunctorRollout<Scalar>& job, std::int64_t first, std::int64_t last) const {
    while (first < last) {
      const auto problem = first / job.samples, sample = first % job.samples;
      const auto count =
          std::min<std::int64_t>({kPacks * T::kWidth, job.samples - sample, last - first});
      roll_chunk<T>(job, Chunk{problem, first, static_cast<int>(count)});
      first += count;
    }
  }

  // values[offset[0]], values[offset[1]], ... as one vector.
  template <class T, std::size_t... I>
  static T gather(const typename T::Number* values, const std::int64_t* offset,
                  std::index_sequence<I...>) {
    return T(typename T::Vector{values[offset[I]]...});
  }
  template <class T>
  static T gather(const typename T::Number* values, const std::int64_t* offset) {
    return gather<T>(values, offset, std::make_index_sequence<T::kWidth>());
  }

  // values[i * stride] = lane i, for the real candidates of pack `pack`.
  template <class T>
  static void scatter(const T& lanes, int pack, const Chunk& chunk, typename T::Number* values,
                      std::int64_t stride) {
    const int count = std::min(T::kWidth, chunk.count - pack * T::kWidth);
    for (int i = 0; i < count; ++i) values[(pack * T::kWidth + i) * stride] = lanes[i];
  }

  template <class T, class Scalar>
  void roll_chunk(const FunctorRollout<Scalar>& job, const Chunk& chunk) const {
    constexpr std::size_t kNX = Model::kState, kNU = Model::kAction;
    const auto length = job.horizon * job.block;
    std::array<FunctorArrays<Model, T>, kPacks> at;
    std::array<T, kPacks> cost;
    std::array<T, kNU> mean, std;
    std::array<std::int64_t, kPacks * T::kWidth> row;  // where each candidate's actions begin
    for (std::size_t d = 0; d < kNU; ++d) {
      mean[d] = T(job.mean[d]);
      std[d] = T(job.std[d]);
    }
    for (std::size_t i = 0; i < row.size(); ++i)
      row[i] = chunk.candidate(static_cast<int>(i)) * length * Model::kAction;
    for (std::size_t p = 0; p < kPacks; ++p) {
      begin(job, chunk, static_cast<int>(p), at[p].state, job.states_before);
      begin(job, chunk, static_cast<int>(p), at[p].parameters, job.parameters);
      cost[p] = T(0);
    }
    const auto packs = static_cast<std::size_t>((chunk.count + T::kWidth - 1) / T::kWidth);
    for (std::int64_t h = 0; h < job.horizon; ++h) {
      std::array<T, kPacks> earned;
      earned.fill(T(0));
      for (std::int64_t k = 0; k < job.block; ++k) {
        const auto* actions = job.actions + (h * job.block + k) * Model::kAction;
        for (std::size_t p = 0; p < packs; ++p) {
          for (std::size_t d = 0; d < kNU; ++d)
            at[p].action[d] = gather<T>(actions + d, row.data() + p * T::kWidth) * std[d] + mean[d];
          at[p].state = apply_step(model_, at[p]);
          earned[p] += apply_cost(model_, at[p]);
        }
      }
      for (std::size_t p = 0; p < packs; ++p) {
        const int pack = static_cast<int>(p);
        cost[p] += earned[p];
        if (job.rewards)
          scatter(-earned[p], pack, chunk, job.rewards + chunk.first * job.horizon + h,
                  job.horizon);
        if (!job.states) continue;
        for (std::size_t d = 0; d < kNX; ++d)
          scatter(at[p].state[d], pack, chunk,
                  job.states + (chunk.first * job.horizon + h) * Model::kState + d,
                  job.horizon * Model::kState);
      }
    }
    for (std::size_t p = 0; p < packs; ++p) {
      const int pack = static_cast<int>(p);
      if (job.cost) scatter(cost[p], pack, chunk, job.cost + chunk.first, 1);
      if (job.terminal)
        scatter(apply_terminal(model_, at[p]), pack, chunk, job.terminal + chunk.first, 1);
    }
  }

  // Fills states or parameters of one pack from rows of as many numbers.
  template <class Scalar, class T, std::size_t kSize>
  static void begin(const FunctorRollout<Scalar>& job, const Chunk& chunk, int pack,
                    std::array<T, kSize>& numbers, const Scalar* values) {
    std::array<std::int64_t, T::kWidth> row;
    for (std::size_t i = 0; i < row.size(); ++i)
      row[i] = (job.own_states ? chunk.candidate(pack * T::kWidth + static_cast<int>(i))
                               : chunk.problem) *
               static_cast<std::int64_t>(kSize);
    for (std::size_t d = 0; d < kSize; ++d) numbers[d] = gather<T>(values + d, row.data());
  }

  Model model_;
};

}  // namespace detail

/// Forgets the type of a functor.
template <ArrayModel Model>
std::shared_ptr<const FunctorDynamics> make_functor(Model model) {
  return std::make_shared<detail::FunctorKernel<Model>>(std::move(model));
}

/// One step of a functor outside planning, e.g. to simulate it.
template <ArrayModel Model>
std::array<double, Model::kState> functor_step(
    const Model& model, const std::array<double, Model::kState>& state,
    const std::array<double, Model::kAction>& action,
    const std::array<double, detail::parameters_of<Model>()>& parameters = {}) {
  using T = Lanes<double>;
  detail::FunctorArrays<Model, T> at;
  const auto spread = [](const auto& from, auto& to) {
    for (std::size_t d = 0; d < from.size(); ++d) to[d] = T(from[d]);
  };
  spread(state, at.state);
  spread(action, at.action);
  spread(parameters, at.parameters);
  const auto after = detail::apply_step(model, at);
  std::array<double, Model::kState> next;
  for (std::size_t d = 0; d < next.size(); ++d) next[d] = after[d][0];
  return next;
}

}  // namespace foresight
