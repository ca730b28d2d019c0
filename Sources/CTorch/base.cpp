#include "include/ctorch_engine.h"
#include "support.hpp"
#include "vectors.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <pthread.h>
#include <torch/headeronly/version.h>

#include <mutex>

namespace ctorch {

std::atomic<ptrdiff_t> live_handles{0};

at::ScalarType scalar_type(ctorch_type type) {
    switch (type) {
        case CTORCH_FLOAT32: return at::kFloat;
        case CTORCH_FLOAT64: return at::kDouble;
        case CTORCH_BFLOAT16: return at::kBFloat16;
        case CTORCH_FLOAT16: return at::kHalf;
        case CTORCH_INT64: return at::kLong;
        case CTORCH_INT32: return at::kInt;
        case CTORCH_UINT8: return at::kByte;
        case CTORCH_BOOL: return at::kBool;
    }
    TORCH_CHECK(false, "no element type has the code ", static_cast<int>(type));
}

ctorch_type type_code(at::ScalarType type) {
    switch (type) {
        case at::kFloat: return CTORCH_FLOAT32;
        case at::kDouble: return CTORCH_FLOAT64;
        case at::kBFloat16: return CTORCH_BFLOAT16;
        case at::kHalf: return CTORCH_FLOAT16;
        case at::kLong: return CTORCH_INT64;
        case at::kInt: return CTORCH_INT32;
        case at::kByte: return CTORCH_UINT8;
        case at::kBool: return CTORCH_BOOL;
        default: TORCH_CHECK(false, "element type ", type, " is not supported");
    }
}

namespace {

/// Before the first tensor of the process. Without deterministic mode the backward of indexing differs from run to run.
/// In that mode libtorch would also fill every fresh buffer with NaN, a pass over memory that helps only code that
/// reads what it never wrote: left off. cuBLAS is deterministic only with a fixed workspace, which it reads from the
/// environment when it starts; a value the user chose stays.
const bool prepared = [] {
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    return true;
}();

/// We link against the CPU library only; a CUDA build of libtorch brings its kernels in a second library, which takes
/// seconds to load. Looked for when something first asks for a CUDA device.
void load_cuda() {
    static std::once_flag once;
    std::call_once(once, [] { dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL); });
}

}  // namespace

at::Device device(ctorch_device device) {
    if (device.cuda_index < 0) return at::Device(at::kCPU);
    TORCH_CHECK(device.cuda_index < 128, "there is no CUDA device with index ", device.cuda_index);
    load_cuda();
    return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device.cuda_index));
}

}  // namespace ctorch

extern "C" void ctorch_status_free(ctorch_status status) { std::free(status.message); }
extern "C" void ctorch_release(ctorch_tensor tensor) {
    ctorch::live_handles.fetch_sub(1, std::memory_order_relaxed);
    delete &ctorch::unwrap(tensor);
}

extern "C" ctorch_status ctorch_share(ctorch_tensor tensor, ctorch_tensor *out) {
    return ctorch::guarded([&] { *out = ctorch::wrap(ctorch::unwrap(tensor)); });
}

extern "C" const char *ctorch_version(void) { return TORCH_VERSION; }
extern "C" const char *ctorch_instructions(void) { return ctorch::instruction_set_name(); }
extern "C" int ctorch_thread_count(void) { return at::get_num_threads(); }
extern "C" ctorch_status ctorch_set_thread_count(int count) {
    return ctorch::guarded([&] { at::set_num_threads(count); });
}
extern "C" void ctorch_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }
extern "C" int ctorch_cuda_device_count(void) {
    ctorch::load_cuda();
    if (!at::Context::hasCUDA()) return 0;
    return at::globalContext().getAcceleratorHooksInterface(at::kCUDA).deviceCount();
}
extern "C" bool ctorch_has_cuda(void) {
    ctorch::load_cuda();
    return at::Context::hasCUDART();
}
extern "C" ctorch_status ctorch_fail_without_memory(void) {
    return ctorch::failure("never seen", [](const char *) -> char * { return nullptr; });
}
extern "C" ptrdiff_t ctorch_live_handles(void) { return ctorch::live_handles.load(std::memory_order_relaxed); }
