package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"app/echopb"
)

// server is the running application. Everything that it serves goes through one http.Server, so that one shutdown
// reaches HTTP and gRPC on both ports.
type server struct {
	cfg     config
	log     *slog.Logger
	http    *http.Server
	grpc    *grpc.Server
	health  *health.Server
	ready   *readiness
	metrics *metrics

	// Where the ports really are, for tests that listen on port 0.
	addr, addrTLS string

	// Receives the first error of a listener that stopped by itself.
	failed chan error
}

// start listens and serves; it returns once both ports accept connections.
func start(cfg config, log *slog.Logger) (*server, error) {
	s := &server{
		cfg:     cfg,
		log:     log,
		health:  health.NewServer(),
		ready:   newReadiness(cfg.database),
		metrics: newMetrics(),
		failed:  make(chan error, 2),
	}
	s.grpc = grpc.NewServer(
		grpc.UnaryInterceptor(s.metrics.unary),
		grpc.StreamInterceptor(s.metrics.stream),
	)
	echopb.RegisterEchoServer(s.grpc, &echo{cfg: cfg})
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)

	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler:           s.handler(),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       620 * time.Second, // above the 600 s for which the load balancer keeps a connection
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}

	plain, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return nil, err
	}
	s.addr = plain.Addr().String()
	if cfg.listenTLS != "" {
		secure, err := s.listenTLS()
		if err != nil {
			plain.Close()
			return nil, err
		}
		s.addrTLS = secure.Addr().String()
		go s.serve(func() error { return s.http.ServeTLS(secure, "", "") })
	}
	go s.serve(func() error { return s.http.Serve(plain) })
	log.Info("started", "version", version, "platform", cfg.platform, "listen", s.addr, "listen_tls", s.addrTLS)
	return s, nil
}

func (s *server) listenTLS() (net.Listener, error) {
	var source certificateSource
	var err error
	if s.cfg.certFile != "" {
		source, err = newFileCertificate(s.cfg.certFile, s.cfg.keyFile)
	} else {
		source, err = newSelfSigned(time.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: source.get}
	return net.Listen("tcp", s.cfg.listenTLS)
}

func (s *server) serve(run func() error) {
	if err := run(); !errors.Is(err, http.ErrServerClosed) {
		s.failed <- err
	}
}

// stop ends the application: first it only says that it is not ready, then it takes no more connections and waits for
// what is running.
func (s *server) stop() error {
	s.log.Info("stopping", "delay", s.cfg.shutdownDelay.String())
	s.ready.stopping.Store(true)
	s.health.Shutdown()
	time.Sleep(s.cfg.shutdownDelay)
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.shutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	s.grpc.Stop()
	s.log.Info("stopped")
	return err
}

// handler sends calls to gRPC by their content type, and the rest to the routes.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", s.metrics.route("/healthz", http.HandlerFunc(healthz)))
	mux.Handle("GET /readyz", s.metrics.route("/readyz", s.ready))
	mux.Handle("GET /metrics", s.metrics.route("/metrics", s.metrics))
	mux.Handle("GET /{$}", s.metrics.route("/", http.HandlerFunc(s.describe)))
	mux.Handle("/", s.metrics.route("other", http.NotFoundHandler()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			s.grpc.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
