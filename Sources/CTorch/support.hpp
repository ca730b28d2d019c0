// Inside CTorch only: turning handles into tensors and exceptions into statuses.
#pragma once

#if !__has_include(<ATen/core/Tensor.h>)
#error "libtorch is missing. Run `make` (it unpacks the CPU build into .torch), or set LIBTORCH=/path to libtorch 2.11 or newer."
#endif

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "include/ctorch_base.h"

namespace ctorch {

inline ctorch_tensor wrap(at::Tensor tensor) { return reinterpret_cast<ctorch_tensor>(new at::Tensor(std::move(tensor))); }
inline at::Tensor &unwrap(ctorch_tensor tensor) { return *reinterpret_cast<at::Tensor *>(tensor); }

inline std::vector<at::Tensor> unwrap_list(const ctorch_tensor *tensors, size_t count) {
    std::vector<at::Tensor> list;
    list.reserve(count);
    for (size_t i = 0; i < count; ++i) list.push_back(unwrap(tensors[i]));
    return list;
}

at::ScalarType scalar_type(ctorch_type type);
ctorch_type type_code(at::ScalarType type);
at::Device device(ctorch_device device);

inline ctorch_status failure(const char *message) noexcept {
    char *copy = strdup(message);
    return ctorch_status{copy ? copy : nullptr};
}

/// Runs `body`; what it throws comes back as a status, with libtorch's own words and without its C++ stack trace.
template <class Body>
ctorch_status guarded(Body &&body) noexcept {
    try {
        body();
        return ctorch_status{nullptr};
    } catch (const c10::Error &error) {
        return failure(error.what_without_backtrace());
    } catch (const std::exception &error) {
        return failure(error.what());
    } catch (...) {
        return failure("libtorch threw something that is no std::exception");
    }
}

}  // namespace ctorch
