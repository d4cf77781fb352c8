//go:build linux && cgo && amd64

#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

enum { NVML_ERROR_FUNCTION_NOT_FOUND = 13 };

static int missing(void) { return NVML_ERROR_FUNCTION_NOT_FOUND; }
static const char *no_words(void) { return "unknown error"; }

/* Looked up at every call: the library may have been closed and opened again. */
__attribute__((visibility("hidden"))) void *gptctl_nvml_find(const char *name) {
	void *f = dlsym(RTLD_DEFAULT, name);
	if (f)
		return f;
	return strcmp(name, "nvmlErrorString") ? (void *)missing : (void *)no_words;
}
