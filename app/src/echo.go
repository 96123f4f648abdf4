package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"app/echopb"
)

const (
	mostTimes = 1000
	mostPause = 60_000 // milliseconds
)

// echo is the gRPC service.
type echo struct {
	echopb.UnimplementedEchoServer
	cfg config
}

func (e *echo) reply(text string, number uint32) *echopb.SayReply {
	return &echopb.SayReply{
		Text: text, Version: version, Platform: e.cfg.platform, Instance: e.cfg.instance, Number: number,
	}
}

func (e *echo) Say(_ context.Context, req *echopb.SayRequest) (*echopb.SayReply, error) {
	return e.reply(req.GetText(), 1), nil
}

func (e *echo) Repeat(req *echopb.RepeatRequest, stream grpc.ServerStreamingServer[echopb.SayReply]) error {
	if req.GetTimes() < 1 || req.GetTimes() > mostTimes {
		return status.Errorf(codes.InvalidArgument, "times is %d, allowed is 1 to %d", req.GetTimes(), mostTimes)
	}
	if req.GetPauseMilliseconds() > mostPause {
		return status.Errorf(codes.InvalidArgument, "pause_milliseconds is %d, allowed is at most %d",
			req.GetPauseMilliseconds(), mostPause)
	}
	pause := time.Duration(req.GetPauseMilliseconds()) * time.Millisecond
	for n := uint32(1); n <= req.GetTimes(); n++ {
		if n > 1 && pause > 0 {
			select {
			case <-time.After(pause):
			case <-stream.Context().Done():
				return stream.Context().Err()
			}
		}
		if err := stream.Send(e.reply(req.GetText(), n)); err != nil {
			return err
		}
	}
	return nil
}

// description is the answer of GET /: what arrived here, and where "here" is.
type description struct {
	Version      string `json:"version"`
	Platform     string `json:"platform"`
	Instance     string `json:"instance"`
	Protocol     string `json:"protocol"`
	TLS          bool   `json:"tls"`
	Host         string `json:"host"`
	Peer         string `json:"peer"`
	ForwardedFor string `json:"forwarded_for,omitempty"`
}

func (s *server) describe(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(description{
		Version: version, Platform: s.cfg.platform, Instance: s.cfg.instance,
		Protocol: r.Proto, TLS: r.TLS != nil, Host: r.Host, Peer: r.RemoteAddr,
		ForwardedFor: r.Header.Get("X-Forwarded-For"),
	})
}
