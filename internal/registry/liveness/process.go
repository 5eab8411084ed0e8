package liveness

import (
	"os"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"quant/internal/process"
)

// Process identifies one process for ever: on this machine, in this boot, this
// pid that started at this moment. A pid alone would be used again.
type Process struct {
	Host      string
	User      string
	MachineID string
	BootID    string
	PID       int
	Start     string // opaque: what the kernel says of when the process started, untouched by the wall clock
	Argv      []string
	WorkDir   string
}

// ThisProcess reads the identity of this process. What the system does not
// tell stays empty.
func ThisProcess() *Process {
	p := &Process{PID: os.Getpid(), Argv: os.Args, MachineID: machineID(), BootID: bootID()}
	p.Host, _ = os.Hostname()
	if p.MachineID == "" && p.Host != "" {
		p.MachineID = "host:" + p.Host
	}
	p.Start, _ = process.StartOf(p.PID)
	p.WorkDir, _ = os.Getwd()
	if u, err := user.Current(); err == nil {
		p.User = u.Username
	} else {
		p.User = strconv.Itoa(os.Getuid())
	}
	return p
}

func clock(id int32) time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(id, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
