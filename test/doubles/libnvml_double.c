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

/* A libnvidia-ml.so.1 over simulated GPUs, for pynvml to load as the real one.
 *
 * Written from the published nvml.h: the layouts of the structures, the numbers of the enumerations
 * and the return codes that each function documents. Values, return codes, latency and hangs are
 * set through the double_... functions below.
 *
 * -DNVML_OLD leaves out what drivers before 535 lack, -DNVML_NEXT what NVML says it will drop.
 */
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4,
    NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, VERSION_MISMATCH = 25, UNKNOWN = 999
};
enum {
    GPUS = 8, PARTS = 2, FIELDS = 320, FUNCTIONS = 48,
    THRESHOLDS = 8, CLOCKS = 4, POLICIES = 12
};

typedef unsigned long long u64;

/* nvml.h */
typedef struct { unsigned version, sensor; int celsius; } temperature_v1;
typedef struct { unsigned version; int celsius; } margin_v1;
typedef struct { u64 reference_us, violation_ns; } violation_time;
typedef struct { unsigned gpu, memory; } utilization;
typedef union {
    double d; int si; unsigned ui; unsigned long ul; u64 ull; long long sll; unsigned short us;
} value;
typedef struct {
    unsigned field, scope;
    long long timestamp_us, latency_us;
    int type, code;
    value value;
} field_value;
#define STRUCT_VERSION(type, number) (sizeof(type) | (number) << 24)

typedef struct {
    int is_present, is_readable;
    char name[96], uuid[96], parts[PARTS][96];
    int celsius, margin;
    int thresholds[THRESHOLDS];            /* below zero: not supported */
    int clocks[CLOCKS], max_clocks[CLOCKS], application_clocks[CLOCKS];
    int load_gpu, load_memory;
    unsigned milliwatts, limit_milliwatts;
    int performance_state, persistence, compute_mode;
    u64 reasons;
    u64 violations[POLICIES];
    long long reference_us;                /* beside the clock */
    int field_types[FIELDS], field_codes[FIELDS];
    value fields[FIELDS];
    int codes[FUNCTIONS];                  /* of each function; the last is of all of them */
} gpu;

/* What a handle points to. Each initialisation has its own, so that one of before is refused. */
typedef struct { int generation, gpu, part; } handle;

