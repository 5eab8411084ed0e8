// The functions of NVIDIA's management library that are used, loaded where it is.
// Types are those of nvml.h 12, whose layout has been the same since 11.
#ifndef QUANT_NVML_H
#define QUANT_NVML_H

typedef struct {
	unsigned long long total, free, used;
} quant_nvml_memory;

typedef struct {
	unsigned int pid;
	unsigned long long used;
	unsigned int gpu_instance, compute_instance;
} quant_nvml_process;

// 0: the library is open. Else it is not there, or lacks a function.
int quant_nvml_open(void);
int quant_nvml_init(void);
int quant_nvml_shutdown(void);
int quant_nvml_driver(char *text, unsigned int size);
int quant_nvml_count(unsigned int *n);
int quant_nvml_device(unsigned int i, void **device);
int quant_nvml_name(void *device, char *text, unsigned int size);
int quant_nvml_uuid(void *device, char *text, unsigned int size);
int quant_nvml_memory_of(void *device, quant_nvml_memory *m);
int quant_nvml_utilization(void *device, unsigned int *gpu);
int quant_nvml_processes(void *device, unsigned int *n, quant_nvml_process *list);

#endif
