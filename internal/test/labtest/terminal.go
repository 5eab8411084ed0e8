package labtest

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// Terminal is a quant with a terminal as all three of its streams.
type Terminal struct {
	*Process
	Screen  *Stream       // all that was written
	TTY     *os.File      // the side of the person who sits there
	drained chan struct{} // closed when all that was written is on the screen
}

// OnTerminal starts quant on a terminal of 40 lines of 120 columns; it is killed
// when the test ends.
func (l *Lab) OnTerminal(env []string, args ...string) *Terminal {
	l.T.Helper()
	cmd := l.Command(args...)
	cmd.Env = append(cmd.Env, env...)
	return l.StartOnTerminal(cmd)
}

// StartOnTerminal starts a Command that the caller has changed, on such a
// terminal; it is killed when the test ends.
func (l *Lab) StartOnTerminal(cmd *exec.Cmd) *Terminal {
	l.T.Helper()
	cmd.Env = append(cmd.Env, "TERM=xterm")
	master, slave, err := pty.Open()
	Must(l.T, err)
	Must(l.T, pty.Setsize(master, &pty.Winsize{Rows: 40, Cols: 120}))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	o := &Terminal{Screen: &Stream{}, drained: make(chan struct{}), TTY: master}
	o.Process = l.StartCmd(cmd)
	Must(l.T, slave.Close())
	go func() {
		_, _ = io.Copy(o.Screen, master) // ends with EIO once the process has closed the terminal
		close(o.drained)
	}()
	l.T.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-o.Done
		_ = master.Close()
		<-o.drained
	})
	return o
}

// WaitFor waits until the screen shows a text.
func (o *Terminal) WaitFor(text string) {
	o.lab.T.Helper()
	o.lab.Eventually("the terminal shows "+text, func() bool { return strings.Contains(o.Screen.String(), text) })
}

// Typing sends keys.
func (o *Terminal) Typing(text string) {
	o.lab.T.Helper()
	_, err := o.TTY.WriteString(text)
	Must(o.lab.T, err)
}

// End waits for the process and for all that it wrote, which it returns; the
// process must exit with code.
func (o *Terminal) End(code int) string {
	o.lab.T.Helper()
	r := o.Wait()
	select {
	case <-o.drained:
	case <-time.After(patience):
		o.lab.T.Fatalf("the terminal is still open\n%s", o.Screen)
	}
	if r.Code != code {
		o.lab.T.Fatalf("want exit status %d, got %d\n%s", code, r.Code, o.Screen)
	}
	return o.Screen.String()
}
