package record

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"quant/internal/test/labtest"
)

// bashWords stands for the package bash-completion, which splits the line; a
// test must not depend on whether it is installed. Like that one it takes : and
// = as parts of a word.
const bashWords = `
_get_comp_words_by_ref() {
	local line="${COMP_LINE:0:COMP_POINT}"
	read -r -a words <<< "$line"
	[[ "$line" == *' ' ]] && words+=("")
	cword=$((${#words[@]} - 1)); cur="${words[cword]}"; prev="${words[cword-1]}"
}
__ltrim_colon_completions() {
	[[ "$1" == *:* ]] || return
	local head="${1%"${1##*:}"}" i
	for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]="${COMPREPLY[i]#"$head"}"; done
}
PS1='$ '
`

// TestBashCompletesRunsAndKinds presses the tabulator in a real bash on a
// terminal.
func TestBashCompletesRunsAndKinds(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	l := labtest.New(t)
	l.Must("symbols", "add", "AAPL")
	id := l.RunOf("symbols.add").ID
	script := l.Must("completion", "bash").Stdout
	l.Write("rc", []byte(bashWords+script))
	before := len(l.Runs())
	for _, tt := range []struct{ typed, shows string }{
		{"quant runs show " + id[28:32] + "\t", "quant runs show " + id[28:] + " "},
		{"quant runs show last:sym\t", "quant runs show last:symbols.add "},
		{"quant runs list --kind sym\t", "quant runs list --kind symbols.add "},
		{"quant runs search dur\t", "quant runs search duration"},
	} {
		cmd := l.Command()
		cmd.Path = bash
		cmd.Args = []string{"bash", "--noprofile", "--rcfile", l.Path("rc"), "-i"}
		cmd.Env = append(cmd.Env, "TERM=dumb", "PATH="+os.Getenv("PATH"))
		master, slave, err := pty.Open()
		labtest.Must(t, err)
		labtest.Must(t, pty.Setsize(master, &pty.Winsize{Rows: 40, Cols: 120}))
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		labtest.Must(t, cmd.Start())
		labtest.Must(t, slave.Close())
		screen := &labtest.Stream{}
		go func() { _, _ = io.Copy(screen, master) }()
		l.Eventually("bash is ready", func() bool { return strings.Contains(screen.String(), "$ ") })
		_, err = master.WriteString(tt.typed)
		labtest.Must(t, err)
		l.Eventually("bash shows "+tt.shows, func() bool { return strings.Contains(screen.String(), tt.shows) })
		labtest.Must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		_ = master.Close()
	}
	if after := len(l.Runs()); after != before {
		t.Errorf("completion recorded %d runs", after-before)
	}
}
