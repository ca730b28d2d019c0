// What every part of the C header over libtorch shares: handles, the status of a call, element types and devices.
//
// Every call that can fail returns a status. On success the outputs are set; on failure no output is touched and the
// message is libtorch's own, owned by the caller (ctorch_status_free), or NULL where memory for it could not be had. No
// C++ exception leaves a call.
#ifndef CTORCH_BASE_H
#define CTORCH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A tensor: an owning reference, given back with ctorch_release.
typedef struct ctorch_tensor_ *ctorch_tensor;

/// Success is what `failed` says: a failure for want of memory may have no message either.
typedef struct ctorch_status {
    bool failed;
    char *message;
} ctorch_status;

void ctorch_status_free(ctorch_status status);
void ctorch_release(ctorch_tensor tensor);
/// A second handle of the same tensor.
ctorch_status ctorch_share(ctorch_tensor tensor, ctorch_tensor *out);

typedef enum ctorch_type {
    CTORCH_FLOAT32 = 0,
    CTORCH_FLOAT64,
    CTORCH_BFLOAT16,
    CTORCH_FLOAT16,
    CTORCH_INT64,
    CTORCH_INT32,
    CTORCH_UINT8,
    CTORCH_BOOL
} ctorch_type;

/// The CPU is {-1}; a CUDA device is its index.
typedef struct ctorch_device {
    int32_t cuda_index;
} ctorch_device;

#ifdef __cplusplus
}
#endif
#endif
