// Package crash is what a process still does that cannot go on: a fatal error of
// the Go runtime, an abort or a memory fault in a C or C++ library, a thread that
// cannot be started. It says in one line what happened, and starts the program
// anew in the same process (execve), so that a sound image closes the record. It
// does nothing until then, and owns no record itself.
//
// What it cannot do: before C's constructors have run nothing is caught, nor is
// SIGKILL, which the kernel sends when memory has run out. Outside Linux the
// runtime's own errors print their trace as ever.
package crash

/*
#include <stdlib.h>
#include "crash.h"
*/
import "C"

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SuccessorArg is the first argument of the image that closes the record.
const SuccessorArg = "quant-internal-after-a-crash"

// maxArgs is how many arguments a successor is told at most; who has more, closes
// no record: the next command does.
const maxArgs = 200

var mu sync.Mutex

// Arm makes the process end in one line. args, a command line, and the id of its
// run, "" while there is none, are what the successor is told; a later call
// replaces them. It is cheap, and for any goroutine. Without Arm, after Disarm, and
// with the race detector a crash is as Go and C make it.
func Arm(args []string, runID string) {
	if raceDetector {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	self, err := executable()
	if err != nil || len(args) > maxArgs {
		self, args = "", nil
	}
	argv := append([]string{"quant", SuccessorArg, runID}, args...)
	list := C.malloc(C.size_t(len(argv)+5) * C.size_t(unsafe.Sizeof(uintptr(0))))
	slots := unsafe.Slice((**C.char)(list), len(argv)+5)
	// Between the run and the command line stand what happened, and the stderr.
	for i, a := range argv[:3] {
		slots[i] = C.CString(a)
	}
	slots[3], slots[4] = nil, nil
	for i, a := range argv[3:] {
		slots[5+i] = C.CString(a)
	}
	slots[len(argv)+2] = nil
	// What an earlier call gave is left where it is: a crash may be reading it.
	C.quant_crash_arm(C.CString(self), (**C.char)(list))
	watchRuntime()
}

// Disarm lets a crash print what it prints.
func Disarm() {
	mu.Lock()
	defer mu.Unlock()
	C.quant_crash_disarm()
}

// Successor is what an image is told that was started after a crash.
type Successor struct {
	RunID string
	What  string   // in one line
	Args  []string // the command line that crashed
}

// Ended tells that the record is closed and all is said: what crashes on the way
// out changes neither; the process ends with this status.
func Ended(status int) {
	mu.Lock()
	defer mu.Unlock()
	C.quant_crash_ended(C.int(status))
}

// Succeed reads the arguments of an image whose first one is SuccessorArg, and
// gives it its stderr back.
func Succeed(args []string) (Successor, error) {
	if len(args) < 4 || args[0] != SuccessorArg {
		return Successor{}, errors.New("this is not a command: it is started after a crash only")
	}
	// Until now nothing that this image had to say would have been of use.
	if fd, err := strconv.Atoi(args[3]); err == nil && fd > 2 {
		if err := duplicate(fd, 2); err == nil {
			_ = unix.Close(fd)
		}
	}
	return Successor{RunID: args[1], What: strings.ToValidUTF8(args[2], "?"), Args: args[4:]}, nil
}

func executable() (string, error) {
	if _, err := os.Stat("/proc/self/exe"); err == nil {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}
