/* A libcuda.so.1 for tests: one device whose memory is the host's, in the
 * state that the environment variable FAKE_CUDA names. Signatures and numbers
 * are those of cuda.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int ret;
typedef unsigned long long u64;
enum { OK = 0, INVALID = 1, NO_MEMORY = 2, STUB = 34, UNAVAILABLE = 46, NO_DEVICE = 100, INVALID_CONTEXT = 201, ILLEGAL_ADDRESS = 700 };

static u64 total = 64 << 20, used;
static __thread int current; /* as in the driver: of the thread */
static int retained;

static int is(const char *name) {
	const char *state = getenv("FAKE_CUDA");
	return state && !strcmp(state, name);
}
#define NEEDS_CONTEXT if (!current) return INVALID_CONTEXT

ret cuInit(unsigned flags) {
	if (is("hang")) for (;;) pause();
	return is("stub") ? STUB : is("no-device") ? NO_DEVICE : OK;
}
ret cuDriverGetVersion(int *v) { *v = 12040; return OK; }
ret cuGetErrorName(ret r, const char **name) {
	switch (r) {
	case NO_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return OK;
	case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; return OK;
	}
	*name = 0;
	return INVALID;
}
ret cuDeviceGetCount(int *n) { *n = 1; return OK; }
ret cuDeviceGet(int *d, int i) { *d = i; return i ? 101 : OK; }
ret cuDeviceGetName(char *s, int n, int d) { strncpy(s, "Fake GPU", n); return OK; }
ret cuDeviceGetAttribute(int *v, int a, int d) {
	*v = a == 75 ? 9 : a == 76 ? 0 : a == 33 ? 0x19 : 0;
	return OK;
}
ret cuDevicePrimaryCtxRetain(void **c, int d) {
	if (is("exclusive")) return UNAVAILABLE;
	retained++;
	*c = &retained;
	return OK;
}
ret cuDevicePrimaryCtxRelease_v2(int d) { return --retained < 0 ? INVALID : OK; }
ret cuCtxSetCurrent(void *c) { current = c == &retained; return OK; }
ret cuCtxSynchronize(void) { NEEDS_CONTEXT; return OK; }
ret cuMemGetInfo_v2(u64 *f, u64 *t) {
	NEEDS_CONTEXT;
	*f = is("full") ? 0 : is("deep") || is("liar") ? 320u << 20 : total - used;
	*t = total;
	return OK;
}
ret cuMemAlloc_v2(u64 *p, u64 n) {
	NEEDS_CONTEXT;
	if (is("liar") || n > total - used) return NO_MEMORY;
	u64 *m = malloc(n + 16);
	*m = n;
	used += n;
	*p = (u64)(m + 2);
	return OK;
}
ret cuMemFree_v2(u64 p) { NEEDS_CONTEXT; u64 *m = (u64 *)p - 2; used -= *m; free(m); return OK; }
ret cuMemcpyHtoD_v2(u64 to, const void *from, u64 n) {
	NEEDS_CONTEXT;
	if (is("dying")) return ILLEGAL_ADDRESS;
	memcpy((void *)to, from, n);
	return OK;
}
ret cuMemcpyDtoH_v2(void *to, u64 from, u64 n) {
	NEEDS_CONTEXT;
	if (is("lazy")) return OK; /* copies nothing */
	memcpy(to, (void *)from, n);
	if (is("bad-bit") && n > 1234567) ((char *)to)[1234567] ^= 4;
	return OK;
}
ret cuMemsetD8_v2(u64 to, unsigned char v, u64 n) { NEEDS_CONTEXT; memset((void *)to, v, n); return OK; }
