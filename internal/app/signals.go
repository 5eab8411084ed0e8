package app

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/failpoint"
)

// patience is how long a command may take to stop after a signal. What cannot
// be interrupted (a statement that ignores its cancellation) is left behind
// then: the record is closed and the process exits.
const patience = 10 * time.Second

// ending knows why this process is about to end: a signal, or a stdout that is
// gone.
type ending struct {
	cancel  context.CancelCauseFunc
	signals chan os.Signal
	done    chan struct{}

	mu    sync.Mutex
	taker chan os.Signal // of a command that sees to signals itself
	cause error
	force []func(error) // one a run that is open, outermost first
}

// catchSignals makes SIGINT, SIGTERM, SIGHUP and SIGQUIT cancel the context with a cause
// of type quant.Signalled. A second signal, or a command that does not stop
// within patience, closes the record and ends the process at once. Signals
// that were ignored when the process started (nohup) stay ignored. SIGPIPE
// becomes an ordinary write error.
func catchSignals(ctx context.Context) (context.Context, *ending) {
	ctx, cancel := context.WithCancelCause(ctx)
	e := &ending{cancel: cancel, signals: make(chan os.Signal, 4), done: make(chan struct{})}
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) {
			signal.Notify(e.signals, s)
		}
	}
	// Caught, not ignored: an ignored signal would stay ignored in children.
	// SIGXFSZ, too, becomes a write error: a thread of DuckDB that gets it would
	// otherwise end the process.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGXFSZ)
	go e.watch()
	return ctx, e
}

func (e *ending) watch() {
	var late <-chan time.Time
	for {
		select {
		case <-e.done:
			return
		case s := <-e.signals:
			if e.taken(s) {
				continue
			}
			n := s.(syscall.Signal)
			cause := quant.Signalled{Number: int(n), Name: unix.SignalName(n)}
			if late != nil {
				e.forceEnd(cause)
			}
			late = time.After(failpoint.Patience("signal", patience))
			e.set(cause)
			e.cancel(cause)
		case <-late:
			e.forceEnd(nil)
		}
	}
}

// take makes the signals of this process the caller's, those that end a command
// and those that mean something to a program that runs in its place.
func (e *ending) take() <-chan os.Signal {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.taker == nil {
		e.taker = make(chan os.Signal, 16)
		for _, s := range []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT} {
			if !signal.Ignored(s) {
				signal.Notify(e.taker, s)
			}
		}
	}
	return e.taker
}

func (e *ending) taken(s os.Signal) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.taker == nil {
		return false
	}
	select {
	case e.taker <- s:
	default: // nobody takes them any more
	}
	return true
}

// stopBecause ends the command as a signal does, with this cause.
func (e *ending) stopBecause(cause error) {
	e.set(cause)
	e.cancel(cause)
}

func (e *ending) set(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cause == nil {
		e.cause = cause
	}
}

// forceEnd closes the record without waiting for the command, and exits.
func (e *ending) forceEnd(cause error) {
	e.mu.Lock()
	if e.cause != nil {
		cause = e.cause
	}
	force := e.force
	e.mu.Unlock()
	for _, close := range slices.Backward(force) {
		close(cause)
	}
	os.Exit(quant.ExitStatus(cause))
}

// onForce says how the record is closed when the command does not stop.
func (e *ending) onForce(close func(error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.force = append(e.force, close)
}

// stdoutFailed is told of the first error of stdout: it cancels the command,
// which has nobody left to speak to.
func (e *ending) stdoutFailed(err error) {
	cause := stdoutError(err)
	e.set(cause)
	e.cancel(cause)
}

func stdoutError(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return quant.Signalled{Number: int(syscall.SIGPIPE), Name: "SIGPIPE", Detail: "stdout was closed by its reader"}
	}
	return quant.Errorf(quant.Failed, "write to stdout: %w", err)
}

// explain replaces the error of a command that was cancelled by the reason for
// which it was.
func (e *ending) explain(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil || e.cause == nil {
		return err
	}
	if _, signalled := errors.AsType[quant.Signalled](err); signalled || errors.Is(err, e.cause) || errors.Is(err, context.Canceled) {
		return e.cause
	}
	if s, ok := errors.AsType[quant.Signalled](e.cause); ok && s.Detail == "" {
		s.Detail = err.Error() // what the command said when it was stopped
		return s
	}
	return e.cause
}

func (e *ending) stop() {
	signal.Stop(e.signals)
	close(e.done)
}
