// Package sample measures what a program uses while it runs: processor, memory and
// disk of all its processes, and the accelerators of the machine. It stores nothing: a
// sink takes the points.
package sample

import (
	"context"
	"os"
	"strconv"
	"sync"
	"time"

	"quant"
	"quant/internal/exec/nvml"
	"quant/internal/process"
)

// The names of what is measured. Of accelerator I, names begin with gpuPrefix and I.
const (
	// CPU is how many processor cores were busy on average since the sample before: 1.5
	// is one and a half. The first sample has none.
	CPU = quant.SystemMetrics + "cpu_cores"
	// Memory is what the processes hold, in bytes; what they share counts in each.
	Memory = quant.SystemMetrics + "memory_bytes"
	// Processes is how many there are.
	Processes = quant.SystemMetrics + "processes"
	// Read and Written are bytes from and to disks since the program began.
	Read    = quant.SystemMetrics + "read_bytes"
	Written = quant.SystemMetrics + "write_bytes"

	gpuPrefix      = quant.SystemMetrics + "gpu."
	gpuUtilization = ".utilization"          // decimal, of the whole device
	gpuMemory      = ".memory_bytes"         // taken on the whole device
	gpuOwn         = ".program_memory_bytes" // held by the program's processes, their contexts included
)

// The shortest and longest time between two samples.
const (
	Shortest = 50 * time.Millisecond
	Longest  = time.Hour
)

// rest is how many times as long as a sample the next one is away at least, so that the
// sampling of a program of very many processes takes a twentieth of a core and no more.
const rest = 20

// Options say what is sampled.
type Options struct {
	PID   int           // the program; sampled is it and everything below it
	Every time.Duration // from Shortest to Longest
	Sink  func(points []quant.MetricPoint)
	// Devices is told the accelerators, if there are any, before the first point.
	Devices func(list []nvml.Device)
}

// CheckEvery is Invalid for a time between samples that is too short or too long.
func CheckEvery(every time.Duration) error {
	if every < Shortest || every > Longest {
		return quant.Errorf(quant.Invalid, "a sample every %s is not between one every %s and one every %s", every, Shortest, Longest).WithHint("1s is a good start")
	}
	return nil
}

// Possible tells whether this system lets processes be measured.
func Possible() bool {
	_, err := process.UsageOf(os.Getpid())
	return err == nil
}

// Sampler samples until it is stopped.
type Sampler struct {
	Options
	stop    context.CancelFunc
	done    sync.WaitGroup
	devices *nvml.Devices

	last      time.Time
	processor time.Duration // at last
	seen      map[int]seen
	gone      totals // of processes that have ended, as they were seen last
	step      int64
}

type seen struct {
	start string
	totals
}

type totals struct{ read, written int64 }

// Start begins. The first sample is taken at once.
func Start(ctx context.Context, o Options) *Sampler {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Sampler{Options: o, stop: stop, seen: map[int]seen{}}
	s.done.Go(func() {
		if devices, err := nvml.Open(); err == nil { // some hundred milliseconds where there is one
			s.devices = devices
			defer devices.Close()
			if o.Devices != nil {
				o.Devices(devices.List)
			}
		}
		for next := time.Now(); ctx.Err() == nil; {
			begun := time.Now()
			s.take()
			next = next.Add(o.Every)
			if rested := begun.Add(time.Since(begun) * rest); next.Before(rested) {
				next = rested
			}
			select {
			case <-time.After(time.Until(next)):
			case <-ctx.Done():
			}
		}
	})
	return s
}

// Stop ends the sampling; the sink is not called any more when it returns.
func (s *Sampler) Stop() {
	s.stop()
	s.done.Wait()
}

// mostProcesses bounds how many processes of a program are looked at.
const mostProcesses = 4096

// take takes one sample; none where the program has ended.
func (s *Sampler) take() {
	now := time.Now()
	family, _ := process.Family(s.PID, mostProcesses)
	var processor time.Duration
	var resident int64
	all := s.gone
	living := map[int]bool{}
	for _, pid := range family {
		if pid == os.Getpid() {
			continue
		}
		u, err := process.UsageOf(pid)
		if err != nil {
			continue
		}
		living[pid] = true
		if was, known := s.seen[pid]; known && was.start != u.Start {
			s.gone.add(was.totals)
			all.add(was.totals)
		}
		s.seen[pid] = seen{u.Start, totals{u.Read, u.Written}}
		all.add(totals{u.Read, u.Written})
		processor += u.Processor
		resident += u.Resident
	}
	for pid, was := range s.seen {
		if !living[pid] {
			s.gone.add(was.totals)
			all.add(was.totals)
			delete(s.seen, pid)
		}
	}
	if len(living) == 0 {
		return
	}
	at := quant.NewTime(now)
	var points []quant.MetricPoint
	add := func(name string, value float64) {
		points = append(points, quant.MetricPoint{Name: name, Value: value, Step: s.step, LoggedAt: at})
	}
	// A process that leaves the program takes its time with it.
	if since := now.Sub(s.last); s.step > 0 && since > 0 {
		add(CPU, max(0, float64(processor-s.processor)/float64(since)))
	}
	add(Memory, float64(resident))
	add(Processes, float64(len(living)))
	add(Read, float64(all.read))
	add(Written, float64(all.written))
	if s.devices != nil {
		for _, one := range s.devices.List {
			s.takeDevice(one, living, add)
		}
	}
	s.last, s.processor = now, processor
	s.step++
	s.Sink(points)
}

func (t *totals) add(o totals) {
	t.read += o.read
	t.written += o.written
}

func (s *Sampler) takeDevice(one nvml.Device, living map[int]bool, add func(name string, value float64)) {
	r, err := s.devices.Read(one)
	if err != nil {
		return
	}
	name := gpuPrefix + strconv.Itoa(one.Index)
	add(name+gpuUtilization, r.Utilization)
	add(name+gpuMemory, float64(r.Used))
	own, any := int64(0), false
	for pid, bytes := range r.ByProcess {
		if living[pid] {
			own, any = own+bytes, true
		}
	}
	if any {
		add(name+gpuOwn, float64(own))
	}
}
