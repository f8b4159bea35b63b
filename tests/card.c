/* A stand-in for the CUDA runtime and for what PyTorch asks of the driver: one Tesla T4 whose memory is the computer's.

   Loaded before the real library (LD_PRELOAD). No kernel runs here: card.py computes on the processor, in this memory. */
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096
#define SUCCEEDS { return cudaSuccess; }
#define REFUSES(name) int name(void) { return 100; } /* CUDA_ERROR_NO_DEVICE */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t capacity = 15828320256UL, taken;
static char *pinned, *pinned_end; /* where page-locked memory lies */

static void (*on_wait)(void);     /* told when the processor waits for the card */

void card_capacity(size_t bytes) { capacity = bytes; }
void card_on_wait(void (*call)(void)) { on_wait = call; }

static cudaError_t waits(void) {
    if (on_wait) on_wait();
    return cudaSuccess;
}

/* Pages cost memory only once they are written to, so a full-size net fits as long as nothing computes it. */
static char *pages(size_t bytes) {
    char *p = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? 0 : p;
}

cudaError_t cudaMalloc(void **p, size_t bytes) {
    cudaError_t status = cudaErrorMemoryAllocation;
    char *start;
    pthread_mutex_lock(&lock);
    if (taken + bytes <= capacity && (start = pages(bytes + PAGE))) {
        *(size_t *)start = bytes; /* `cudaFree` is not told how much */
        *p = start + PAGE;
        taken += bytes;
        status = cudaSuccess;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

cudaError_t cudaFree(void *p) {
    if (!p) return cudaSuccess;
    char *start = (char *)p - PAGE;
    pthread_mutex_lock(&lock);
    taken -= *(size_t *)start;
    munmap(start, *(size_t *)start + PAGE);
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) { *total = capacity; *free = capacity - taken; return cudaSuccess; }

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s) {
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t s) { memset(to, value, bytes); return cudaSuccess; }

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags) {
    const size_t room = 1UL << 36;
    pthread_mutex_lock(&lock);
    if (!pinned) pinned = pinned_end = pages(room);
    *p = pinned_end;
    pinned_end += (bytes + PAGE - 1) / PAGE * PAGE;
    pthread_mutex_unlock(&lock);
    return pinned_end <= pinned + room ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
    memset(a, 0, sizeof *a);
    a->type = (char *)p >= pinned && (char *)p < pinned_end ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
    memset(p, 0, sizeof *p);
    strcpy(p->name, "Tesla T4 (make-believe)");
    p->totalGlobalMem = capacity;
    p->major = 7;
    p->minor = 5;
    p->multiProcessorCount = 40;
    p->warpSize = 32;
    p->maxThreadsPerBlock = p->maxThreadsPerMultiProcessor = 1024;
    p->sharedMemPerBlock = 49152;
    p->sharedMemPerBlockOptin = p->sharedMemPerMultiprocessor = 65536;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr name, int device) {
    *value = name == cudaDevAttrComputeCapabilityMajor ? 7 : name == cudaDevAttrComputeCapabilityMinor ? 5 : 0;
    return cudaSuccess;
}

/* The device, its streams and its events. */
cudaError_t cudaGetDeviceCount(int *n) { *n = 1; return cudaSuccess; }
cudaError_t cudaGetDevice(int *device) { *device = 0; return cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device ? cudaErrorInvalidDevice : cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { *version = CUDART_VERSION; return cudaSuccess; }
cudaError_t cudaGetLastError(void) SUCCEEDS
cudaError_t cudaPeekAtLastError(void) SUCCEEDS
cudaError_t cudaDeviceSynchronize(void) { return waits(); }
cudaError_t cudaDeviceCanAccessPeer(int *can, int a, int b) { *can = 0; return cudaSuccess; }
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *most) { *least = 0; *most = -5; return cudaSuccess; }
cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) SUCCEEDS
cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *is) { *is = 0; return cudaSuccess; }
cudaError_t capture(cudaStream_t s, int *is) __asm__("cudaStreamGetCaptureInfo"); /* its other arguments change */
cudaError_t capture(cudaStream_t s, int *is) { *is = 0; return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t s) { return waits(); }
cudaError_t cudaStreamQuery(cudaStream_t s) SUCCEEDS
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags) SUCCEEDS
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority) {
    static long number;
    *s = (cudaStream_t)++number;
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
    static long number;
    *e = (cudaEvent_t)++number;
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t e) SUCCEEDS
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) SUCCEEDS
cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned flags) SUCCEEDS
cudaError_t cudaEventQuery(cudaEvent_t e) SUCCEEDS
cudaError_t cudaEventSynchronize(cudaEvent_t e) { return waits(); }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) { *ms = 1; return cudaSuccess; }

/* Of the driver, which this library stands in for by its name: the one question of the backward engine, and names that
   PyTorch's compiler library wants to find when it is loaded. */
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 1; return 0; }
REFUSES(cuInit)
