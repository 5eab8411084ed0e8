package server

import (
	"context"
	"time"

	"quant/internal/process"
)

// keepEvery is how often a server looks for runs whose processes died.
const keepEvery = 5 * time.Second

// roomy is how much memory a server may hold before it lets go of what it can have
// again at any time.
const roomy = 32 << 20

// keep does, as long as a server runs, what every command does once: it closes runs
// of processes that died. What it cannot do now it tries again.
func keep(ctx context.Context, h *handler) {
	o := h.options
	if o.Session == nil || o.Session.Registry == nil {
		return
	}
	letGo() // the start is over
	say := o.Session.Say()
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if process.Resident() > roomy {
			letGo()
		}
		done, err := o.Session.Registry.Reconcile(ctx)
		h.metrics.dead.Add(int64(len(done.Closed)))
		for _, run := range done.Closed {
			say.Notice("run %s %s FAIL: %s", run.RunID, run.Kind, run.ErrorText)
		}
		if err == nil {
			err = h.admission.flush(ctx)
		}
		if err == nil && o.Sweep != nil {
			err = o.Sweep(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			said = ""
		case err.Error() != said: // not again and again
			said = err.Error()
			say.Warn("what others left open could not be closed; it is tried again: %v", err)
		}
	}
}
