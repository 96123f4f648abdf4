package main

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

func healthz(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}

// readiness answers /readyz. What the database said holds for a moment, so that frequent probes do not reach it.
type readiness struct {
	stopping atomic.Bool
	database string
	timeout  time.Duration
	keep     time.Duration

	mu      sync.Mutex
	checked time.Time
	problem error
}

func newReadiness(database string) *readiness {
	return &readiness{database: database, timeout: 2 * time.Second, keep: 5 * time.Second}
}

func (r *readiness) check() error {
	if r.stopping.Load() {
		return fmt.Errorf("shutting down")
	}
	if r.database == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.checked) < r.keep {
		return r.problem
	}
	conn, err := net.DialTimeout("tcp", r.database, r.timeout)
	if err == nil {
		conn.Close()
	} else {
		err = fmt.Errorf("database: %w", err)
	}
	r.checked, r.problem = time.Now(), err
	return err
}

func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if err := r.check(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}
