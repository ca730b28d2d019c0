#include "include/ctorch_optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "parallel.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace ctorch {
namespace {

/// Sixteen running sums: without them each addition would wait for the one before it.
template <class Element>
double sum_of_squares(const Element *values, int64_t count) {
    constexpr int64_t lanes = 16;
    double sums[lanes] = {};
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        for (int64_t lane = 0; lane < lanes; ++lane) {
            const double value = static_cast<double>(values[i + lane]);
            sums[lane] += value * value;
        }
    }
    for (; i < count; ++i) sums[0] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    double total = 0;
    for (double sum : sums) total += sum;
    return total;
}

double sum_of_squares(const at::Tensor &x) {
    const bool plain = x.is_cpu() && x.is_contiguous();
    if (plain && x.scalar_type() == at::kFloat) return sum_of_squares(x.const_data_ptr<float>(), x.numel());
    if (plain && x.scalar_type() == at::kDouble) return sum_of_squares(x.const_data_ptr<double>(), x.numel());
    const double norm = at::linalg_vector_norm(x, 2, {}, false, at::kDouble).item<double>();
    return norm * norm;
}

/// The kernels walk raw memory by the parameter's size: another size or layout must be caught here.
void check_moments(const at::Tensor &parameter, const at::Tensor &other, const char *what, size_t index) {
    TORCH_CHECK(
        other.sizes() == parameter.sizes() && other.scalar_type() == parameter.scalar_type() &&
            other.device() == parameter.device(),
        what, " ", index, " is ", other.toString(), " ", other.sizes(), ", its parameter ", parameter.toString(), " ",
        parameter.sizes());
    TORCH_CHECK(
        other.is_contiguous() && parameter.is_contiguous(), what, " ", index, " or its parameter is not contiguous");
}

// MARK: Bytes

constexpr int64_t code_block = CTORCH_CODE_BLOCK;

/// What the 256 bytes stand for: 0, 1 and, of each power of ten from 10⁻⁶ to 1, numbers that are twice as many as of
/// the one below it, the middles of equal parts. With signs each but 0 and 1 has its negative, of half as many numbers.
struct DynamicMap {
    float values[256];
    /// Halfway between a number and the next; behind the last is none.
    float bounds[256];
    /// By the upper half of a float's bits: how many bounds lie below every float that begins with them. No two bounds
    /// are so near to each other that one such half has both.
    uint8_t below[65536];

    explicit DynamicMap(bool is_signed) {
        std::vector<float> numbers{0.0f, 1.0f};
        for (int power = 0; power < 7; ++power) {
            const int count = is_signed ? 1 << power : 2 << power;
            const double scale = std::pow(10.0, power - 6);
            for (int i = 0; i < count; ++i) {
                const double middle = scale * (0.1 + 0.9 * (i + 0.5) / count);
                numbers.push_back(static_cast<float>(middle));
                if (is_signed) numbers.push_back(static_cast<float>(-middle));
            }
        }
        std::sort(numbers.begin(), numbers.end());
        std::copy(numbers.begin(), numbers.end(), values);
        for (int i = 0; i < 255; ++i) bounds[i] = 0.5f * (values[i] + values[i + 1]);
        bounds[255] = std::numeric_limits<float>::infinity();
        for (uint32_t half = 0; half < 65536; ++half) {
            const uint32_t bits = half << 16 | (half & 0x8000 ? 0xFFFF : 0);  // the least float that begins so
            float least;
            std::memcpy(&least, &bits, sizeof least);
            below[half] = static_cast<uint8_t>(
                std::count_if(bounds, bounds + 255, [&](float bound) { return bound < least; }));
        }
    }

    static const DynamicMap &of(bool is_signed) {
        static const DynamicMap both{true}, positive{false};
        return is_signed ? both : positive;
    }

    /// The byte whose number is nearest to x, the lower of two that are as near.
    CTORCH_INLINE uint8_t nearest(float x) const {
        uint32_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        const uint8_t index = below[bits >> 16];
        return static_cast<uint8_t>(index + (x > bounds[index]));
    }
};

int64_t block_count(int64_t count) { return (count + code_block - 1) / code_block; }

/// 1/scale, and 0 for a block of nothing but zeros, or of numbers too small to be told from it.
template <class T>
CTORCH_INLINE T inverse_of(T scale) {
    return scale >= T(FLT_MIN) ? T(1) / scale : T(0);
}

