/* A stand-in for the CUDA runtime, loaded before the real one: a Tesla T4 whose memory is the computer's. No kernel runs
   here: card.py computes on the processor, in this memory. */
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t capacity = 15828320256UL, taken;
static char *pinned, *pinned_end; /* where page-locked memory lies */
static void (*on_wait)(void); /* told when the processor waits for the card */

void card_capacity(size_t bytes) { capacity = bytes; }
void card_on_wait(void (*call)(void)) { on_wait = call; }

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
    p->major = 7, p->minor = 5, p->multiProcessorCount = 40, p->warpSize = 32;
    p->maxThreadsPerBlock = p->maxThreadsPerMultiProcessor = 1024;
    p->sharedMemPerBlock = 49152, p->sharedMemPerBlockOptin = p->sharedMemPerMultiprocessor = 65536;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr name, int device) {
    *value = name == cudaDevAttrComputeCapabilityMajor ? 7 : name == cudaDevAttrComputeCapabilityMinor ? 5 : 0;
    return cudaSuccess;
}

/* Functions whose arguments do not matter, or differ between versions of CUDA: they succeed, or count a wait. */
#define NOTHING(name) int no_##name(void) __asm__(#name); int no_##name(void) { return 0; }
#define WAITS(name) int no_##name(void) __asm__(#name); int no_##name(void) { if (on_wait) on_wait(); return 0; }
#define ANSWER(name, type, value) \
    int is_##name(type *answer) __asm__(#name); int is_##name(type *answer) { *answer = value; return 0; }
#define SECOND(name, value) \
    int is_##name(void *a, int *answer) __asm__(#name); int is_##name(void *a, int *answer) { *answer = value; return 0; }
static long number; /* of streams and events: PyTorch only hands them back */

WAITS(cudaDeviceSynchronize) WAITS(cudaStreamSynchronize) WAITS(cudaEventSynchronize)
NOTHING(cudaSetDevice) NOTHING(cudaPeekAtLastError) NOTHING(cudaStreamQuery)
NOTHING(cudaStreamWaitEvent) NOTHING(cudaEventDestroy) NOTHING(cudaEventRecord) NOTHING(cudaEventRecordWithFlags)
NOTHING(cudaEventQuery) NOTHING(cudaThreadExchangeStreamCaptureMode)
ANSWER(cudaGetDeviceCount, int, 1) ANSWER(cudaGetDevice, int, 0) ANSWER(cudaDriverGetVersion, int, CUDART_VERSION)
ANSWER(cudaDeviceCanAccessPeer, int, 0) ANSWER(cudaEventElapsedTime, float, 1) ANSWER(cudaEventCreate, long, ++number)
ANSWER(cudaEventCreateWithFlags, long, ++number) ANSWER(cudaStreamCreateWithPriority, long, ++number)
SECOND(cudaStreamIsCapturing, 0) SECOND(cudaStreamGetCaptureInfo, 0)
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *most) { *least = 0, *most = -5; return cudaSuccess; }

/* A kernel that card.py has let through is an error. */
static int error;
int launch(void) __asm__("cudaLaunchKernel"); int launch(void) { return error = cudaErrorInvalidDeviceFunction; }
cudaError_t cudaGetLastError(void) { int last = error; error = 0; return last; }

/* Of the driver: the one question of the backward engine. */
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0, *active = 1; return 0; }
