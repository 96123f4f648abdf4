// The sample application: a small server over HTTP and gRPC, to see that a platform carries both.
//
//	GET /          what the server knows of the request, as JSON
//	GET /healthz   200 as long as the process works
//	GET /readyz    200 when requests should come here: not shutting down, and the database, if any, accepts connections
//	GET /metrics   Prometheus text
//	gRPC           lp.app.v1.Echo, grpc.health.v1.Health, server reflection
//
// Both ports offer all of it: LISTEN without TLS (HTTP/1.1 and HTTP/2 with prior knowledge, as gRPC clients in the
// cluster speak it), LISTEN_TLS with TLS (HTTP/1.1 and HTTP/2, as the load balancer speaks it).
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the build: -ldflags "-X main.version=1.4.1".
var version = "development"

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	cfg, err := configFrom(os.Getenv)
	if err != nil {
		log.Error("configuration", "error", err)
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	srv, err := start(cfg, log)
	if err != nil {
		log.Error("start", "error", err)
		os.Exit(1)
	}
	select {
	case <-ctx.Done():
		stop() // a second signal ends the process at once
	case err = <-srv.failed:
		log.Error("serve", "error", err)
	}
	if stopped := srv.stop(); stopped != nil {
		log.Error("shutdown", "error", stopped)
		err = stopped
	}
	if err != nil {
		os.Exit(1)
	}
}
