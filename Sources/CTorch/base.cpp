#include "support.hpp"

namespace ctorch {

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

at::Device device(ctorch_device device) {
    if (device.cuda_index < 0) return at::Device(at::kCPU);
    return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device.cuda_index));
}

}  // namespace ctorch

extern "C" void ctorch_status_free(ctorch_status status) { std::free(status.message); }
extern "C" void ctorch_release(ctorch_tensor tensor) { delete &ctorch::unwrap(tensor); }
