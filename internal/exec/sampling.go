package exec

import (
	"context"
	"sync"
	"time"

	"quant"
	"quant/internal/exec/nvml"
	"quant/internal/exec/sample"
	"quant/internal/logstream"
	"quant/internal/metastore"
	"quant/internal/session"
)

// sampling records what the processes of a run's program use while they run.
type sampling struct {
	session *session.Session
	every   time.Duration // 0: nothing is sampled

	sampler *sample.Sampler
	batcher *logstream.Batcher

	mu           sync.Mutex
	accelerators []nvml.Device
}

// sampleLimits are those of the points that wait to be stored.
var sampleLimits = logstream.Limits{Records: 4 << 10, Age: 500 * time.Millisecond, Retain: 256 << 10}

// started begins, with the program's pid.
func (m *sampling) started(ctx context.Context, pid int) {
	if m.every == 0 {
		return
	}
	if !sample.Possible() {
		note(m.session, "what the program uses cannot be sampled on this system")
		return
	}
	ctx = context.WithoutCancel(ctx)
	m.batcher = logstream.NewBatcher(ctx, logstream.BatcherOptions{Sink: m.session.Registry, RunID: m.session.RunID(), Limits: sampleLimits})
	m.sampler = sample.Start(ctx, sample.Options{
		PID: pid, Every: m.every,
		Sink: func(points []quant.MetricPoint) {
			_ = m.batcher.Add(ctx, logstream.Record{Batch: metastore.Batch{Metrics: points}}) // the next one tries again
		},
		Devices: func(list []nvml.Device) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.accelerators = list
		},
	})
}

// finish stores what is left, and puts the accelerators into what is recorded of the
// program's environment.
func (m *sampling) finish(ctx context.Context, about map[string]any) {
	if m.sampler == nil {
		return
	}
	m.sampler.Stop()
	if err := m.batcher.Close(context.WithoutCancel(ctx)); err != nil {
		note(m.session, "some of what the program used is not kept: %v", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.accelerators) > 0 {
		about["accelerators"] = m.accelerators
	}
}
