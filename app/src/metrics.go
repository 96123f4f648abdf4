package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Upper bounds of the histogram's buckets, in seconds.
var buckets = []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// series is one line's labels: protocol is http or grpc; route is one of the routes or a gRPC method, never what a
// client made up, so that their number is bounded.
type series struct {
	protocol, route, code string
}

type histogram struct {
	counts []uint64 // one for each bucket, then one for what is above all
	sum    float64
}

// metrics counts requests and writes them in the text format of Prometheus, version 0.0.4.
type metrics struct {
	started time.Time

	mu    sync.Mutex
	times map[series]*histogram
}

func newMetrics() *metrics {
	return &metrics{started: time.Now(), times: map[series]*histogram{}}
}

func (m *metrics) observe(s series, took time.Duration) {
	seconds := took.Seconds()
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.times[s]
	if h == nil {
		h = &histogram{counts: make([]uint64, len(buckets)+1)}
		m.times[s] = h
	}
	h.counts[sort.SearchFloat64s(buckets, seconds)]++
	h.sum += seconds
}

// statusWriter remembers the status that a handler sent.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (m *metrics) route(name string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw, begin := &statusWriter{w, http.StatusOK}, time.Now()
		next.ServeHTTP(sw, r)
		m.observe(series{"http", name, strconv.Itoa(sw.status)}, time.Since(begin))
	})
}

func (m *metrics) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	begin := time.Now()
	reply, err := next(ctx, req)
	m.observe(series{"grpc", info.FullMethod, status.Code(err).String()}, time.Since(begin))
	return reply, err
}

func (m *metrics) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	begin := time.Now()
	err := next(srv, ss)
	m.observe(series{"grpc", info.FullMethod, status.Code(err).String()}, time.Since(begin))
	return err
}

func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	m.write(w)
}

func (m *metrics) write(w io.Writer) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	head := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	head("app_build_info", "gauge", "Version of the application; always 1.")
	fmt.Fprintf(w, "app_build_info{version=%s} 1\n", quote(version))
	head("process_start_time_seconds", "gauge", "Start of the process, in seconds since 1970.")
	fmt.Fprintf(w, "process_start_time_seconds %.3f\n", float64(m.started.UnixMilli())/1000)
	head("go_goroutines", "gauge", "Goroutines that exist.")
	fmt.Fprintf(w, "go_goroutines %d\n", runtime.NumGoroutine())
	head("go_memstats_heap_alloc_bytes", "gauge", "Bytes of the heap in use.")
	fmt.Fprintf(w, "go_memstats_heap_alloc_bytes %d\n", memory.HeapAlloc)

	head("app_request_duration_seconds", "histogram", "Time of requests, calls and streams.")
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]series, 0, len(m.times))
	for s := range m.times {
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].labels() < all[j].labels() })
	for _, s := range all {
		h, total := m.times[s], uint64(0)
		for i, count := range h.counts {
			total += count
			bound := "+Inf"
			if i < len(buckets) {
				bound = strconv.FormatFloat(buckets[i], 'g', -1, 64)
			}
			fmt.Fprintf(w, "app_request_duration_seconds_bucket{%s,le=\"%s\"} %d\n", s.labels(), bound, total)
		}
		fmt.Fprintf(w, "app_request_duration_seconds_sum{%s} %g\n", s.labels(), h.sum)
		fmt.Fprintf(w, "app_request_duration_seconds_count{%s} %d\n", s.labels(), total)
	}
}

func (s series) labels() string {
	return fmt.Sprintf("protocol=%s,route=%s,code=%s", quote(s.protocol), quote(s.route), quote(s.code))
}

// quote writes a label's value as the format wants it.
func quote(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value) + `"`
}
