package hubtest

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Request is one line of the server's log.
type Request struct {
	Start, End     time.Time // End is zero while it runs
	Host           string    // "hub", "cdn" or "foreign"
	Route          Route
	Method, URL    string
	Proto          string
	Repo, Path     string // of the file, also on the CDN
	Range          string // the header
	AcceptEncoding string
	UserAgent      string
	Token          string // Authorization without "Bearer "
	Status         int    // 0: no answer
	Bytes          int64  // of body, as handed to the kernel
	Fault          bool   // a fault struck
}

// journal is the log and the counters.
type journal struct {
	mu       sync.Mutex
	requests []*Request
	open     map[net.Conn]string
	peak     int
	accepted int
}

func (j *journal) begin(r Request) *Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.Start = time.Now()
	j.requests = append(j.requests, &r)
	return &r
}

func (j *journal) update(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
}

func (j *journal) connection(host string) func(net.Conn, http.ConnState) {
	return func(c net.Conn, state http.ConnState) {
		j.mu.Lock()
		defer j.mu.Unlock()
		switch state {
		case http.StateNew:
			j.open[c] = host
			j.accepted++
			j.peak = max(j.peak, len(j.open))
		case http.StateClosed, http.StateHijacked:
			delete(j.open, c)
		}
	}
}

// Requests returns a copy of the log, oldest first.
func (s *Server) Requests() []Request {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	out := make([]Request, len(s.journal.requests))
	for i, r := range s.journal.requests {
		out[i] = *r
	}
	return out
}

// Count says how many requests of the route there were; path "" is any.
func (s *Server) Count(route Route, path string) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Route == route && (path == "" || path == r.Path) {
			n++
		}
	}
	return n
}

// BytesOf sums the body bytes sent of a file, over all hosts; path "" is all
// files. What a killed client had not read yet is counted: Options.SendBuffer
// bounds the server's share of that, and a drip that the client keeps up with its own.
func (s *Server) BytesOf(path string) int64 {
	var n int64
	for _, r := range s.Requests() {
		ofFile := r.Route == RouteResolve || r.Route == RouteCDN || r.Route == RouteForeign
		if ofFile && (path == "" || path == r.Path) && r.Status/100 == 2 {
			n += r.Bytes
		}
	}
	return n
}

// Tokens are the tokens that a host ("hub", "cdn", "foreign") was shown.
func (s *Server) Tokens(host string) []string {
	var out []string
	for _, r := range s.Requests() {
		if r.Host == host && r.Token != "" && !slices.Contains(out, r.Token) {
			out = append(out, r.Token)
		}
	}
	return out
}

// Connections says how many are open now, the most that were open at once and
// how many there were, over all hosts.
func (s *Server) Connections() (now, peak, accepted int) {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return len(s.journal.open), s.journal.peak, s.journal.accepted
}

// Forget empties the log; connections stay counted.
func (s *Server) Forget() {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	s.journal.requests = nil
	s.journal.peak, s.journal.accepted = len(s.journal.open), 0
}
