package program

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// processes are all that can be seen here.
func processes() []Process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var list []Process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := processOf(pid); ok {
			list = append(list, p)
		}
	}
	return list
}

func processOf(pid int) (Process, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, false
	}
	open, shut := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return Process{}, false
	}
	fields := strings.Fields(string(text[shut+1:]))
	if len(fields) < 20 {
		return Process{}, false
	}
	parent, _ := strconv.Atoi(fields[1])
	return Process{
		PID: pid, Name: string(text[open+1 : shut]), parent: parent, start: fields[19], gone: fields[0] == "Z" || fields[0] == "X",
	}, true
}

func parentOf(pid int) int {
	p, _ := processOf(pid)
	return p.parent
}

// hasVariable reports whether a process was started with a NAME=VALUE.
func hasVariable(pid int, pair string) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && (bytes.HasPrefix(text, []byte(pair+"\x00")) || bytes.Contains(text, []byte("\x00"+pair+"\x00")))
}

// controlsJobs reports whether a process is a shell that controls jobs: such a one
// is not stopped itself by the key that stops them.
func controlsJobs(pid int) bool { return dispositionOf(pid, syscall.SIGTSTP) != byDefault }
