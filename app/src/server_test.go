package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"app/echopb"
)

func run(t *testing.T, change func(*config)) *server {
	t.Helper()
	cfg := config{
		listen: "127.0.0.1:0", listenTLS: "127.0.0.1:0", platform: "dev-seb", instance: "pod-1",
		shutdownTimeout: 5 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	s, err := start(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop() })
	return s
}

// client speaks one protocol only: "h1" or "h2".
func client(t *testing.T, protocol string) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(protocol == "h1")
	p.SetHTTP2(protocol == "h2")
	p.SetUnencryptedHTTP2(protocol == "h2")
	tr := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func dial(t *testing.T, s *server, secure bool) *grpc.ClientConn {
	t.Helper()
	target, creds := s.addr, insecure.NewCredentials()
	if secure {
		target, creds = s.addrTLS, credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestBothPortsSpeakBothProtocols(t *testing.T) {
	s := run(t, nil)
	for _, c := range []struct {
		url, protocol, want string
		tls                 bool
	}{
		{"http://" + s.addr + "/", "h1", "HTTP/1.1", false},
		{"http://" + s.addr + "/", "h2", "HTTP/2.0", false},
		{"https://" + s.addrTLS + "/", "h1", "HTTP/1.1", true},
		{"https://" + s.addrTLS + "/", "h2", "HTTP/2.0", true},
	} {
		code, body := get(t, client(t, c.protocol), c.url)
		var d description
		if err := json.Unmarshal([]byte(body), &d); code != 200 || err != nil {
			t.Fatalf("%s %s: %d %s", c.url, c.protocol, code, body)
		}
		if d.Protocol != c.want || d.TLS != c.tls || d.Platform != "dev-seb" || d.Instance != "pod-1" || d.Version != version {
			t.Errorf("%s %s: %+v", c.url, c.protocol, d)
		}
	}
}

func TestForwardedForIsShown(t *testing.T) {
	s := run(t, nil)
	req, _ := http.NewRequest("GET", "http://"+s.addr+"/", nil)
	req.Header.Set("X-Forwarded-For", "203.0.113.10, 130.211.0.1")
	res, err := client(t, "h1").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var d description
	if err := json.NewDecoder(res.Body).Decode(&d); err != nil || d.ForwardedFor != "203.0.113.10, 130.211.0.1" {
		t.Fatalf("%+v %v", d, err)
	}
}

func TestUnknownPathAndMethod(t *testing.T) {
	s := run(t, nil)
	if code, _ := get(t, client(t, "h1"), "http://"+s.addr+"/nothing"); code != 404 {
		t.Errorf("GET /nothing: %d", code)
	}
	res, err := client(t, "h1").Post("http://"+s.addr+"/healthz", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 404 && res.StatusCode != 405 {
		t.Errorf("POST /healthz: %d", res.StatusCode)
	}
}

func TestSay(t *testing.T) {
	s := run(t, nil)
	for _, secure := range []bool{false, true} {
		reply, err := echopb.NewEchoClient(dial(t, s, secure)).Say(soon(t), &echopb.SayRequest{Text: "hello"})
		if err != nil {
			t.Fatalf("tls %v: %v", secure, err)
		}
		if reply.GetText() != "hello" || reply.GetPlatform() != "dev-seb" || reply.GetInstance() != "pod-1" || reply.GetNumber() != 1 {
			t.Errorf("tls %v: %v", secure, reply)
		}
	}
}

func TestRepeat(t *testing.T) {
	s := run(t, nil)
	stream, err := echopb.NewEchoClient(dial(t, s, true)).Repeat(soon(t), &echopb.RepeatRequest{Text: "x", Times: 3, PauseMilliseconds: 1})
	if err != nil {
		t.Fatal(err)
	}
	for want := uint32(1); want <= 3; want++ {
		reply, err := stream.Recv()
		if err != nil || reply.GetNumber() != want {
			t.Fatalf("reply %d: %v %v", want, reply, err)
		}
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatalf("after the last: %v", err)
	}
}

func TestRepeatRefusesTooMuch(t *testing.T) {
	s := run(t, nil)
	echo := echopb.NewEchoClient(dial(t, s, false))
	for _, req := range []*echopb.RepeatRequest{
		{Times: 0}, {Times: mostTimes + 1}, {Times: 1, PauseMilliseconds: mostPause + 1},
	} {
		stream, err := echo.Repeat(soon(t), req)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", req, err)
		}
	}
}

func TestHealthService(t *testing.T) {
	s := run(t, nil)
	health := grpc_health_v1.NewHealthClient(dial(t, s, true))
	res, err := health.Check(soon(t), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("%v %v", res, err)
	}
}

func TestReadyFollowsTheDatabase(t *testing.T) {
	db, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, func(c *config) { c.database = db.Addr().String() })
	s.ready.keep = 0
	c, url := client(t, "h1"), "http://"+s.addr
	if code, body := get(t, c, url+"/readyz"); code != 200 {
		t.Fatalf("with database: %d %s", code, body)
	}
	db.Close()
	if code, body := get(t, c, url+"/readyz"); code != 503 || !strings.HasPrefix(body, "database: ") {
		t.Fatalf("without database: %d %s", code, body)
	}
	if code, _ := get(t, c, url+"/healthz"); code != 200 {
		t.Fatalf("a missing database is no reason to be restarted: %d", code)
	}
}

func TestReadinessIsKeptForAMoment(t *testing.T) {
	r := newReadiness("127.0.0.1:1")
	r.checked, r.problem = time.Now(), nil
	if err := r.check(); err != nil {
		t.Errorf("asked the database again at once: %v", err)
	}
	r.checked = time.Now().Add(-r.keep)
	if err := r.check(); err == nil {
		t.Error("never asked the database again")
	}
}

func TestMetrics(t *testing.T) {
	s := run(t, nil)
	c := client(t, "h1")
	get(t, c, "http://"+s.addr+"/")
	get(t, c, "http://"+s.addr+"/made/up")
	get(t, c, "http://"+s.addr+"/made/up/2")
	if _, err := echopb.NewEchoClient(dial(t, s, false)).Say(soon(t), &echopb.SayRequest{}); err != nil {
		t.Fatal(err)
	}
	_, body := get(t, c, "http://"+s.addr+"/metrics")
	for _, line := range []string{
		`app_build_info{version="development"} 1`,
		`app_request_duration_seconds_count{protocol="http",route="/",code="200"} 1`,
		`app_request_duration_seconds_count{protocol="http",route="other",code="404"} 2`,
		`app_request_duration_seconds_count{protocol="grpc",route="/lp.app.v1.Echo/Say",code="OK"} 1`,
		`app_request_duration_seconds_bucket{protocol="http",route="/",code="200",le="+Inf"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s in\n%s", line, body)
		}
	}
	form := regexp.MustCompile(`^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? [0-9.e+-]+)$`)
	for _, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		if !form.MatchString(line) {
			t.Errorf("not the text format: %s", line)
		}
	}
}

func TestHistogramBuckets(t *testing.T) {
	m := newMetrics()
	for _, took := range []time.Duration{time.Millisecond, 2 * time.Millisecond, 20 * time.Second} {
		m.observe(series{"http", "/", "200"}, took)
	}
	var text strings.Builder
	m.write(&text)
	for _, line := range []string{`le="0.001"} 1`, `le="0.005"} 2`, `le="10"} 2`, `le="+Inf"} 3`} {
		if !strings.Contains(text.String(), line+"\n") {
			t.Errorf("no %s in\n%s", line, text.String())
		}
	}
}

func TestStopLetsAStreamFinish(t *testing.T) {
	s := run(t, func(c *config) { c.shutdownDelay = 50 * time.Millisecond })
	conn := dial(t, s, false)
	stream, err := echopb.NewEchoClient(conn).Repeat(soon(t), &echopb.RepeatRequest{Times: 10, PauseMilliseconds: 50})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	time.Sleep(20 * time.Millisecond)
	if code, _ := get(t, client(t, "h1"), "http://"+s.addr+"/readyz"); code != 503 {
		t.Errorf("still ready while stopping: %d", code)
	}
	for n := 2; n <= 10; n++ {
		if _, err := stream.Recv(); err != nil {
			t.Fatalf("reply %d: %v", n, err)
		}
	}
	if err := <-stopped; err != nil {
		t.Fatalf("stop: %v", err)
	}
	if _, err := net.DialTimeout("tcp", s.addr, time.Second); err == nil {
		t.Error("the port is still open")
	}
}

func TestStopHasAnEnd(t *testing.T) {
	s := run(t, func(c *config) { c.shutdownTimeout = 50 * time.Millisecond })
	stream, err := echopb.NewEchoClient(dial(t, s, false)).Repeat(soon(t), &echopb.RepeatRequest{Times: 2, PauseMilliseconds: mostPause})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := s.stop(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stop took %v", took)
	}
}

func TestPortInUse(t *testing.T) {
	s := run(t, nil)
	for _, change := range []func(*config){
		func(c *config) { c.listen = s.addr },
		func(c *config) { c.listenTLS = s.addrTLS },
		func(c *config) { c.certFile, c.keyFile = "/nowhere.crt", "/nowhere.key" },
	} {
		cfg := config{listen: "127.0.0.1:0", listenTLS: "127.0.0.1:0"}
		change(&cfg)
		if other, err := start(cfg, slog.New(slog.DiscardHandler)); err == nil {
			other.stop()
			t.Error("started although it could not")
		}
	}
}