/// The largest size among a block of numbers, zeros behind the last.
template <class T>
CTORCH_INLINE T largest_size(const T *values) {
    T sizes[lane_count] = {};  // side by side, as sums are
    for (int64_t i = 0; i < code_block; i += lane_count) {
        for (int64_t lane = 0; lane < lane_count; ++lane) {
            const T size = values[i + lane] < 0 ? -values[i + lane] : values[i + lane];
            sizes[lane] = size > sizes[lane] ? size : sizes[lane];
        }
    }
    return *std::max_element(sizes, sizes + lane_count);
}

/// Writes `count` numbers of a block as bytes, and gives their scale.
template <class T>
CTORCH_INLINE float encode_block(const T *values, int64_t count, const DynamicMap &map, uint8_t *bytes) {
    const T largest = largest_size(values), inverse = inverse_of(largest);
    for (int64_t i = 0; i < count; ++i) bytes[i] = map.nearest(static_cast<float>(values[i] * inverse));
    return static_cast<float>(largest);
}

/// One parameter's step with byte moments.
template <class T>
struct ByteAdamW {
    T *parameter;
    const T *gradient;
    uint8_t *first, *second;
    float *first_scales, *second_scales;
    int64_t count;
    T beta1, beta2, kept, rate, root, epsilon;

    /// Blocks `begin ..< end`.
    static CTORCH_INLINE void run(const ByteAdamW *task, int64_t begin, int64_t end) {
        const ByteAdamW step = *task;
        const DynamicMap &signed_map = DynamicMap::of(true), &positive_map = DynamicMap::of(false);
        T m[code_block] = {}, v[code_block] = {};
        for (int64_t block = begin; block < end; ++block) {
            const int64_t start = block * code_block, size = std::min(code_block, step.count - start);
            if (size < code_block) {  // the last one: behind it are zeros
                std::fill(m + size, m + code_block, T(0));
                std::fill(v + size, v + code_block, T(0));
            }
            T *const w = step.parameter + start;
            const T *const g = step.gradient + start;
            for (int64_t i = 0; i < size; ++i) {
                m[i] = signed_map.values[step.first[start + i]] * step.first_scales[block];
                v[i] = positive_map.values[step.second[start + i]] * step.second_scales[block];
            }
            for (int64_t i = 0; i < size; ++i) {
                m[i] = step.beta1 * m[i] + (1 - step.beta1) * g[i];
                v[i] = step.beta2 * v[i] + (1 - step.beta2) * g[i] * g[i];
                w[i] = w[i] * step.kept - step.rate * (m[i] / (std::sqrt(v[i]) / step.root + step.epsilon));
            }
            step.first_scales[block] = encode_block(m, size, signed_map, step.first + start);
            step.second_scales[block] = encode_block(v, size, positive_map, step.second + start);
        }
    }
};

struct AdamWFactors {
    double first, root;

    explicit AdamWFactors(const ctorch_adamw &settings)
        : first(1 - std::pow(settings.beta1, static_cast<double>(settings.step))),
          root(std::sqrt(1 - std::pow(settings.beta2, static_cast<double>(settings.step)))) {}
};

template <class T>
void byte_adamw_on_cpu(
    const at::Tensor &parameter, const at::Tensor &gradient, const ctorch_codes &first, const ctorch_codes &second,
    const ctorch_adamw &settings) {
    const AdamWFactors factors(settings);
    const ByteAdamW<T> step{
        parameter.data_ptr<T>(),
        gradient.const_data_ptr<T>(),
        unwrap(first.bytes).data_ptr<uint8_t>(),
        unwrap(second.bytes).data_ptr<uint8_t>(),
        unwrap(first.scales).data_ptr<float>(),
        unwrap(second.scales).data_ptr<float>(),
        parameter.numel(),
        static_cast<T>(settings.beta1),
        static_cast<T>(settings.beta2),
        static_cast<T>(1 - settings.learning_rate * settings.weight_decay),
        static_cast<T>(settings.learning_rate / factors.first),
        static_cast<T>(factors.root),
        static_cast<T>(settings.epsilon)};
    constexpr int64_t blocks_a_task = 32;
    const int64_t blocks = block_count(step.count);
    const int64_t tasks = (blocks + blocks_a_task - 1) / blocks_a_task;
    parallel_tasks(tasks, blocks_a_task * code_block * 8, [&](int64_t task, int) {
        dispatch<ByteAdamW<T>>(&step, task * blocks_a_task, std::min(blocks, (task + 1) * blocks_a_task));
    });
}

at::Tensor on_device_of(const at::Tensor &other, const float *values, int64_t count) {
    return at::tensor(at::ArrayRef<float>(values, count), at::kFloat).to(other.device());
}

