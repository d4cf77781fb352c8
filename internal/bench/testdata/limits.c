// The machine's limits by plain C loops, to hold those of our assembly against:
//
//   cc -O3 -march=native -pthread limits.c -o limits && ./limits THREADS
//
// Each line of the standard input names a loop: read1 sums memory up in one
// stream, read2 in two, ahead2 and ahead4 in two and four that are prefetched, far4 in
// four that are prefetched twice; f32, bf16 and int8 multiply and add in registers. The
// answer is its rate, in 10^9 bytes or operations a second (two to a multiply-add), or 0
// where the compiler's target has no such instruction.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined __x86_64__
#include <immintrin.h>
#endif
#if defined __AMX_TILE__
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { ACCUMULATORS = 16, ROUNDS = 1 << 14, PARTS = 64 };
static const size_t BYTES = 512u << 20, CLAIM = 2u << 20;
static char *memory;

static uint64_t sum1(const uint64_t *p, size_t n) {
  uint64_t s = 0;
  for (size_t i = 0; i < n; i++) s += p[i];
  return s;
}

#if defined __AVX512F__
#define WIDTH 64
#elif defined __AVX2__
#define WIDTH 32
#else
#define WIDTH 16
#endif
typedef float lanes __attribute__((vector_size(WIDTH)));
typedef uint64_t words __attribute__((vector_size(WIDTH)));

static uint64_t sum2(const uint64_t *memory, size_t n) {
  const words *p = (const words *)memory, *q = p + n * 8 / WIDTH / 2;
  words s = {0}, t = {0};
  for (size_t i = 0; i < n * 8 / WIDTH / 2; i += 2) {
    s += p[i], t += p[i + 1];
    s += q[i], t += q[i + 1];
  }
  s += t;
  return s[0] + s[WIDTH / 8 - 1];
}

// Two cache lines of a stream, which the hardware fetches together, and a request
// for two that come later; where far is not 0 another one, for the second-level cache.
static inline __attribute__((always_inline)) void touch(words *s, const char *p, int ahead, int far) {
  __builtin_prefetch(p + ahead);
  __builtin_prefetch(p + ahead + 64);
  if (far) __builtin_prefetch(p + far, 0, 2), __builtin_prefetch(p + far + 64, 0, 2);
  for (int i = 0; i < 128; i += WIDTH) *s += *(const words *)(p + i);
  __asm__ volatile("" : : : "memory"); // the order stays: requests right before the lines, stream by stream
}

static inline __attribute__((always_inline)) uint64_t ahead(const uint64_t *memory, size_t n, int streams, int distance, int far) {
  const char *p = (const char *)memory;
  size_t each = n * 8 / streams;
  words s[4] = {{0}};
  for (size_t i = 0; i < each; i += 128)
#pragma GCC unroll 4
    for (int k = 0; k < streams; k++) touch(&s[k], p + k * each + i, distance, far);
  s[0] += s[1] + s[2] + s[3];
  return s[0][0] + s[0][WIDTH / 8 - 1];
}

// Each of these returns its operations; what it has computed goes to sink.
static _Atomic uint64_t sink;

static double f32(void) {
  lanes a[ACCUMULATORS], x, y;
  for (size_t i = 0; i < WIDTH / 4; i++) x[i] = 0.999f, y[i] = 0.001f;
  for (int i = 0; i < ACCUMULATORS; i++) a[i] = y * (float)i;
  for (int r = 0; r < ROUNDS; r++)
#pragma GCC unroll 16
    for (int i = 0; i < ACCUMULATORS; i++) a[i] = a[i] * x + y;
  for (int i = 0; i < ACCUMULATORS; i++) sink += (uint64_t)a[i][0];
  return 2.0 * ROUNDS * ACCUMULATORS * WIDTH / 4;
}

#if defined __AMX_TILE__
static int amx; // the system has granted the tiles
static void tiles(void) {
  struct { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } c = {.palette = 1};
  for (int i = 0; i < 6; i++) c.bytes[i] = 64, c.rows[i] = 16;
  asm volatile("" : : "r"(&c) : "memory"); // gcc 12 takes the instruction to read eight bytes of it
  _tile_loadconfig(&c);
}
#define TILES(NAME, OP, K)                                                     \
  static double NAME(void) {                                                   \
    tiles();                                                                   \
    for (int r = 0; r < ROUNDS / 4; r++) { OP(0, 4, 5); OP(1, 4, 5); OP(2, 4, 5); OP(3, 4, 5); } \
    _tile_release();                                                           \
    return 2.0 * ROUNDS / 4 * 4 * 16 * 16 * K;                                 \
  }
TILES(tiles_bf16, _tile_dpbf16ps, 32)
TILES(tiles_int8, _tile_dpbssd, 64)
#endif

