package crash

// #include "crash.h"
import "C"

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func duplicate(from, to int) error { return unix.Dup3(from, to, 0) }

// overrideWrite is the runtime's own place for a function that takes what it
// writes: it is meant to be linked to.
//
//go:linkname overrideWrite runtime.overrideWrite
var overrideWrite func(fd uintptr, p unsafe.Pointer, n int32) int32

// said is the line that the runtime is writing, in pieces. Only one thread of a
// process that crashes writes.
var said struct {
	text   [512]byte
	length int
	to     *[512]byte // what C says
	armed  *int32
}

// watchRuntime takes what the runtime writes: it writes nothing but its last
// words.
func watchRuntime() {
	if overrideWrite != nil {
		return
	}
	said.to = (*[512]byte)(unsafe.Pointer(&C.quant_crash_line))
	said.armed = (*int32)(unsafe.Pointer(&C.quant_crash_armed))
	overrideWrite = runtimeWrites
}

// runtimeWrites runs while the runtime dies, on a stack that does not grow: no
// allocation, no lock, no call that the runtime would have to know of.
//
//go:nosplit
func runtimeWrites(fd uintptr, p unsafe.Pointer, n int32) int32 {
	if fd != 2 || *said.armed == 0 {
		written, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(p), uintptr(n))
		if errno != 0 {
			return -int32(errno)
		}
		return int32(written)
	}
	for i := int32(0); i < n; i++ {
		c := *(*byte)(unsafe.Add(p, i))
		if c != '\n' {
			if said.length < len(said.text)-1 {
				said.text[said.length] = c
				said.length++
			}
			continue
		}
		if begins("fatal error: ") || begins("panic: ") || begins("SIG") {
			for k := 0; k < said.length; k++ {
				said.to[k] = said.text[k]
			}
			end()
		}
		said.length = 0
	}
	return n
}

//go:nosplit
func begins(with string) bool {
	if said.length < len(with) {
		return false
	}
	for i := 0; i < len(with); i++ {
		if said.text[i] != with[i] {
			return false
		}
	}
	return true
}

// end lets C's handler of SIGABRT end the process, on this thread and now.
//
//go:nosplit
func end() {
	var none uint64
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 2, uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0) // 2: SIG_SETMASK
	pid, _, _ := syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
	thread, _, _ := syscall.RawSyscall(syscall.SYS_GETTID, 0, 0, 0)
	_, _, _ = syscall.RawSyscall(syscall.SYS_TGKILL, pid, thread, uintptr(syscall.SIGABRT))
}
