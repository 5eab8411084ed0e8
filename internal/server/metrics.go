package server

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quant/internal/process"
)

const metricsPath = "/metrics"

// buckets are the bounds of the latency histogram, in seconds.
var buckets = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

// metrics count what a server answered. Routes and methods are those that the
// program knows, so that no client can make them many.
type metrics struct {
	begun    time.Time
	inFlight atomic.Int64
	panics   atomic.Int64
	failed   atomic.Int64 // tokens that were none
	dead     atomic.Int64 // runs closed because their process had died

	mu       sync.Mutex
	requests map[series]int64
	latency  map[string]*histogram // by route
	sent     int64
}

// series is what requests are counted by.
type series struct {
	route, method string
	status        int
}

type histogram struct {
	counts [len(buckets) + 1]int64 // of those up to each bound, and above all
	sum    float64
}

func newMetrics(now time.Time) *metrics {
	return &metrics{begun: now, requests: map[series]int64{}, latency: map[string]*histogram{}}
}

func (m *metrics) began() { m.inFlight.Add(1) }

// ended counts a request. A pattern may begin with a method.
func (m *metrics) ended(pattern, method string, status int, bytes int64, took time.Duration) {
	m.inFlight.Add(-1)
	if _, path, ok := strings.Cut(pattern, " "); ok {
		pattern = path
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "OTHER"
	}
	seconds := took.Seconds()
	at, _ := slices.BinarySearch(buckets[:], seconds)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[series{pattern, method, status}]++
	h := m.latency[pattern]
	if h == nil {
		h = &histogram{}
		m.latency[pattern] = h
	}
	h.counts[at]++
	h.sum += seconds
	m.sent += bytes
}

// write writes what was counted as Prometheus reads it.
func (m *metrics) write(w io.Writer) {
	m.mu.Lock()
	requests := maps.Clone(m.requests)
	latency := make(map[string]histogram, len(m.latency))
	for route, h := range m.latency {
		latency[route] = *h
	}
	sent := m.sent
	m.mu.Unlock()

	family(w, "quant_http_requests_total", "counter", "Requests that were answered.")
	for _, s := range slices.SortedFunc(maps.Keys(requests), func(a, b series) int {
		return cmp.Or(cmp.Compare(a.route, b.route), cmp.Compare(a.method, b.method), cmp.Compare(a.status, b.status))
	}) {
		_, _ = fmt.Fprintf(w, "quant_http_requests_total{route=%s,method=%s,status=\"%d\"} %d\n", label(s.route), label(s.method), s.status, requests[s])
	}
	family(w, "quant_http_request_duration_seconds", "histogram", "How long requests took.")
	for _, route := range slices.Sorted(maps.Keys(latency)) {
		h, n := latency[route], int64(0)
		for i, bound := range buckets {
			n += h.counts[i]
			_, _ = fmt.Fprintf(w, "quant_http_request_duration_seconds_bucket{route=%s,le=\"%s\"} %d\n", label(route), number(bound), n)
		}
		n += h.counts[len(buckets)]
		_, _ = fmt.Fprintf(w, "quant_http_request_duration_seconds_bucket{route=%[1]s,le=\"+Inf\"} %[2]d\nquant_http_request_duration_seconds_sum{route=%[1]s} %[3]s\nquant_http_request_duration_seconds_count{route=%[1]s} %[2]d\n",
			label(route), n, number(h.sum))
	}
	one(w, "quant_http_response_bytes_total", "counter", "Bytes of bodies that were sent.", float64(sent))
	one(w, "quant_http_requests_in_flight", "gauge", "Requests that are being answered.", float64(m.inFlight.Load()))
	one(w, "quant_http_panics_total", "counter", "Requests that met a defect of quant.", float64(m.panics.Load()))
	one(w, "quant_tokens_refused_total", "counter", "Requests whose token was none that lets in.", float64(m.failed.Load()))
	one(w, "quant_runs_found_dead_total", "counter", "Runs that this server closed because their process had died.", float64(m.dead.Load()))
}

// writeProcess writes what this process takes.
func writeProcess(w io.Writer, begun time.Time) {
	one(w, "process_start_time_seconds", "gauge", "When this server began.", float64(begun.UnixMilli())/1000)
	if rss := process.Resident(); rss > 0 {
		one(w, "process_resident_memory_bytes", "gauge", "Memory that this process holds.", float64(rss))
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	one(w, "go_memstats_heap_alloc_bytes", "gauge", "Bytes of objects on Go's heap.", float64(memory.HeapAlloc))
	one(w, "go_memstats_sys_bytes", "gauge", "Bytes that Go took from the system.", float64(memory.Sys))
	one(w, "go_gc_cycles_total", "counter", "Collections of garbage.", float64(memory.NumGC))
	one(w, "go_goroutines", "gauge", "Goroutines.", float64(runtime.NumGoroutine()))
}

func family(w io.Writer, name, kind, help string) {
	_, _ = fmt.Fprintf(w, "# HELP %[1]s %[3]s\n# TYPE %[1]s %[2]s\n", name, kind, help)
}

func one(w io.Writer, name, kind, help string, value float64) {
	family(w, name, kind, help)
	_, _ = fmt.Fprintf(w, "%s %s\n", name, number(value))
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// label quotes a value as the format wants it.
func label(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// showMetrics answers /metrics.
func (h *handler) showMetrics(w http.ResponseWriter, r *http.Request) {
	r.Pattern = metricsPath
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET, HEAD")
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	h.metrics.write(w)
	one(w, "quant_event_streams", "gauge", "Streams of events that are open.", float64(h.streams.count()))
	if s := h.options.Session; s != nil && s.Registry != nil {
		if open, err := s.Meta.CountRunningOn(r.Context(), s.Registry.Process.MachineID); err == nil {
			one(w, "quant_runs_open", "gauge", "Runs of this machine that have not ended.", float64(open))
		}
	}
	writeProcess(w, h.metrics.begun)
}
