// Copyright 2026 c7_inference_ros contributors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

/* A libcuda.so.1 with the calls that PyCUDA does not wrap; Python answers them.
 *
 * Compiled, so that a caller's ctypes signatures are exercised: arguments pass through the real
 * calling convention, and a handle that ctypes cuts to an int arrives cut.
 */
#include <stddef.h>
#include <string.h>

#define UNKNOWN 999
#define INVALID_VALUE 1

typedef void *pointer;
typedef unsigned long long u64;

static struct {
    const char *name;
    pointer answer;
} table[32];
static int count;

static pointer find(const char *name)
{
    for (int i = 0; i < count; ++i)
        if (strcmp(table[i].name, name) == 0)
            return table[i].answer;
    return NULL;
}

/* Let Python answer a call; the name must outlive the library. */
int double_answer(const char *name, pointer answer)
{
    if (count == 32)
        return 1;
    table[count].name = name;
    table[count++].answer = answer;
    return 0;
}

#define CALL(name, declaration, types, arguments, check)        \
    int name declaration                                        \
    {                                                           \
        int(*answer) types = (int(*) types)find(#name);         \
        if (check)                                              \
            return INVALID_VALUE;                               \
        return answer ? answer arguments : UNKNOWN;             \
    }

CALL(cuInit, (unsigned flags), (unsigned), (flags), 0)
CALL(cuDriverGetVersion, (int *version), (pointer), (version), !version)
CALL(cuGetErrorName, (int code, const char **text), (int, pointer), (code, text), !text)
CALL(cuGetErrorString, (int code, const char **text), (int, pointer), (code, text), !text)
CALL(cuCtxGetCurrent, (pointer *context), (pointer), (context), !context)
CALL(cuCtxPopCurrent_v2, (pointer *context), (pointer), (context), !context)
CALL(cuDeviceGet, (int *device, int ordinal), (pointer, int), (device, ordinal), !device)
CALL(cuDevicePrimaryCtxRelease_v2, (int device), (int), (device), 0)
CALL(cuCtxSynchronize, (void), (void), (), 0)
CALL(cuMemGetInfo_v2, (size_t *free, size_t *total), (pointer, pointer), (free, total),
     !free || !total)
CALL(cuDevicePrimaryCtxReset_v2, (int device), (int), (device), 0)
CALL(cuDevicePrimaryCtxGetState, (int device, unsigned *flags, int *active),
     (int, pointer, pointer), (device, flags, active), !flags || !active)
CALL(cuStreamSynchronize, (pointer stream), (pointer), (stream), 0)
CALL(cuStreamIsCapturing, (pointer stream, int *status), (pointer, pointer), (stream, status),
     !status)
CALL(cuStreamBeginCapture_v2, (pointer stream, int mode), (pointer, int), (stream, mode), 0)
CALL(cuStreamEndCapture, (pointer stream, pointer *graph), (pointer, pointer), (stream, graph),
     !graph)
CALL(cuGraphInstantiateWithFlags, (pointer *exec, pointer graph, u64 flags),
     (pointer, pointer, u64), (exec, graph, flags), !exec)
CALL(cuGraphUpload, (pointer exec, pointer stream), (pointer, pointer), (exec, stream), 0)
CALL(cuGraphLaunch, (pointer exec, pointer stream), (pointer, pointer), (exec, stream), 0)
CALL(cuGraphExecDestroy, (pointer exec), (pointer), (exec), 0)
CALL(cuGraphDestroy, (pointer graph), (pointer), (graph), 0)
