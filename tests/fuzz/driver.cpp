// SPDX-License-Identifier: Apache-2.0
// main() of a fuzz target where libFuzzer is not available (GCC): runs the files of a corpus, then
// mutations of them.
//
//   fuzz_<name> <folder or file>...
//
// FORESIGHT_FUZZ_SECONDS  how long to mutate (default 5; 0: the corpus only)
// FORESIGHT_FUZZ_SEED     which mutations (default 1); the sequence depends on nothing else
// A finding is written to crash-<target> in the current folder; give that file as argument to
// repeat it.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "target.hpp"

namespace {

namespace fs = std::filesystem;
using Bytes = std::string;

constexpr std::size_t kLargest = 1 << 14;

// For the signal handler, which may only look at plain memory.
const Bytes* current_input = nullptr;
std::string crash_file;

void save_current_input() {
  const int file = ::open(crash_file.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (file < 0 || current_input == nullptr) return;
  [[maybe_unused]] const auto written = ::write(file, current_input->data(), current_input->size());
  ::close(file);
}

void on_fatal_signal(int number) {
  save_current_input();
  ::signal(number, SIG_DFL);
  ::raise(number);
}

long setting(const char* name, long standard) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtol(text, nullptr, 10) : standard;
}

/// Runs the target on one input; ends the program at a finding.
void run(const Bytes& input, const std::string& origin) {
  current_input = &input;
  std::string finding;
  try {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
    return;
  } catch (const std::exception& exception) {
    finding = exception.what();
  } catch (...) {
    finding = "an exception of unknown type";
  }
  save_current_input();
  std::fprintf(stderr, "FINDING at %s (%zu bytes, saved to %s): %s\n", origin.c_str(), input.size(),
               crash_file.c_str(), finding.c_str());
  std::exit(1);
}

/// Changes inputs at random, as bytes and as the text or little-endian numbers that they may hold.
class Mutator {
 public:
  Mutator(std::vector<Bytes> corpus, unsigned seed) : corpus_(std::move(corpus)), random_(seed) {}

  Bytes next() {
    Bytes input = pick(corpus_);
    const std::size_t changes = 1 + below(6);
    for (std::size_t i = 0; i < changes; ++i) change(input);
    if (input.size() > kLargest) input.resize(kLargest);
    return input;
  }

 private:
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  template <class Items>
  const typename Items::value_type& pick(const Items& items) {
    return items[below(items.size())];
  }

  void change(Bytes& input) {
    const std::size_t at = below(input.size() + 1);
    const std::size_t length = std::min(below(17), input.size() - at);
    switch (below(9)) {
      case 0:  // one bit
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:  // one byte
        if (at < input.size()) input[at] = static_cast<char>(below(256));
        break;
      case 2:
        input.erase(at, length);
        break;
      case 3:  // repeat a piece
        input.insert(at, input.substr(at, length));
        break;
      case 4:
        input.insert(at, pick(kTokens));
        break;
      case 5:  // put a token in the place of a number or word
        input.replace(at, word_length(input, at), pick(kTokens));
        break;
      case 6:  // an interesting 64-bit number
        if (at + 8 <= input.size()) {
          const std::uint64_t number = pick(kNumbers) + below(3) - 1;
          std::memcpy(input.data() + at, &number, 8);
        }
        break;
      case 7:
        input.resize(at);
        break;
      default: {  // continue as another file of the corpus
        const Bytes& other = pick(corpus_);
        input.resize(at);
        input += other.substr(below(other.size() + 1));
      }
    }
  }

  static std::size_t word_length(const Bytes& input, std::size_t at) {
    std::size_t end = at;
    while (end < input.size() && std::isalnum(static_cast<unsigned char>(input[end]))) ++end;
    return end - at;
  }

  static constexpr std::array<const char*, 34> kTokens{"{",
                                                       "}",
                                                       "[",
                                                       "]",
                                                       ",",
                                                       ":",
                                                       "\"",
                                                       "\\",
                                                       "\n",
                                                       "\r\n",
                                                       "0",
                                                       "-1",
                                                       "1e9",
                                                       "1e999",
                                                       "-0",
                                                       "nan",
                                                       "inf",
                                                       "true",
                                                       "null",
                                                       "{}",
                                                       "[]",
                                                       "\"\"",
                                                       "[[[[",
                                                       "F32",
                                                       "BOOL",
                                                       "\xff",
                                                       "\xc3\xa9",
                                                       "\\u0000",
                                                       "9223372036854775807",
                                                       "9223372036854775808",
                                                       "18446744073709551616",
                                                       "4294967296",
                                                       "0.5",
                                                       "\"a\":1,"};
  static constexpr std::array<std::uint64_t, 8> kNumbers{
      0, 1, 8, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff, 100'000'000};

  std::vector<Bytes> corpus_;
  std::mt19937_64 random_;
};

std::vector<fs::path> files_of(int count, char** arguments) {
  std::vector<fs::path> files;
  for (int i = 1; i < count; ++i) {
    if (fs::is_directory(arguments[i]))
      for (const auto& entry : fs::directory_iterator(arguments[i])) files.push_back(entry.path());
    else
      files.emplace_back(arguments[i]);
  }
  std::sort(files.begin(), files.end());  // folder order differs between machines
  return files;
}

}  // namespace

int main(int count, char** arguments) {
  crash_file = "crash-" + fs::path(arguments[0]).filename().string();
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT})
    ::signal(number, on_fatal_signal);

  std::vector<Bytes> corpus;
  for (const auto& path : files_of(count, arguments)) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\n", path.c_str());
      return 2;
    }
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    run(corpus.back(), path.string());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "usage: %s <corpus folder or file>...; no file was found\n", arguments[0]);
    return 2;
  }

  const auto seed = static_cast<unsigned>(setting("FORESIGHT_FUZZ_SEED", 1));
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::seconds(setting("FORESIGHT_FUZZ_SECONDS", 5));
  Mutator mutator(corpus, seed);
  std::size_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs)
    run(mutator.next(), "mutation " + std::to_string(runs) + " of seed " + std::to_string(seed));
  std::printf("%zu files and %zu mutations, no finding\n", corpus.size(), runs);
  return 0;
}
