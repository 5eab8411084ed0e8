/* A stand-in for libnvidia-ml.so.1: one accelerator, which computes 42 % of the time
 * and of whose memory each process that this one started holds 2 GiB and a context. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } process;
static const unsigned long long held = 2566ull << 20;
static int begun;

int nvmlInit_v2(void) { begun = 1; return 0; }
int nvmlShutdown(void) { begun = 0; return 0; }
int nvmlSystemGetDriverVersion(char *t, unsigned n) { snprintf(t, n, "580.00.1"); return begun ? 0 : 1; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return begun ? 0 : 1; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { *d = &begun; return i == 0 ? 0 : 2; }
int nvmlDeviceGetName(void *d, char *t, unsigned n) { (void)d; snprintf(t, n, "NVIDIA Stand-in"); return 0; }
int nvmlDeviceGetUUID(void *d, char *t, unsigned n) { (void)d; snprintf(t, n, "GPU-0"); return 0; }
int nvmlDeviceGetMemoryInfo(void *d, memory *m) { (void)d; m->total = 140ull << 30; m->used = 3ull << 30; m->free = m->total - m->used; return 0; }
int nvmlDeviceGetUtilizationRates(void *d, unsigned *r) { (void)d; r[0] = 42; r[1] = 7; return 0; }

int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, process *list) {
	unsigned found = 0;
	DIR *proc = opendir("/proc");
	struct dirent *e;
	(void)d;
	while (proc != NULL && (e = readdir(proc)) != NULL) {
		char path[300], name[100];
		int pid = atoi(e->d_name), parent = 0;
		if (pid <= 0) continue;
		snprintf(path, sizeof path, "/proc/%d/stat", pid);
		FILE *f = fopen(path, "r");
		if (f == NULL) continue;
		int read = fscanf(f, "%*d (%99[^)]) %*c %d", name, &parent);
		fclose(f);
		if (read == 2 && parent == getpid() && found < *n) list[found++] = (process){(unsigned)pid, held, ~0u, ~0u};
	}
	if (proc != NULL) closedir(proc);
	*n = found;
	return 0;
}
