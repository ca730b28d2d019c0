#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>

#include "include/ctorch_blocks.h"
#include "parallel.hpp"
#include "support.hpp"

namespace ctorch {
namespace {

/// Counters whose words are made together.
constexpr int together = 16;

/// Philox4x32-10 (Salmon et al. 2011) of `count` counters: `words[n][i]` is word n of counter i, and then of its draw.
template <int count>
void philox(uint32_t words[4][count], uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
        for (int i = 0; i < count; ++i) {
            const uint64_t first = uint64_t{0xD2511F53} * words[0][i], second = uint64_t{0xCD9E8D57} * words[2][i];
            words[0][i] = static_cast<uint32_t>(second >> 32) ^ words[1][i] ^ key0;
            words[1][i] = static_cast<uint32_t>(second);
            words[2][i] = static_cast<uint32_t>(first >> 32) ^ words[3][i] ^ key1;
            words[3][i] = static_cast<uint32_t>(first);
        }
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

/// A row has the columns from `first` on of a whole one. Column c is kept where word c % 4 of the row's counter with slot
/// c / 4 is not below p · 2³².
template <class T>
void drop(const at::Tensor &x, at::Tensor &out, const at::Tensor &addresses, int64_t first, double p, uint64_t key) {
    const T *from = x.const_data_ptr<T>();
    T *to = out.mutable_data_ptr<T>();
    const int64_t *address = addresses.const_data_ptr<int64_t>();
    const int64_t width = x.size(1), end = first + width;
    const auto threshold = static_cast<uint64_t>(p * 4294967296.0 + 0.5);
    const T scale = static_cast<T>(1 / (1 - p));
    parallel_tasks(x.size(0), 16 * width, [&](int64_t row, int) {
        const auto low = static_cast<uint64_t>(address[2 * row]), high = static_cast<uint64_t>(address[2 * row + 1]);
        uint32_t words[4][together];
        for (int64_t start = first / 4 * 4; start < end; start += 4 * together) {
            for (int i = 0; i < together; ++i) {
                words[0][i] = static_cast<uint32_t>(low) | static_cast<uint32_t>(start / 4 + i);
                words[1][i] = static_cast<uint32_t>(low >> 32);
                words[2][i] = static_cast<uint32_t>(high);
                words[3][i] = static_cast<uint32_t>(high >> 32);
            }
            philox<together>(words, static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
            const int64_t last = std::min<int64_t>(end, start + 4 * together);
            for (int64_t column = std::max<int64_t>(first, start); column < last; ++column) {
                const int64_t index = row * width + column - first;
                to[index] = words[column % 4][(column - start) / 4] < threshold ? T{0} : from[index] * scale;
            }
        }
    });
}

at::Tensor dropped(const at::Tensor &tensor, const at::Tensor &addresses, int64_t first, double p, uint64_t key) {
    if (!tensor.is_cpu()) {
        const at::Tensor ones = at::ones(tensor.sizes(), tensor.options().device(at::kCPU));
        return at::mul(tensor, dropped(ones, addresses, first, p, key).to(tensor.device()));
    }
    const at::Tensor x = tensor.contiguous();
    at::Tensor out = at::empty_like(x);
    if (x.scalar_type() == at::kFloat)
        drop<float>(x, out, addresses, first, p, key);
    else
        drop<double>(x, out, addresses, first, p, key);
    return out;
}

/// Keeps no mask: the gradient's is made again from the same counters.
struct Dropout : torch::autograd::Function<Dropout> {
    static at::Tensor forward(
        torch::autograd::AutogradContext *context, const at::Tensor &x, const at::Tensor &addresses, int64_t first,
        double p, int64_t key) {
        context->saved_data["addresses"] = addresses;
        context->saved_data["first"] = first;
        context->saved_data["p"] = p;
        context->saved_data["key"] = key;
        return dropped(x, addresses, first, p, static_cast<uint64_t>(key));
    }

    static torch::autograd::variable_list backward(
        torch::autograd::AutogradContext *context, const torch::autograd::variable_list &gradients) {
        return {
            dropped(
                gradients[0], context->saved_data["addresses"].toTensor(), context->saved_data["first"].toInt(),
                context->saved_data["p"].toDouble(), static_cast<uint64_t>(context->saved_data["key"].toInt())),
            at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
    }
};

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" void ctorch_philox(uint32_t words[4], uint32_t key0, uint32_t key1) {
    philox<1>(reinterpret_cast<uint32_t(*)[1]>(words), key0, key1);
}

extern "C" ctorch_status ctorch_dropout(
    ctorch_tensor input, ctorch_tensor addresses, ptrdiff_t first, double p, uint64_t key, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &x = unwrap(input), &counters = unwrap(addresses);
        TORCH_CHECK(p >= 0 && p < 1, "a share of ", p, " cannot be dropped; expected 0 ..< 1");
        TORCH_CHECK(
            x.dim() == 2 && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble), "input ", x.toString(),
            " ", x.sizes(), " must be [rows, width] in float32 or float64");
        TORCH_CHECK(
            counters.is_cpu() && counters.is_contiguous() && counters.scalar_type() == at::kLong &&
                counters.dim() == 2 && counters.size(0) == x.size(0) && counters.size(1) == 2,
            "addresses ", counters.toString(), " ", counters.sizes(), " must be [", x.size(0), ", 2] int64 on the CPU");
        TORCH_CHECK(
            first >= 0 && first + x.size(1) <= int64_t{4} << 24, "columns ", first, " ..< ", first + x.size(1),
            " of a row take more than 24 bits of slots");
        *out = wrap(Dropout::apply(x, counters, static_cast<int64_t>(first), p, static_cast<int64_t>(key)));
    });
}
