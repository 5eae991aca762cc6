// SPDX-License-Identifier: Apache-2.0
// Reads the recorded TwoRoom episodes and digests without the library's own data code, as an
// independent reference.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace foresight::test {

/// Root of the recordings: $FORESIGHT_RECORDINGS, or those beside the tests.
inline std::filesystem::path recordings() {
  const char* root = std::getenv("FORESIGHT_RECORDINGS");
  return root != nullptr ? std::filesystem::path(root)
                         : std::filesystem::path(FORESIGHT_TEST_DATA) / "recordings";
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

/// One row of a TwoRoom episode file.
struct RecordedRow {
  std::array<float, 2> action, state, goal;
  bool terminated;
};

/// Columns:
/// frame,timestamp,step_idx,action_0,action_1,state_0,state_1,goal_0,goal_1,distance,reward,terminated,...
inline std::vector<RecordedRow> read_episode(const std::filesystem::path& folder, int64_t episode) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "episode_%04d.csv", static_cast<int>(episode));
  std::ifstream file(folder / name.data());
  std::vector<RecordedRow> rows;
  std::string line;
  std::getline(file, line);  // titles
  while (std::getline(file, line)) {
    std::vector<float> cells;
    std::stringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');)
      cells.push_back(std::strtof(cell.c_str(), nullptr));
    rows.push_back(
        {{cells[3], cells[4]}, {cells[5], cells[6]}, {cells[7], cells[8]}, cells[11] != 0});
  }
  return rows;
}

/// SHA-256 (FIPS 180-4) in hexadecimal.
inline std::string sha256(const std::uint8_t* data, std::size_t size) {
  static constexpr std::array<std::uint32_t, 64> k = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
      0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
      0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
      0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
      0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
      0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
      0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
      0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
      0xc67178f2};
  auto rotate = [](std::uint32_t x, int n) { return (x >> n) | (x << (32 - n)); };
  std::vector<std::uint8_t> message(data, data + size);
  message.push_back(0x80);
  while (message.size() % 64 != 56) message.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8)
    message.push_back(static_cast<std::uint8_t>((static_cast<std::uint64_t>(size) * 8) >> shift));
  std::array<std::uint32_t, 8> h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  for (std::size_t block = 0; block < message.size(); block += 64) {
    std::array<std::uint32_t, 64> w{};
    for (std::size_t i = 0; i < 16; ++i)
      for (std::size_t b = 0; b < 4; ++b) w[i] = (w[i] << 8) | message[block + 4 * i + b];
    for (std::size_t i = 16; i < 64; ++i)
      w[i] = w[i - 16] + w[i - 7] +
             (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3)) +
             (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10));
    auto s = h;
    for (std::size_t i = 0; i < 64; ++i) {
      const auto t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
                      ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
      const auto t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      s = {t1 + t2, s[0], s[1], s[2], s[3] + t1, s[4], s[5], s[6]};
    }
    for (std::size_t i = 0; i < 8; ++i) h[i] += s[i];
  }
  std::string hex;
  for (const auto word : h)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[(word >> shift) & 15];
  return hex;
}

}  // namespace foresight::test
