// Inside CTorch only: turning handles into tensors and exceptions into statuses.
#pragma once

#if !__has_include(<ATen/core/Tensor.h>)
#error "libtorch is missing. Run `make` (it unpacks the CPU build into .torch), or set LIBTORCH=/path (2.11 or newer)."
#endif

#if __has_include(<torch/headeronly/version.h>)
#include <torch/headeronly/version.h>
#else
#include <torch/version.h>
#endif
#if TORCH_VERSION_MAJOR < 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR < 11)
#error "libtorch is too old, 2.11 or newer is needed. Unset LIBTORCH and run `make`, or set LIBTORCH=/path to a newer one."
#endif

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "include/ctorch_base.h"

namespace ctorch {

/// Handles given out and not yet released: a test that leaks shows here.
extern std::atomic<ptrdiff_t> live_handles;

inline ctorch_tensor wrap(at::Tensor tensor) {
    auto *handle = new at::Tensor(std::move(tensor));
    live_handles.fetch_add(1, std::memory_order_relaxed);
    return reinterpret_cast<ctorch_tensor>(handle);
}
inline at::Tensor &unwrap(ctorch_tensor tensor) { return *reinterpret_cast<at::Tensor *>(tensor); }

inline std::vector<at::Tensor> unwrap_list(const ctorch_tensor *tensors, size_t count) {
    std::vector<at::Tensor> list;
    list.reserve(count);
    for (size_t i = 0; i < count; ++i) list.push_back(unwrap(tensors[i]));
    return list;
}

static_assert(sizeof(ptrdiff_t) == sizeof(int64_t), "libtorch needs a 64-bit platform");
inline at::IntArrayRef sizes(const ptrdiff_t *values, size_t count) {
    return at::IntArrayRef(reinterpret_cast<const int64_t *>(values), count);
}

inline void wrap_list(const std::vector<at::Tensor> &tensors, ctorch_tensor *out) {
    for (size_t i = 0; i < tensors.size(); ++i) out[i] = wrap(tensors[i]);
}

at::ScalarType scalar_type(ctorch_type type);
ctorch_type type_code(at::ScalarType type);
at::Device device(ctorch_device device);

/// A failure with a copy of its message; `copy` is another function only in a test.
inline ctorch_status failure(const char *message, char *(*copy)(const char *) = strdup) noexcept {
    return ctorch_status{true, copy(message)};
}

/// Runs `body`; what it throws comes back as a status, with libtorch's own words and without its C++ stack trace.
template <class Body>
ctorch_status guarded(Body &&body) noexcept {
    try {
        body();
        return ctorch_status{false, nullptr};
    } catch (const c10::Error &error) {
        return failure(error.what_without_backtrace());
    } catch (const std::exception &error) {
        return failure(error.what());
    } catch (...) {
        return failure("libtorch threw something that is no std::exception");
    }
}

}  // namespace ctorch
