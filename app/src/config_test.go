package main

import (
	"strings"
	"testing"
	"time"
)

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestConfigDefaults(t *testing.T) {
	cfg, err := configFrom(environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.listen != ":8080" || cfg.listenTLS != ":8443" || cfg.database != "" || cfg.instance == "" ||
		cfg.shutdownDelay != 5*time.Second || cfg.shutdownTimeout != 20*time.Second {
		t.Errorf("%+v", cfg)
	}
}

func TestConfigValues(t *testing.T) {
	cfg, err := configFrom(environment(map[string]string{
		"LISTEN": ":1", "LISTEN_TLS": "off", "PLATFORM": "prod-eu", "INSTANCE": "pod-7", "DATABASE_HOST": "sql.internal",
		"DATABASE_PORT": "3306", "SHUTDOWN_DELAY": "0s",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.listen != ":1" || cfg.listenTLS != "" || cfg.platform != "prod-eu" || cfg.instance != "pod-7" ||
		cfg.database != "sql.internal:3306" || cfg.shutdownDelay != 0 {
		t.Errorf("%+v", cfg)
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, values := range map[string]map[string]string{
		"SHUTDOWN_DELAY":   {"SHUTDOWN_DELAY": "soon"},
		"SHUTDOWN_TIMEOUT": {"SHUTDOWN_TIMEOUT": "-1s"},
		"TLS_KEY_FILE":     {"TLS_CERT_FILE": "tls.crt"},
	} {
		if _, err := configFrom(environment(values)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", values, err)
		}
	}
}