static gpu gpus[GPUS];
enum { BANKS = 4, BANK = GPUS * (PARTS + 1) };
static handle handles[BANKS * BANK], *bank = handles;
static int order[GPUS], visible, generation, references, starts, stops;
static int library_codes[FUNCTIONS], calls[FUNCTIONS], latency_ms[FUNCTIONS], is_blocked[FUNCTIONS];
static int waiting;
static const char *names[FUNCTIONS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* Called with the mutex. */
static int known(const char *name)
{
    int i = 0;
    while (i < FUNCTIONS - 1 && names[i] && strcmp(names[i], name) != 0)
        ++i;
    if (!names[i])
        names[i] = strdup(name);
    return i;
}

static int number_of(const char *name)
{
    pthread_mutex_lock(&mutex);
    int number = known(name);
    pthread_mutex_unlock(&mutex);
    return number;
}

/* Count a call, and be as slow as was asked for. */
static int enter(const char *name)
{
    pthread_mutex_lock(&mutex);
    int function = known(name);
    ++calls[function];
    int slow_ms = latency_ms[function];
    ++waiting;
    while (is_blocked[function])
        pthread_cond_wait(&changed, &mutex);
    --waiting;
    int code = library_codes[function];
    pthread_mutex_unlock(&mutex);
    struct timespec pause = {slow_ms / 1000, slow_ms % 1000 * 1000000L};
    if (slow_ms)
        nanosleep(&pause, NULL);
    return code;
}

/* The GPU of a handle, or the code that the function has to return. */
static gpu *find(const char *name, const handle *device, int *code)
{
    *code = enter(name);
    if (*code == SUCCESS && references == 0)
        *code = UNINITIALIZED;
    if (*code != SUCCESS)
        return NULL;
    if (device < handles || device >= handles + BANKS * BANK
        || device->generation != generation) {
        *code = INVALID_ARGUMENT;
        return NULL;
    }
    gpu *found = &gpus[device->gpu];
    int function = number_of(name);
    *code = found->codes[FUNCTIONS - 1] ? found->codes[FUNCTIONS - 1] : found->codes[function];
    return *code == SUCCESS ? found : NULL;
}

#define GPU(device, valid)                        \
    int code;                                     \
    gpu *gpu = find(__func__, device, &code);     \
    if (!gpu)                                     \
        return code;                              \
    if (!(valid))                                 \
        return INVALID_ARGUMENT;

static int put(int number, unsigned *target)
{
    if (number < 0)
        return NOT_SUPPORTED;
    *target = number;
    return SUCCESS;
}

static int copy(const char *text, char *target, unsigned length)
{
    if (strlen(text) + 1 > length)
        return INSUFFICIENT_SIZE;
    strcpy(target, text);
    return SUCCESS;
}

/* --- what a test sets --- */

void double_reset(void)
{
    pthread_mutex_lock(&mutex);
    memset(gpus, 0, sizeof gpus);
    for (int i = 0; i < GPUS; ++i) {
        gpus[i].is_readable = 1;
        for (int field = 0; field < FIELDS; ++field)
            gpus[i].field_codes[field] = NOT_SUPPORTED;
    }
    memset(library_codes, 0, sizeof library_codes);
    memset(calls, 0, sizeof calls);
    memset(latency_ms, 0, sizeof latency_ms);
    memset(is_blocked, 0, sizeof is_blocked);
    visible = references = starts = stops = 0;
    ++generation;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

int double_number(int index, const char *key, int item, long long number)
{
    gpu *one = &gpus[index];
#define SET(name, target) if (strcmp(key, name) == 0) { target = number; return 0; }
    SET("present", one->is_present)
    SET("readable", one->is_readable)
    SET("celsius", one->celsius)
    SET("margin", one->margin)
    SET("threshold", one->thresholds[item])
    SET("clock", one->clocks[item])
    SET("max_clock", one->max_clocks[item])
    SET("application_clock", one->application_clocks[item])
    SET("load_gpu", one->load_gpu)
    SET("load_memory", one->load_memory)
    SET("milliwatts", one->milliwatts)
    SET("limit_milliwatts", one->limit_milliwatts)
    SET("performance_state", one->performance_state)
    SET("persistence", one->persistence)
    SET("compute_mode", one->compute_mode)
    SET("reasons", one->reasons)
    SET("violation", one->violations[item])
    SET("reference_us", one->reference_us)
    return 1;
}

int double_text(int index, const char *key, int item, const char *text)
{
    gpu *one = &gpus[index];
    char *target = strcmp(key, "name") == 0 ? one->name
        : strcmp(key, "uuid") == 0 ? one->uuid
        : strcmp(key, "part") == 0 ? one->parts[item] : NULL;
    return target ? copy(text, target, 96) : 1;
}

void double_field(int index, int field, int type, long long number, int code)
{
    gpu *one = &gpus[index];
    one->field_types[field] = type;
    one->field_codes[field] = code;
    memset(&one->fields[field], 0xAA, sizeof(value));  /* what the type does not cover is garbage */
    if (type == 1)
        one->fields[field].ui = number;
    else if (type == 5)
        one->fields[field].si = number;
    else
        one->fields[field].ull = number;
}

/* The return code of one function (NULL: of all) for one GPU (below zero: for whichever). */
void double_code(int index, const char *function, int code)
{
    pthread_mutex_lock(&mutex);
    int number = function ? known(function) : FUNCTIONS - 1;
    if (index < 0)
        library_codes[number] = code;
    else
        gpus[index].codes[number] = code;
    pthread_mutex_unlock(&mutex);
}

void double_latency(const char *function, int milliseconds)
{
    latency_ms[number_of(function)] = milliseconds;
}

void double_block(const char *function, int yes)
{
    pthread_mutex_lock(&mutex);
    is_blocked[known(function)] = yes;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

int double_waiting(void) { return waiting; }
int double_calls(const char *function) { return calls[number_of(function)]; }
int double_references(void) { return references; }
int double_starts(void) { return starts; }
int double_stops(void) { return stops; }

unsigned double_size(const char *name)
{
#define SIZE(type) if (strcmp(name, #type) == 0) return sizeof(type);
    SIZE(temperature_v1) SIZE(margin_v1) SIZE(violation_time) SIZE(utilization) SIZE(field_value)
    return 0;
}

/* --- nvml.h: the library --- */

int nvmlInitWithFlags(unsigned flags)
{
    int code = enter(__func__);
    (void)flags;
    if (code != SUCCESS)
        return code;
    if (references++ == 0) {
        ++generation;
        visible = 0;
        for (int i = 0; i < GPUS; ++i)
            if (gpus[i].is_present)
                order[visible++] = i;
        bank = handles + starts % BANKS * BANK;
        for (int i = 0; i < BANK; ++i)
            bank[i] = (handle){generation, i % GPUS, i / GPUS};
    }
    ++starts;
    return SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    int code = enter(__func__);
    if (code != SUCCESS)
        return code;
    if (references == 0)
        return UNINITIALIZED;
    ++stops;
    if (--references == 0)
        ++generation;
    return SUCCESS;
}

const char *nvmlErrorString(int code)
{
    static char text[32];
    snprintf(text, sizeof text, "Error %d of the double", code);
    return text;
}

#define LIBRARY(valid)                  \
    int code = enter(__func__);         \
    if (code != SUCCESS)                \
        return code;                    \
    if (references == 0)                \
        return UNINITIALIZED;           \
    if (!(valid))                       \
        return INVALID_ARGUMENT;

int nvmlDeviceGetCount_v2(unsigned *count)
{
    LIBRARY(count)
    *count = visible;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle **device)
{
    LIBRARY(device && index < (unsigned)visible)
    gpu *one = &gpus[order[index]];
    if (!one->is_readable)
        return NO_PERMISSION;
    code = one->codes[number_of(__func__)];
    *device = &bank[order[index]];
    return code;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, handle **device)
{
    LIBRARY(uuid && device)
    for (int i = 0; i < visible; ++i) {
        gpu *one = &gpus[order[i]];
        for (int part = 0; part <= PARTS; ++part)
            if (strcmp(uuid, part ? one->parts[part - 1] : one->uuid) == 0) {
                *device = &bank[order[i] + part * GPUS];
                return SUCCESS;
            }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle *part, handle **device)
{
    GPU(part, device && part->part > 0)
    *device = &bank[part->gpu];
    return SUCCESS;
}

/* --- nvml.h: one GPU --- */

int nvmlDeviceGetName(handle *device, char *name, unsigned length)
{
    GPU(device, name)
    return copy(gpu->name, name, length);
}

int nvmlDeviceGetUUID(handle *device, char *uuid, unsigned length)
{
    GPU(device, uuid)
    return copy(device->part ? gpu->parts[device->part - 1] : gpu->uuid, uuid, length);
}

#ifndef NVML_OLD
int nvmlDeviceGetTemperatureV(handle *device, temperature_v1 *temperature)
{
    GPU(device, temperature)
    if (temperature->version != STRUCT_VERSION(temperature_v1, 1))
        return VERSION_MISMATCH;
    if (temperature->sensor != 0)
        return INVALID_ARGUMENT;
    temperature->celsius = gpu->celsius;
    return SUCCESS;
}

int nvmlDeviceGetMarginTemperature(handle *device, margin_v1 *margin)
{
    GPU(device, margin)
    if (margin->version != STRUCT_VERSION(margin_v1, 1))
        return VERSION_MISMATCH;
    margin->celsius = gpu->margin;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(handle *device, u64 *reasons)
{
    GPU(device, reasons)
    *reasons = gpu->reasons;
    return SUCCESS;
}
#endif

#ifndef NVML_NEXT
int nvmlDeviceGetTemperature(handle *device, unsigned sensor, unsigned *celsius)
{
    GPU(device, celsius && sensor == 0)
    *celsius = gpu->celsius;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(handle *device, u64 *reasons)
{
    GPU(device, reasons)
    *reasons = gpu->reasons;
    return SUCCESS;
}

int nvmlDeviceGetViolationStatus(handle *device, unsigned policy, violation_time *time)
{
    GPU(device, time && policy < POLICIES)
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time->reference_us = now.tv_sec * 1000000ULL + now.tv_nsec / 1000 + gpu->reference_us;
    time->violation_ns = gpu->violations[policy];
    return SUCCESS;
}

int nvmlDeviceGetApplicationsClock(handle *device, unsigned type, unsigned *mhz)
{
    GPU(device, mhz && type < CLOCKS)
    return put(gpu->application_clocks[type], mhz);
}
#endif

int nvmlDeviceGetTemperatureThreshold(handle *device, unsigned threshold, unsigned *celsius)
{
    GPU(device, celsius && threshold < THRESHOLDS)
    return put(gpu->thresholds[threshold], celsius);
}

int nvmlDeviceGetFieldValues(handle *device, int count, field_value *values)
{
    GPU(device, values && count > 0)
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < count; ++i) {
        unsigned field = values[i].field;
        values[i].code = field < FIELDS ? gpu->field_codes[field] : INVALID_ARGUMENT;
        if (values[i].code != SUCCESS)
            continue;
        values[i].timestamp_us = now.tv_sec * 1000000LL + now.tv_nsec / 1000;
        values[i].latency_us = 1;
        values[i].type = gpu->field_types[field];
        values[i].value = gpu->fields[field];
    }
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(handle *device, unsigned type, unsigned *mhz)
{
    GPU(device, mhz && type < CLOCKS)
    return put(gpu->clocks[type], mhz);
}

int nvmlDeviceGetMaxClockInfo(handle *device, unsigned type, unsigned *mhz)
{
    GPU(device, mhz && type < CLOCKS)
    return put(gpu->max_clocks[type], mhz);
}

int nvmlDeviceGetUtilizationRates(handle *device, utilization *rates)
{
    GPU(device, rates)
    rates->gpu = gpu->load_gpu;
    rates->memory = gpu->load_memory;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(handle *device, unsigned *milliwatts)
{
    GPU(device, milliwatts)
    *milliwatts = gpu->milliwatts;
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(handle *device, unsigned *milliwatts)
{
    GPU(device, milliwatts)
    *milliwatts = gpu->limit_milliwatts;
    return SUCCESS;
}

int nvmlDeviceGetPerformanceState(handle *device, int *state)
{
    GPU(device, state)
    *state = gpu->performance_state;
    return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(handle *device, int *mode)
{
    GPU(device, mode)
    *mode = gpu->persistence;
    return SUCCESS;
}

int nvmlDeviceGetComputeMode(handle *device, int *mode)
{
    GPU(device, mode)
    *mode = gpu->compute_mode;
    return SUCCESS;
}
