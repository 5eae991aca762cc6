// SPDX-License-Identifier: Apache-2.0
// One candidate, several imagined futures: particles of a stochastic model, members of an ensemble.
// A model that has them keeps every particle's field beside the field itself, under a name that
// says so; cost terms and risk measures find them there without knowing the model.
#pragma once

#include <string>
#include <string_view>

#include "foresight/core/world_model.hpp"

namespace foresight {

/// Name of the field that holds `field` of every particle, with the axis of particles M right after
/// the batch axes: "latent" [batch...,P,D] -> "particles.latent" [batch...,M,P,D]. A trajectory may
/// hold "particles.reward" and "particles.discount" [B,S,H,M] beside the means in rewards and
/// discounts.
FORESIGHT_API std::string particle_field(std::string_view field);

/// M, or 1 for a state without particles. Throws Error(invalid_argument) if fields disagree.
FORESIGHT_API int64_t particle_count(const State& states);

/// Every particle as a candidate of its own: [B,S] -> [B,S*M], candidate s*M + m being particle m
/// of s. A field takes its particles' values; one without particles is repeated. Without particles
/// the trajectory itself.
FORESIGHT_API Trajectory spread_particles(const Trajectory& trajectory);

/// The reverse, for candidates that were rolled out `particles` times in a row: [B,S*K] -> [B,S].
/// Every field then has particles, K times those that it had, and is itself their mean (of the
/// first one where it is not floating). 1: the trajectory itself.
FORESIGHT_API Trajectory gather_particles(const Trajectory& trajectory, int64_t particles);

}  // namespace foresight