at::Tensor decoded(const ctorch_codes &codes, bool is_signed) {
    const at::Tensor &bytes = unwrap(codes.bytes), &scales = unwrap(codes.scales);
    const at::Tensor map = on_device_of(bytes, DynamicMap::of(is_signed).values, 256);
    const at::Tensor numbers = map.index_select(0, bytes.flatten().to(at::kLong));
    return numbers.mul(scales.repeat_interleave(code_block).narrow(0, 0, bytes.numel())).view(bytes.sizes());
}

/// Writes numbers as bytes, on any device.
void encode(const at::Tensor &values, const ctorch_codes &codes, bool is_signed) {
    at::Tensor &bytes = unwrap(codes.bytes), &scales = unwrap(codes.scales);
    const at::Tensor blocks = values.new_zeros({scales.numel() * code_block});
    blocks.narrow(0, 0, values.numel()).copy_(values.flatten());
    const at::Tensor rows = blocks.view({scales.numel(), code_block}), largest = rows.abs().amax(1);
    const at::Tensor inverse = largest.reciprocal().masked_fill(largest.lt(FLT_MIN), 0);
    const at::Tensor scaled = rows.mul(inverse.unsqueeze(1)).to(at::kFloat).flatten().narrow(0, 0, values.numel());
    const at::Tensor bounds = on_device_of(bytes, DynamicMap::of(is_signed).bounds, 255);
    bytes.copy_(at::bucketize(scaled, bounds).view(bytes.sizes()));
    scales.copy_(largest);
}

/// The same step in whole tensors, where the kernel is not: on another device, or in another type.
void byte_adamw_anywhere(
    const at::Tensor &parameter, const at::Tensor &gradient, const ctorch_codes &first, const ctorch_codes &second,
    const ctorch_adamw &settings) {
    const AdamWFactors factors(settings);
    const at::Tensor m = decoded(first, true).to(parameter.scalar_type());
    const at::Tensor v = decoded(second, false).to(parameter.scalar_type());
    m.mul_(settings.beta1).add_(gradient, 1 - settings.beta1);
    v.mul_(settings.beta2).addcmul_(gradient, gradient, 1 - settings.beta2);
    parameter.mul_(1 - settings.learning_rate * settings.weight_decay);
    parameter.addcdiv_(
        m, v.sqrt().div_(factors.root).add_(settings.epsilon), -settings.learning_rate / factors.first);
    encode(m, first, true);
    encode(v, second, false);
}

void check_codes(const ctorch_codes &codes) {
    const at::Tensor &bytes = unwrap(codes.bytes), &scales = unwrap(codes.scales);
    TORCH_CHECK(
        bytes.scalar_type() == at::kByte && scales.scalar_type() == at::kFloat &&
            scales.numel() == block_count(bytes.numel()) && scales.dim() == 1 && scales.device() == bytes.device(),
        "bytes are ", bytes.toString(), " ", bytes.sizes(), ", their scales ", scales.toString(), " ", scales.sizes());
    TORCH_CHECK(bytes.is_contiguous() && scales.is_contiguous(), "bytes or their scales are not contiguous");
}

void check_codes(const at::Tensor &parameter, const ctorch_codes &codes, const char *what) {
    check_codes(codes);
    const at::Tensor &bytes = unwrap(codes.bytes);
    TORCH_CHECK(
        bytes.sizes() == parameter.sizes() && bytes.device() == parameter.device(), what, " is ", bytes.toString(),
        " ", bytes.sizes(), ", its parameter ", parameter.toString(), " ", parameter.sizes());
}

// MARK: Lion

template <class T>
struct Lion {
    static CTORCH_INLINE void run(
        T *w, const T *g, T *m, int64_t count, T beta1, T beta2, T kept, T rate) {
        for (int64_t i = 0; i < count; ++i) {
            const T mix = beta1 * m[i] + (1 - beta1) * g[i];
            const T sign = static_cast<T>(static_cast<int>(mix > 0) - static_cast<int>(mix < 0));
            w[i] = w[i] * kept - rate * sign;
            m[i] = beta2 * m[i] + (1 - beta2) * g[i];
        }
    }
};

