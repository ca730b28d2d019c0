// Inside CTorch only: attention of packed texts in float32 on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace ctorch {

/// Consecutive packed tokens that attend causally to themselves, and all to a prompt before them, which is a run of its own.
struct AttendingRun {
    int64_t start, length;
    /// The number of the prompt's run, or −1.
    int64_t prompt;
};

struct AttentionShape {
    int64_t heads, key_heads, size;
};

/// Attention cut into tasks, for operations that do more than attend: what `pack` lays out is read by `attend`, so all tasks
/// of the one end before one of the other begins.
class PackedAttention {
  public:
    /// - Parameter like: Has the options of what is laid out.
    PackedAttention(
        std::vector<AttendingRun> runs, const AttentionShape &shape, double scale, const at::Tensor &like, int64_t threads);
    ~PackedAttention();

    int64_t packing_tasks() const;
    int64_t attending_tasks() const;
    /// About what all tasks do.
    int64_t operations() const;

    /// - Parameters:
    ///   - keys: [tokens, Hkv, d].
    ///   - values: Of each token, [Hkv, d].
    void pack(int64_t task, const float *keys, const float *const *values) const;
    /// queries [tokens, H, d] -> out [tokens, H, d] and log_sums [tokens, H].
    void attend(int64_t task, int thread, const float *queries, float *out, float *log_sums) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
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
