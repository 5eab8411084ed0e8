#include "nvml.h"

#include <dlfcn.h>
#include <stddef.h>

static struct {
	int (*init)(void);
	int (*shutdown)(void);
	int (*driver)(char *, unsigned int);
	int (*count)(unsigned int *);
	int (*device)(unsigned int, void **);
	int (*name)(void *, char *, unsigned int);
	int (*uuid)(void *, char *, unsigned int);
	int (*memory)(void *, quant_nvml_memory *);
	int (*utilization)(void *, unsigned int[2]);
	int (*processes)(void *, unsigned int *, quant_nvml_process *);
} lib;

int quant_nvml_open(void) {
	void *h = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (h == NULL) return 1;
	struct {
		void **to;
		const char *name;
	} wanted[] = {
		{(void **)&lib.init, "nvmlInit_v2"},
		{(void **)&lib.shutdown, "nvmlShutdown"},
		{(void **)&lib.driver, "nvmlSystemGetDriverVersion"},
		{(void **)&lib.count, "nvmlDeviceGetCount_v2"},
		{(void **)&lib.device, "nvmlDeviceGetHandleByIndex_v2"},
		{(void **)&lib.name, "nvmlDeviceGetName"},
		{(void **)&lib.uuid, "nvmlDeviceGetUUID"},
		{(void **)&lib.memory, "nvmlDeviceGetMemoryInfo"},
		{(void **)&lib.utilization, "nvmlDeviceGetUtilizationRates"},
		{(void **)&lib.processes, "nvmlDeviceGetComputeRunningProcesses_v3"},
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		*wanted[i].to = dlsym(h, wanted[i].name);
		if (*wanted[i].to == NULL) return 1;
	}
	return 0;
}

int quant_nvml_init(void) { return lib.init(); }
int quant_nvml_shutdown(void) { return lib.shutdown(); }
int quant_nvml_driver(char *text, unsigned int size) { return lib.driver(text, size); }
int quant_nvml_count(unsigned int *n) { return lib.count(n); }
int quant_nvml_device(unsigned int i, void **device) { return lib.device(i, device); }
int quant_nvml_name(void *device, char *text, unsigned int size) { return lib.name(device, text, size); }
int quant_nvml_uuid(void *device, char *text, unsigned int size) { return lib.uuid(device, text, size); }
int quant_nvml_memory_of(void *device, quant_nvml_memory *m) { return lib.memory(device, m); }

int quant_nvml_utilization(void *device, unsigned int *gpu) {
	unsigned int rates[2] = {0, 0};
	int status = lib.utilization(device, rates);
	*gpu = rates[0];
	return status;
}

int quant_nvml_processes(void *device, unsigned int *n, quant_nvml_process *list) {
	return lib.processes(device, n, list);
}
