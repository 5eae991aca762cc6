// SPDX-License-Identifier: Apache-2.0
// FFmpeg's objects with owners, its error codes as text, and its log turned into ours. Private: no
// public header includes FFmpeg.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/frame.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

namespace foresight::data::ffmpeg {

struct CloseInput {
  void operator()(AVFormatContext* context) const { avformat_close_input(&context); }
};
struct FreeCodec {
  void operator()(AVCodecContext* context) const { avcodec_free_context(&context); }
};
struct FreePacket {
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
};
struct FreeFrame {
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
};
struct FreeScaler {
  void operator()(SwsContext* context) const { sws_freeContext(context); }
};
using Input = std::unique_ptr<AVFormatContext, CloseInput>;
using Codec = std::unique_ptr<AVCodecContext, FreeCodec>;
using Packet = std::unique_ptr<AVPacket, FreePacket>;
using Frame = std::unique_ptr<AVFrame, FreeFrame>;
using Scaler = std::unique_ptr<SwsContext, FreeScaler>;

/// Throws std::bad_alloc when FFmpeg is out of memory.
Packet make_packet();
Frame make_frame();

/// Text of an FFmpeg error code, followed by the last error line that FFmpeg logged on this thread
/// since the last forget_log(): codes alone ("Invalid data found") do not say what was wrong, the
/// log ("moov atom not found") does.
std::string reason(int code);
void forget_log();

/// Sends FFmpeg's log to foresight::log at debug level instead of standard error. The callback is
/// global to the process and is installed once, at the first use of video.
void redirect_log();

}  // namespace foresight::data::ffmpeg
