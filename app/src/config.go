package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

// config is what the environment says. Empty fields: no TLS port, a self-signed certificate, no database.
type config struct {
	listen    string
	listenTLS string
	certFile  string
	keyFile   string

	platform string
	instance string

	// host:port of the database, which must accept connections before the application says that it is ready.
	database string

	// How long requests are still taken after the signal to stop, until every load balancer knows of it.
	shutdownDelay time.Duration
	// How long running requests and streams may then take.
	shutdownTimeout time.Duration
}

func configFrom(getenv func(string) string) (config, error) {
	or := func(name, fallback string) string {
		if value := getenv(name); value != "" {
			return value
		}
		return fallback
	}
	cfg := config{
		listen:    or("LISTEN", ":8080"),
		listenTLS: or("LISTEN_TLS", ":8443"),
		certFile:  getenv("TLS_CERT_FILE"),
		keyFile:   getenv("TLS_KEY_FILE"),
		platform:  or("PLATFORM", "none"),
		instance:  getenv("INSTANCE"),
	}
	if cfg.listenTLS == "off" {
		cfg.listenTLS = ""
	}
	if (cfg.certFile == "") != (cfg.keyFile == "") {
		return cfg, fmt.Errorf("TLS_CERT_FILE and TLS_KEY_FILE go together: one of them is empty")
	}
	if cfg.instance == "" {
		cfg.instance, _ = os.Hostname()
	}
	if host := getenv("DATABASE_HOST"); host != "" {
		cfg.database = net.JoinHostPort(host, or("DATABASE_PORT", "5432"))
	}
	var err error
	if cfg.shutdownDelay, err = duration("SHUTDOWN_DELAY", or("SHUTDOWN_DELAY", "5s")); err != nil {
		return cfg, err
	}
	cfg.shutdownTimeout, err = duration("SHUTDOWN_TIMEOUT", or("SHUTDOWN_TIMEOUT", "20s"))
	return cfg, err
}

func duration(name, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s is %q, which is not a duration such as 5s", name, text)
	}
	return d, nil
}
