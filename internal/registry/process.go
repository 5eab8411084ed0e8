package registry

import (
	"os"
	"os/user"
	"strconv"

	"quant"
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
	p.Start, _ = processStart(p.PID)
	p.WorkDir, _ = os.Getwd()
	if u, err := user.Current(); err == nil {
		p.User = u.Username
	} else {
		p.User = strconv.Itoa(os.Getuid())
	}
	return p
}

func (p *Process) row(runID string, changes bool) quant.RunProcess {
	return quant.RunProcess{
		RunID: runID, Changes: changes,
		Host: quant.Text(p.Host), User: quant.Text(p.User),
		MachineID: quant.Text(p.MachineID), BootID: quant.Text(p.BootID),
		PID: int64(p.PID), ProcessStart: quant.Text(p.Start), WorkDir: quant.Text(p.WorkDir),
	}
}