template <class T>
void lion_on_cpu(
    const at::Tensor &parameter, const at::Tensor &gradient, const at::Tensor &momentum, const ctorch_lion &settings) {
    constexpr int64_t task_size = 16384;
    const int64_t count = parameter.numel();
    T *const w = parameter.data_ptr<T>(), *const m = momentum.data_ptr<T>();
    const T *const g = gradient.const_data_ptr<T>();
    parallel_tasks((count + task_size - 1) / task_size, task_size, [&](int64_t task, int) {
        const int64_t start = task * task_size;
        dispatch<Lion<T>>(
            w + start, g + start, m + start, std::min(task_size, count - start), static_cast<T>(settings.beta1),
            static_cast<T>(settings.beta2), static_cast<T>(1 - settings.learning_rate * settings.weight_decay),
            static_cast<T>(settings.learning_rate));
    });
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" {

ctorch_status ctorch_adamw_step(
    const ctorch_tensor *parameters, const ctorch_tensor *gradients, const ctorch_tensor *first_moments,
    const ctorch_tensor *second_moments, size_t count, ctorch_adamw settings) {
    return guarded([&] {
        if (count == 0) return;
        at::NoGradGuard guard;
        const auto values = unwrap_list(parameters, count);
        auto slopes = unwrap_list(gradients, count);
        const auto first = unwrap_list(first_moments, count), second = unwrap_list(second_moments, count);
        for (size_t i = 0; i < count; ++i) {
            slopes[i] = slopes[i].contiguous();
            check_moments(values[i], slopes[i], "gradient", i);
            check_moments(values[i], first[i], "first moment", i);
            check_moments(values[i], second[i], "second moment", i);
        }
        // On the CPU without memory: of several parameters none may fail when others are written.
        float number = static_cast<float>(settings.step);
        const at::Tensor step =
            values[0].is_cpu()
                ? at::from_blob(&number, at::IntArrayRef(), at::TensorOptions().dtype(at::kFloat))
                : at::full({}, static_cast<double>(settings.step), values[0].options().dtype(at::kFloat));
        const std::vector<at::Tensor> steps(count, step);
        at::_fused_adamw_(
            values, slopes, first, second, {}, steps, settings.learning_rate, settings.beta1, settings.beta2,
            settings.weight_decay, settings.epsilon, /*amsgrad=*/false, /*maximize=*/false);
    });
}

ctorch_status ctorch_adamw_8bit_step(
    ctorch_tensor parameter, ctorch_tensor gradient, ctorch_codes first_moment, ctorch_codes second_moment,
    ctorch_adamw settings) {
    return guarded([&] {
        at::NoGradGuard guard;
        const at::Tensor &values = unwrap(parameter);
        const at::Tensor slopes = unwrap(gradient).contiguous();
        check_moments(values, slopes, "gradient", 0);
        check_codes(values, first_moment, "first moment");
        check_codes(values, second_moment, "second moment");
        if (values.is_cpu() && values.scalar_type() == at::kFloat) {
            byte_adamw_on_cpu<float>(values, slopes, first_moment, second_moment, settings);
        } else if (values.is_cpu() && values.scalar_type() == at::kDouble) {
            byte_adamw_on_cpu<double>(values, slopes, first_moment, second_moment, settings);
        } else {
            byte_adamw_anywhere(values, slopes, first_moment, second_moment, settings);
        }
    });
}

ctorch_status ctorch_decoded(ctorch_codes codes, bool is_signed, ctorch_tensor *out) {
    return guarded([&] {
        check_codes(codes);
        *out = wrap(decoded(codes, is_signed));
    });
}

ctorch_status ctorch_lion_step(
    ctorch_tensor parameter, ctorch_tensor gradient, ctorch_tensor momentum, ctorch_lion settings) {
    return guarded([&] {
        at::NoGradGuard guard;
        const at::Tensor &values = unwrap(parameter), &mean = unwrap(momentum);
        const at::Tensor slopes = unwrap(gradient).contiguous();
        check_moments(values, slopes, "gradient", 0);
        check_moments(values, mean, "momentum", 0);
        if (values.is_cpu() && values.scalar_type() == at::kFloat) {
            lion_on_cpu<float>(values, slopes, mean, settings);
        } else if (values.is_cpu() && values.scalar_type() == at::kDouble) {
            lion_on_cpu<double>(values, slopes, mean, settings);
        } else {
            const at::Tensor signs = mean.mul(settings.beta1).add_(slopes, 1 - settings.beta1).sign_();
            values.mul_(1 - settings.learning_rate * settings.weight_decay).add_(signs, -settings.learning_rate);
            mean.mul_(settings.beta2).add_(slopes, 1 - settings.beta2);
        }
    });
}

ctorch_status ctorch_norm(const ctorch_tensor *tensors, size_t count, double *out) {
    return guarded([&] {
        at::NoGradGuard guard;
        double total = 0;
        for (size_t i = 0; i < count; ++i) total += sum_of_squares(unwrap(tensors[i]));
        *out = std::sqrt(total);
    });
}

ctorch_status ctorch_scale_in_place(const ctorch_tensor *tensors, size_t count, double factor) {
    return guarded([&] {
        if (count == 0) return;
        at::NoGradGuard guard;
        at::_foreach_mul_(unwrap_list(tensors, count), factor);
    });
}

}  // extern "C"