static double bf16(void) {
#if defined __AMX_TILE__
  if (amx) return tiles_bf16();
#endif
#if defined __AVX512BF16__
  __m512 a[ACCUMULATORS];
  for (int i = 0; i < ACCUMULATORS; i++) a[i] = _mm512_setzero_ps();
  __m512bh x = (__m512bh)_mm512_set1_epi16(0x3f80);
  for (int r = 0; r < ROUNDS; r++)
#pragma GCC unroll 16
    for (int i = 0; i < ACCUMULATORS; i++) a[i] = _mm512_dpbf16_ps(a[i], x, x);
  for (int i = 0; i < ACCUMULATORS; i++) sink += (uint64_t)a[i][0];
  return 2.0 * ROUNDS * ACCUMULATORS * 32;
#else
  return 0;
#endif
}

static double int8(void) {
#if defined __AMX_TILE__
  if (amx) return tiles_int8();
#endif
#if defined __AVX512VNNI__
  enum { SUMS = 12 }; // gcc 12 copies them all in each round, and would keep one of 16 in memory
  __m512i a[SUMS], x = _mm512_set1_epi8(1);
  for (int i = 0; i < SUMS; i++) a[i] = _mm512_setzero_si512();
  for (int r = 0; r < ROUNDS; r++)
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++) a[i] = _mm512_dpbusd_epi32(a[i], x, x);
  for (int i = 0; i < SUMS; i++) sink += (uint64_t)a[i][0];
  return 2.0 * ROUNDS * SUMS * 64;
#else
  return 0;
#endif
}

// work is what the threads share.
static struct {
  int loop; // of names
  int parts;
  _Atomic int next, arrived, left;
  _Atomic uint64_t operations;
} work;
static int threads;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t called = PTHREAD_COND_INITIALIZER;
static int call;

static void part(int i) {
  const uint64_t *p = (const uint64_t *)(memory + i % (int)(BYTES / CLAIM) * CLAIM);
  switch (work.loop) {
  case 0: sink += sum1(p, CLAIM / 8); work.operations += CLAIM; break;
  case 1: sink += sum2(p, CLAIM / 8); work.operations += CLAIM; break;
  case 2: sink += ahead(p, CLAIM / 8, 2, 512, 0); work.operations += CLAIM; break;
  case 3: sink += ahead(p, CLAIM / 8, 4, 1024, 0); work.operations += CLAIM; break;
  case 4: sink += ahead(p, CLAIM / 8, 4, 640, 1536); work.operations += CLAIM; break;
  case 5: work.operations += (uint64_t)f32(); break;
  case 6: work.operations += (uint64_t)bf16(); break;
  default: work.operations += (uint64_t)int8();
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

// together waits, spinning, until all threads have come here, which they do
// twice in a call. The count is never set back: somebody may still look at it.
static void together(int times) {
  for (++work.arrived; work.arrived < (2 * (call - 1) + times) * threads;) {
  }
}

// share does it all once for warming and once timed, in step with the others.
static double share(void) {
  for (int i; (i = work.next++) < work.parts;) part(i);
  together(1);
  double begin = now();
  // The first to go on sets the counters; nobody else goes on before.
  static _Atomic int ready;
  if (work.left++ == 0) {
    work.operations = 0;
    work.next = 0;
    ready = call;
  }
  while (ready != call) {
  }
  for (int i; (i = work.next++) < work.parts;) part(i);
  together(2);
  return now() - begin;
}

static void *member(void *unused) {
  for (int seen = 0;;) {
    pthread_mutex_lock(&mutex);
    while (call == seen) pthread_cond_wait(&called, &mutex);
    seen = call;
    pthread_mutex_unlock(&mutex);
    share();
  }
  return unused;
}

int main(int count, char **arguments) {
  static const char *names[] = {"read1", "read2", "ahead2", "ahead4", "far4", "f32", "bf16", "int8"};
  enum { READS = 5, NAMES = sizeof names / sizeof *names };
  threads = count > 1 ? atoi(arguments[1]) : 2;
#if defined __AMX_TILE__
  amx = syscall(SYS_arch_prctl, 0x1023, 18) == 0; // ARCH_REQ_XCOMP_PERM, XTILEDATA
#endif
  size_t huge = 2u << 20;
  memory = mmap(NULL, BYTES + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  memory += -(uintptr_t)memory & (huge - 1);
  madvise(memory, BYTES, MADV_HUGEPAGE);
  for (size_t i = 0; i < BYTES; i += 4096) *(uint32_t *)(memory + i) = i / 4096 + 1;
  for (int i = 1; i < threads; i++) {
    pthread_t t;
    pthread_create(&t, NULL, member, NULL);
  }
  char line[32];
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    int loop = 0;
    while (loop < NAMES && strcmp(line, names[loop])) loop++;
    if (loop == NAMES) return 2;
    pthread_mutex_lock(&mutex);
    work.loop = loop;
    work.parts = loop < READS ? BYTES / CLAIM : PARTS;
    work.next = work.left = 0;
    work.operations = 0;
    call++;
    pthread_cond_broadcast(&called);
    pthread_mutex_unlock(&mutex);
    double seconds = share();
    printf("%.3f\n", work.operations / seconds / 1e9);
    fflush(stdout);
  }
}
