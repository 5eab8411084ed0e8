package program

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxThreads is how many threads of a process are asked for their children.
const maxThreads = 64

// family are a process and what it has started, as far as that still runs, at most
// so many, and how many files were read to learn that.
func family(root, most int) (list []int, reads int) {
	list = []int{root}
	for at := 0; at < len(list); at++ {
		tasks := "/proc/" + strconv.Itoa(list[at]) + "/task"
		dir, err := os.Open(tasks)
		if err != nil {
			continue
		}
		threads, _ := dir.Readdirnames(maxThreads)
		dir.Close()
		reads += len(threads)
		for _, thread := range threads {
			text, err := os.ReadFile(tasks + "/" + thread + "/children")
			if err != nil {
				continue
			}
			for child := range strings.FieldsSeq(string(text)) {
				if pid, err := strconv.Atoi(child); err == nil && len(list) < most {
					list = append(list, pid)
				}
			}
		}
	}
	return list, reads
}

// imageOf tells what a process executes from what it executed before: the place of
// its stack, which the kernel chooses anew, and when it started.
func imageOf(pid int) (uint64, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // from field 3 on
	if len(fields) < 26 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, false
	}
	started, err := strconv.ParseUint(string(fields[22-3]), 10, 64)
	stack, errStack := strconv.ParseUint(string(fields[28-3]), 10, 64)
	return stack ^ started<<48 ^ 1, err == nil && errStack == nil
}

// startedAs is what a process was started as.
func startedAs(pid int) (p process, ok bool) {
	proc := "/proc/" + strconv.Itoa(pid) + "/"
	file, err := os.Readlink(proc + "exe")
	if err != nil {
		return p, false
	}
	p.file = file
	if !isPython(file) {
		return p, true
	}
	args, err := os.ReadFile(proc + "cmdline")
	if err != nil || len(args) == 0 {
		return p, false
	}
	env, err := os.ReadFile(proc + "environ")
	if err != nil {
		return p, false
	}
	p.args, p.env = texts(args), texts(env)
	p.dir, _ = os.Readlink(proc + "cwd")
	if !filepath.IsAbs(p.dir) {
		p.dir = ""
	}
	return p, true
}

// texts are texts that end in NUL each.
func texts(b []byte) []string {
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00")
}
