package exec

import (
	"fmt"
	"strings"
	"time"

	"quant"
	"quant/internal/exec/program"
)

// aboutPython is what is recorded of an interpreter in a program's environment.
type aboutPython struct {
	Executable string `json:"executable"`
	Version    string `json:"version"`
	Prefix     string `json:"prefix,omitempty"`   // its virtual environment, or its own folder
	Packages   string `json:"packages,omitempty"` // the artifact with them; "": it has none
	// Seen tells that a process of the program was one; else it is taken from the
	// command line.
	Seen bool `json:"seen"`
}

// maxPythons is how many interpreters of a program are recorded.
const maxPythons = 4

func keyOf(i program.Interpreter) string {
	return i.Path + "\x00" + valueOf(i.Env, "PYTHONPATH") + "\x00" + valueOf(i.Env, "PYTHONHOME")
}

// ask asks an interpreter, beside the program, for its packages.
func (i *inspection) ask(python program.Interpreter) chan answer {
	i.askedMu.Lock()
	defer i.askedMu.Unlock()
	key := keyOf(python)
	to, asked := i.asked[key]
	if !asked {
		to = make(chan answer, 1)
		i.asked[key] = to
		go func() {
			p, err := i.memory.Ask(i.ctx, python)
			to <- answer{p, err}
		}()
	}
	return to
}

// finishPython records the packages of the Pythons that the program ran: of its
// own as python, of others that it ran beside as python_also. Where none was seen
// though the command line has one, a note says so.
func (i *inspection) finishPython(about map[string]any, late <-chan time.Time) {
	list, seen := i.ended(), true
	if len(list) == 0 {
		seen = false
		var note string
		if list, note = i.guessed(); note != "" {
			i.note(note)
		}
	}
	also := []aboutPython{}
	prefixes := map[string]bool{}
	n := 0
	for _, python := range list {
		if n == maxPythons {
			i.note(fmt.Sprintf("packages not kept: the program ran more than %d Pythons, %s is another", maxPythons, python.Path))
			break
		}
		var got answer
		select {
		case got = <-i.ask(python):
		case <-late:
			got.err = quant.Errorf(quant.Failed, "it took too long")
			late = closed()
		}
		if got.err != nil {
			i.note("packages not kept: " + got.err.Error())
			continue
		}
		of := keyOf(program.Interpreter{Path: got.python.Executable + "\x00" + got.python.Prefix, Env: python.Env})
		if prefixes[of] {
			continue
		}
		prefixes[of] = true
		n++
		record := aboutPython{Executable: got.python.Executable, Version: got.python.Version, Prefix: got.python.Prefix, Seen: seen}
		if len(got.python.Packages) > 0 {
			record.Packages = quant.PythonPackages
			if n > 1 {
				record.Packages = strings.Replace(quant.PythonPackages, ".", fmt.Sprintf("-%d.", n), 1)
			}
			text := i.session.Mask.Known(strings.Join(got.python.Packages, "\n") + "\n")
			if err := i.store(record.Packages, []byte(text)); err != nil {
				i.note("packages not kept: " + err.Error())
				record.Packages = ""
			}
		}
		if n == 1 {
			about["python"] = record
		} else {
			also = append(also, record)
		}
	}
	if len(also) > 0 {
		about["python_also"] = also
	}
}

// guessed is the Python that the command line names, where no process was seen,
// and what is to be said about it.
func (i *inspection) guessed() (list []program.Interpreter, note string) {
	pathVar := valueOf(i.environ, "PATH")
	if own := program.PythonOf(i.path, pathVar); own != "" && !program.IsLauncher(i.path) {
		return []program.Interpreter{{Path: own, Env: i.environ}}, ""
	}
	word, named := program.Mentioned(i.argv)
	for _, arg := range i.argv { // env PATH=... python3
		if value, found := strings.CutPrefix(arg, "PATH="); found && named {
			pathVar = value
		}
	}
	switch {
	case word == "":
		if word = program.NamedIn(i.path); word == "" {
			return nil, ""
		}
	case named:
		if found, err := program.Find(word, pathVar); err == nil {
			return []program.Interpreter{{Path: found, Env: i.environ}},
				fmt.Sprintf("no Python process of the program was seen: the packages are those of %s, which the command line names", found)
		}
	}
	return nil, fmt.Sprintf("packages not kept: no Python process of %s was seen", word)
}
