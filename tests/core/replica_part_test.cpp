// SPDX-License-Identifier: Apache-2.0
// Shared work: parts make a whole, and a sample's draws do not depend on who computes it.
#include "foresight/core/replica_part.hpp"

#include "catch.hpp"
#include "error_message.hpp"
#include "replica_threads.hpp"

namespace foresight::replica_part_test {

TEST_CASE("parts follow each other, are about equal, and make the whole") {
  for (const int64_t total : {0, 1, 7, 64})
    for (const int64_t parts : {1, 2, 3, 8}) {
      int64_t next = 0;
      for (int64_t index = 0; index < parts; ++index) {
        const auto part = part_of(total, index, parts);
        CHECK(part.first == next);
        CHECK(part.count >= total / parts);
        CHECK(part.count <= (total + parts - 1) / parts);
        next += part.count;
      }
      CHECK(next == total);
    }
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [] { part_of(4, 2, 2); }, "part 2 of 2"));
  CHECK(replica_rank() == 0);
  CHECK(replica_part(5).count == 5);
}

TEST_CASE("replicas draw for their samples what one process draws for all") {
  PhiloxNoise alone(7, 2);
  const auto uniforms = alone.uniform({6, 3}), normals = alone.normal({6, 2, 2});
  const auto after = alone.position();
  for (const int64_t count : {1, 2, 3}) {
    std::vector<PhiloxNoise> noises(static_cast<std::size_t>(count), PhiloxNoise(7, 2));
    const auto draws = on_replicas(count, [&](int64_t rank) {
      SampleNoise noise(noises[static_cast<std::size_t>(rank)]);
      const auto u = noise.uniform({6 / count, 3}), n = noise.normal({6 / count, 2, 2});
      return at::cat({u.flatten(1), n.flatten(1)}, 1);
    });
    CHECK(at::equal(at::cat(draws), at::cat({uniforms, normals.flatten(1)}, 1)));
    for (const auto& noise : noises) CHECK(noise.position() == after);
  }
}

}  // namespace foresight::replica_part_test
