// Package dying has the ways in which a process ends that no Go code can catch,
// for the tests of what becomes of its run.
package dying

/*
#include "dying.h"
*/
import "C"

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

// Ways are the names that Now knows.
var Ways = []string{"abort", "fault", "far thread", "many threads", "terminate", "panic", "concurrency", "stack", "no thread", "memory"}

// Now ends the process in one of the Ways.
func Now(how string) {
	switch how {
	case "abort":
		C.dying_abort()
	case "fault":
		C.dying_fault()
	case "far thread":
		C.dying_in_a_thread()
	case "many threads":
		C.dying_in_many_threads()
	case "terminate":
		C.dying_by_exception()
	case "panic":
		go panic("boom")
	case "concurrency":
		m := map[int]int{}
		for range 4 {
			go func() {
				for i := 0; ; i++ {
					m[i&7] = i
				}
			}()
		}
	case "stack":
		debug.SetMaxStack(1 << 20)
		_ = deep(1)
	case "no thread":
		// Root is let through, so another user is.
		limit := syscall.Rlimit{Cur: 40, Max: 40}
		if os.Getuid() == 0 {
			_ = syscall.Setuid(54321)
		}
		_ = syscall.Setrlimit(6, &limit) // RLIMIT_NPROC
		for {
			go func() {
				runtime.LockOSThread()
				select {}
			}()
			time.Sleep(time.Millisecond)
		}
	case "memory":
		var now int64
		text, _ := os.ReadFile("/proc/self/statm")
		for i, c := range text {
			if c == ' ' {
				now, _ = strconv.ParseInt(string(text[:i]), 10, 64)
				break
			}
		}
		room := uint64(now*int64(os.Getpagesize())) + 8<<20
		_ = syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: room, Max: room + 4<<30})
		var kept [][]byte
		for {
			kept = append(kept, make([]byte, 1<<20))
			kept[len(kept)-1][0] = byte(len(kept))
		}
	}
	time.Sleep(30 * time.Second)
}

//go:noinline
func deep(n int) int {
	if n < 0 {
		return 0
	}
	return deep(n+1) + n
}
