// SPDX-License-Identifier: Apache-2.0
#include "ffmpeg.hpp"

#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <new>

#include "foresight/core/log.hpp"

namespace foresight::data::ffmpeg {
namespace {

// One decoder thread per reader means that FFmpeg logs on the thread that called it.
thread_local std::string last_error_line;

void take_log(void* source, int level, const char* format, va_list arguments) {
  if (level > AV_LOG_WARNING) return;
  char text[512];
  std::vsnprintf(text, sizeof text, format, arguments);
  std::string line(text);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r' || line.back() == '.'))
    line.pop_back();
  if (line.empty()) return;
  if (level <= AV_LOG_ERROR && last_error_line.empty()) last_error_line = line;
  const AVClass* kind = source != nullptr ? *static_cast<const AVClass**>(source) : nullptr;
  const char* name = kind != nullptr && kind->item_name != nullptr ? kind->item_name(source) : "?";
  foresight::log(LogLevel::debug, std::string("ffmpeg ") + name + ": " + line);
}

}  // namespace

Packet make_packet() {
  Packet packet(av_packet_alloc());
  if (!packet) throw std::bad_alloc();
  return packet;
}

Frame make_frame() {
  Frame frame(av_frame_alloc());
  if (!frame) throw std::bad_alloc();
  return frame;
}

std::string reason(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return last_error_line.empty() ? std::string(text)
                                 : std::string(text) + " (" + last_error_line + ")";
}

void forget_log() { last_error_line.clear(); }

void redirect_log() {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_callback(take_log); });
}

}  // namespace foresight::data::ffmpeg
