// Package nvml asks NVIDIA's management library about the accelerators of this machine.
// The library belongs to the driver; it is loaded when Open is called, and where it is
// not there, there are no accelerators. Nothing is done at import.
package nvml

/*
#cgo linux LDFLAGS: -ldl
#include "nvml.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"
)

// Device is an accelerator.
type Device struct {
	Index  int    `json:"index"` // as CUDA counts them where CUDA_VISIBLE_DEVICES says nothing
	Name   string `json:"name"`
	UUID   string `json:"uuid"`
	Driver string `json:"driver"`
	Memory int64  `json:"memory_bytes"`

	handle unsafe.Pointer
}

// Reading is what a Device does at one moment.
type Reading struct {
	Utilization float64 // share of the last sample period, some tens of milliseconds to a second, in which it computed; decimal
	Used        int64   // bytes of its memory that are taken, by whomever
	// ByProcess is what processes hold, their contexts included, by pid. It may be empty
	// in a container, where the driver knows other pids.
	ByProcess map[int]int64
}

// ErrNone says that there is no library, or no accelerator.
var ErrNone = errors.New("there is no accelerator that NVML knows")

// library opens the library once for the process.
var library = sync.OnceValue(func() bool { return C.quant_nvml_open() == 0 })

// Devices are the accelerators, until Close. For one goroutine.
type Devices struct{ List []Device }

// Open finds the accelerators. ErrNone: there are none; other errors: the library's.
func Open() (*Devices, error) {
	if !library() {
		return nil, ErrNone
	}
	if err := status("start", C.quant_nvml_init()); err != nil {
		return nil, err
	}
	d := &Devices{}
	if err := d.find(); err != nil || len(d.List) == 0 {
		d.Close()
		return nil, errors.Join(ErrNone, err)
	}
	return d, nil
}

func (d *Devices) find() error {
	var n C.uint
	if err := status("count the accelerators", C.quant_nvml_count(&n)); err != nil {
		return err
	}
	driver, err := text(func(at *C.char, size C.uint) C.int { return C.quant_nvml_driver(at, size) })
	if err != nil {
		return err
	}
	for i := range n {
		one := Device{Index: int(i), Driver: driver}
		if err := status("open an accelerator", C.quant_nvml_device(i, &one.handle)); err != nil {
			return err
		}
		if one.Name, err = text(func(at *C.char, size C.uint) C.int { return C.quant_nvml_name(one.handle, at, size) }); err != nil {
			return err
		}
		if one.UUID, err = text(func(at *C.char, size C.uint) C.int { return C.quant_nvml_uuid(one.handle, at, size) }); err != nil {
			return err
		}
		var m C.quant_nvml_memory
		if err := status("read an accelerator's memory", C.quant_nvml_memory_of(one.handle, &m)); err != nil {
			return err
		}
		one.Memory = int64(m.total)
		d.List = append(d.List, one)
	}
	return nil
}

// most is of how many processes of an accelerator is told.
const most = 512

// unknown is what the driver says of memory that it does not tell.
const unknown = ^C.ulonglong(0)

// Read reads one of them. It takes some tens of microseconds.
func (d *Devices) Read(one Device) (Reading, error) {
	var r Reading
	var rate C.uint
	if err := status("read an accelerator's utilisation", C.quant_nvml_utilization(one.handle, &rate)); err != nil {
		return r, err
	}
	var m C.quant_nvml_memory
	if err := status("read an accelerator's memory", C.quant_nvml_memory_of(one.handle, &m)); err != nil {
		return r, err
	}
	r.Utilization, r.Used, r.ByProcess = float64(rate)/100, int64(m.used), map[int]int64{}
	var list [most]C.quant_nvml_process
	n := C.uint(most)
	if C.quant_nvml_processes(one.handle, &n, &list[0]) != 0 {
		return r, nil // some drivers tell it to root alone
	}
	for _, p := range list[:min(int(n), most)] {
		if p.used != unknown {
			r.ByProcess[int(p.pid)] += int64(p.used)
		}
	}
	return r, nil
}

// Close lets the library go.
func (d *Devices) Close() { C.quant_nvml_shutdown() }

func status(doing string, code C.int) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s: NVML status %d", doing, int(code))
}

func text(ask func(at *C.char, size C.uint) C.int) (string, error) {
	var b [96]C.char
	if err := status("read a name", ask(&b[0], C.uint(len(b)))); err != nil {
		return "", err
	}
	b[len(b)-1] = 0
	return C.GoString(&b[0]), nil
}
