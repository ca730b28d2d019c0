// Inside CTorch only: attention of packed texts in float32 on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace ctorch {

/// Consecutive packed tokens that attend causally to themselves, and all to a prompt before them, which is a run of its own.
struct AttendingRun {
    int64_t start, length;
    /// The number of the prompt's run, or −1.
    int64_t prompt;
};

/// query [tokens, H, d], key and value [tokens, Hkv, d] -> out [tokens, H, d] and log_sums [tokens, H]. All float32, on
/// the CPU, as they lie in memory; the runs hold every token once.
void attend(
    const at::Tensor &query, const at::Tensor &key, const at::Tensor &value, const std::vector<AttendingRun> &runs,
    double scale, at::Tensor &out, at::Tensor &log_sums);

/// The gradients by query, key and value, from that by `out`.
void attend_backward(
    const at::Tensor &gradient, const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
    const at::Tensor &out, const at::Tensor &log_sums, const std::vector<AttendingRun> &runs, double scale,
    at::Tensor &by_query, at::Tensor &by_key, at::Tensor &by_value);

}  // namespace ctorch
