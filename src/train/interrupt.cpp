// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/interrupt.hpp"

#include <csignal>

#include <atomic>

#include "foresight/core/error.hpp"

namespace foresight::train {
namespace {

std::atomic<bool> guarded{false};
volatile std::sig_atomic_t signalled = 0;
struct sigaction previous_interrupt, previous_terminate;

extern "C" void remember_signal(int signal) {
  signalled = signal;
  // Give the second signal back to whoever had it.
  sigaction(signal, signal == SIGINT ? &previous_interrupt : &previous_terminate, nullptr);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  require(!guarded.exchange(true), ErrorCategory::invalid_argument,
          "InterruptGuard: another one is active in this process");
  signalled = 0;
  struct sigaction action {};
  action.sa_handler = remember_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &previous_interrupt);
  sigaction(SIGTERM, &action, &previous_terminate);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &previous_interrupt, nullptr);
  sigaction(SIGTERM, &previous_terminate, nullptr);
  signalled = 0;  // the signal was for what this guard protected, not for what comes later
  guarded = false;
}

int InterruptGuard::signal() noexcept { return signalled; }

}  // namespace foresight::train
