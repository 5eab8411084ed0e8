package program

import (
	"os"
	"syscall"

	"quant/internal/process"
)

// KillMarked ends all processes of this machine that were started with a NAME=VALUE, and
// returns how many. What may not be ended is left.
func KillMarked(mark string) int {
	s, killed := session{Command: Command{Mark: mark}}, map[process.Process]bool{}
	for range 3 { // what is killed may have started another one meanwhile
		left := s.left(false)
		for _, p := range left {
			if start, exists := process.StartOf(p.PID); exists && start == p.Start && syscall.Kill(p.PID, syscall.SIGKILL) == nil {
				killed[p] = true
			}
		}
		if len(left) == 0 {
			break
		}
	}
	return len(killed)
}

// kill ends what a program that was started Apart has left running: its session, and
// what carries its mark though it went elsewhere.
func (s *session) kill() {
	_ = syscall.Kill(-s.pid, syscall.SIGKILL)
	if s.Mark == "" && len(s.family) == 0 {
		return // nothing else could be known as its own: not all processes are looked at
	}
	for range 3 { // what is killed may have started another one meanwhile
		left := s.left(false)
		for _, p := range left {
			if start, exists := process.StartOf(p.PID); exists && start == p.Start && p.PID != os.Getpid() {
				_ = syscall.Kill(p.PID, syscall.SIGKILL)
			}
		}
		if len(left) == 0 {
			return
		}
	}
}
