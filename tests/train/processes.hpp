// SPDX-License-Identifier: Apache-2.0
// This test program again, several times at once, each with a rank: what a launcher does.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace foresight::train {

/// `count` processes that run the test case `part` (a hidden one) with RANK 0..count-1. Their
/// output goes to files in `folder`, whose path they find in FORESIGHT_PROCESSES.
class Processes {
 public:
  Processes(int count, const std::string& part, const std::filesystem::path& folder)
      : folder_(folder) {
    const auto port = std::to_string(free_port());
    for (int rank = 0; rank < count; ++rank) {
      const auto log = log_file(rank);
      const auto rank_text = std::to_string(rank), count_text = std::to_string(count);
      const auto child = ::fork();
      if (child < 0) throw std::runtime_error("cannot fork");
      if (child > 0) {
        ids_.push_back(child);
        continue;
      }
      ::setenv("FORESIGHT_PROCESSES", folder.c_str(), 1);
      ::setenv("OMP_NUM_THREADS", "1", 1);
      ::setenv("RANK", rank_text.c_str(), 1);
      ::setenv("LOCAL_RANK", rank_text.c_str(), 1);
      ::setenv("WORLD_SIZE", count_text.c_str(), 1);
      ::setenv("MASTER_ADDR", "127.0.0.1", 1);
      ::setenv("MASTER_PORT", port.c_str(), 1);
      const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
      ::dup2(output, STDOUT_FILENO);
      ::dup2(output, STDERR_FILENO);
      ::execl("/proc/self/exe", "test_train", part.c_str(), static_cast<char*>(nullptr));
      ::_exit(97);
    }
  }
  ~Processes() {
    for (const auto id : ids_)
      if (id > 0) ::kill(id, SIGKILL);
    for (std::size_t rank = 0; rank < ids_.size(); ++rank) wait(static_cast<int>(rank));
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  pid_t id(int rank) const { return ids_.at(static_cast<std::size_t>(rank)); }
  void kill(int rank, int signal) const { ::kill(id(rank), signal); }

  /// Exit code, or -signal if a signal ended it.
  int wait(int rank) {
    auto& id = ids_.at(static_cast<std::size_t>(rank));
    if (id < 0) return 0;
    int status = 0;
    ::waitpid(id, &status, 0);
    id = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  /// What went wrong in any of them, with their output; empty if all ended well.
  std::string failures() {
    std::string text;
    for (std::size_t rank = 0; rank < ids_.size(); ++rank)
      if (const auto code = wait(static_cast<int>(rank)); code != 0)
        text += "rank " + std::to_string(rank) + " ended with " + std::to_string(code) + ":\n" +
                output(static_cast<int>(rank)) + "\n";
    return text;
  }

  std::string output(int rank) const {
    std::ifstream stream(log_file(rank));
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  }

  /// A TCP port of this machine that nobody listens on.
  static int free_port() {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(socket, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("no free port");
    ::close(socket);
    return ntohs(address.sin_port);
  }

 private:
  std::filesystem::path log_file(int rank) const {
    return folder_ / ("rank_" + std::to_string(rank) + ".log");
  }

  std::filesystem::path folder_;
  std::vector<pid_t> ids_;
};

/// The folder of the processes of which this is one.
inline std::filesystem::path processes_folder() {
  const char* folder = std::getenv("FORESIGHT_PROCESSES");
  if (folder == nullptr) throw std::runtime_error("this is not one of several test processes");
  return folder;
}

}  // namespace foresight::train
