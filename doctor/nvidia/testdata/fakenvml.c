/* A libnvidia-ml.so.1 for tests: one small card of an old driver, in the state
 * that the environment variable FAKE_NVML names. What newer drivers export is
 * left out on purpose, so that a call to it would end the test. Signatures and
 * numbers are those of nvml.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int ret;
typedef void *dev;
typedef unsigned long long u64;
enum { OK = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, MISMATCH = 18, UNKNOWN = 999 };

static int is(const char *name) {
	const char *state = getenv("FAKE_NVML");
	return state && !strcmp(state, name);
}
static ret text(char *to, unsigned n, const char *from) { strncpy(to, from, n); return OK; }
#define SUPPORTED if (is("unsupported")) return NOT_SUPPORTED
#define PAIR(type, name, a, b) ret name(dev d, type *x, type *y) { SUPPORTED; *x = a; *y = b; return OK; }
#define ONE(name, value) ret name(dev d, unsigned *x) { SUPPORTED; *x = value; return OK; }
#define NEVER(name) ret name(dev d, ...) { return NOT_SUPPORTED; }

ret nvmlInit_v2(void) {
	if (is("no-driver")) return DRIVER_NOT_LOADED;
	if (is("mismatch")) return MISMATCH;
	if (is("no-permission")) return NO_PERMISSION;
	if (is("container")) return UNKNOWN;
	if (is("hang")) for (;;) pause();
	return OK;
}
ret nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(ret r) { return "fake"; }
ret nvmlSystemGetDriverVersion(char *s, unsigned n) { return text(s, n, "470.256.02"); }
ret nvmlSystemGetNVMLVersion(char *s, unsigned n) { return text(s, n, "11.535.183"); }
ret nvmlSystemGetCudaDriverVersion(int *v) { *v = 11040; return OK; }
ret nvmlDeviceGetCount_v2(unsigned *n) { *n = is("no-device") ? 0 : is("lost") ? 2 : 1; return OK; }
ret nvmlDeviceGetHandleByIndex_v2(unsigned i, dev *d) {
	if (i == 1) return GPU_IS_LOST;
	*d = (dev)16;
	return OK;
}
ret nvmlDeviceGetPciInfo_v3(dev d, char *p) { memset(p, 0, 68); strcpy(p + 36, "00000000:01:00.0"); return OK; }
ret nvmlDeviceGetName(dev d, char *s, unsigned n) { return text(s, n, is("unsupported") ? "NVIDIA GB10" : "NVIDIA GeForce GT 1030"); }
ret nvmlDeviceGetArchitecture(dev d, unsigned *a) { *a = is("unsupported") ? 10 : 4; return OK; }
PAIR(int, nvmlDeviceGetCudaComputeCapability, 6, 1)
ret nvmlDeviceGetMemoryInfo(dev d, u64 *m) {
	SUPPORTED;
	m[0] = 4096ull << 20, m[1] = 4054ull << 20, m[2] = 42ull << 20;
	if (d == (dev)32) m[0] = 1024ull << 20, m[1] = 1000ull << 20, m[2] = 24ull << 20;
	return OK;
}
ret nvmlDeviceGetBAR1MemoryInfo(dev d, u64 *m) { SUPPORTED; m[0] = 256ull << 20, m[1] = 254ull << 20, m[2] = 2ull << 20; return OK; }
NEVER(nvmlDeviceGetEccMode)
NEVER(nvmlDeviceGetTotalEccErrors)
NEVER(nvmlDeviceGetRetiredPagesPendingStatus)
ONE(nvmlDeviceGetPersistenceMode, 0)
ONE(nvmlDeviceGetDisplayActive, 1)
ONE(nvmlDeviceGetComputeMode, 0)
ONE(nvmlDeviceGetVirtualizationMode, 1)
ret nvmlDeviceGetMigMode(dev d, unsigned *now, unsigned *next) {
	if (!is("mig")) return NOT_SUPPORTED;
	*now = *next = 1;
	return OK;
}
ONE(nvmlDeviceGetMaxMigDeviceCount, 4)
ret nvmlDeviceGetMigDeviceHandleByIndex(dev d, unsigned i, dev *m) { if (i != 1) return NOT_FOUND; *m = (dev)32; return OK; }
ONE(nvmlDeviceGetGpuInstanceId, 5)
ONE(nvmlDeviceGetComputeInstanceId, 0)
ret nvmlDeviceGetAttributes_v2(dev d, unsigned *a) { memset(a, 0, 40); a[0] = 14; return OK; }
NEVER(nvmlDeviceGetPowerUsage)
ONE(nvmlDeviceGetEnforcedPowerLimit, 30000)
ret nvmlDeviceGetTemperature(dev d, int sensor, unsigned *t) { SUPPORTED; *t = 39; return OK; }
ret nvmlDeviceGetClockInfo(dev d, int kind, unsigned *c) { SUPPORTED; *c = kind == 2 ? 405 : 135; return OK; }
ret nvmlDeviceGetMaxClockInfo(dev d, int kind, unsigned *c) { SUPPORTED; *c = kind == 2 ? 3004 : 1911; return OK; }
ret nvmlDeviceGetCurrentClocksThrottleReasons(dev d, u64 *bits) { SUPPORTED; *bits = 1; return OK; }
ONE(nvmlDeviceGetCurrPcieLinkGeneration, 1)
ONE(nvmlDeviceGetMaxPcieLinkGeneration, 3)
ONE(nvmlDeviceGetCurrPcieLinkWidth, 4)
ONE(nvmlDeviceGetMaxPcieLinkWidth, 4)
PAIR(unsigned, nvmlDeviceGetUtilizationRates_pair, 0, 1)
ret nvmlDeviceGetUtilizationRates(dev d, unsigned *u) { return nvmlDeviceGetUtilizationRates_pair(d, u, u + 1); }
ret nvmlDeviceGetComputeRunningProcesses(dev d, unsigned *n, void *p) { SUPPORTED; *n = 0; return OK; }
ret nvmlDeviceGetGraphicsRunningProcesses(dev d, unsigned *n, void *p) { SUPPORTED; *n = 0; return OK; }
