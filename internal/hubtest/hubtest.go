// Package hubtest is a stand-in for the Hugging Face Hub on loopback: the API,
// the resolve route and a CDN with signed URLs on a host of its own, which
// misbehave when told to. README.md says what was checked against the Python
// huggingface_hub. Only tests import it.
package hubtest

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Options shape a server. The zero value is TLS with HTTP/1.1.
type Options struct {
	PlainHTTP    bool          // http:// on all hosts
	HTTP2        bool          // offered beside HTTP/1.1, as the Hub does
	PageSize     int           // entries of a tree page; 0: 1000
	URLLifetime  time.Duration // of signed URLs; 0: an hour
	ResolveCache bool          // small files by a relative 307 to /api/resolve-cache, as the Hub does since 2025
	Mirror       bool          // LFS files come from the hub itself, no redirect
	NamedHosts   bool          // hub.test, cdn.test, foreign.test: reached through Proxy or Client, not by DNS
	ClockSkew    time.Duration // the server's clock, Date header included, is so far ahead
	Control      bool          // faults and log over HTTP, below /_hubtest/
	SendBuffer   int           // bytes of every connection's kernel send buffer; 0: the system's choice
}

// Server is a running stand-in.
type Server struct {
	options Options
	caPEM   []byte
	urls    map[string]string // by host: "hub", "cdn", "foreign"
	servers []*http.Server
	secret  [32]byte
	done    chan struct{}
	close   sync.Once
	journal journal

	mu         sync.Mutex
	repos      map[string]*Repo
	renamed    map[string]string
	users      map[string]user // by token
	faults     []*Fault
	generation int // of signed URLs: older ones are expired
	refuse     int
	blobs      map[string]blob
}

type user struct {
	name string
	in   []string // gated and private repositories it may have
}

type blob struct {
	repo string
	*file
}

// TB is the part of testing.TB that New needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// New starts a server that ends with the test.
func New(t TB, options Options) *Server {
	t.Helper()
	s, err := Start(options)
	if err != nil {
		t.Fatalf("start the stand-in hub: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Start starts a server; Close ends it.
func Start(options Options) (*Server, error) {
	s := &Server{
		options: options,
		urls:    map[string]string{},
		done:    make(chan struct{}),
		repos:   map[string]*Repo{},
		renamed: map[string]string{},
		users:   map[string]user{},
		blobs:   map[string]blob{},
	}
	s.journal.open = map[net.Conn]string{}
	if s.options.PageSize == 0 {
		s.options.PageSize = 1000
	}
	if s.options.URLLifetime == 0 {
		s.options.URLLifetime = time.Hour
	}
	if _, err := rand.Read(s.secret[:]); err != nil {
		return nil, err
	}
	caPEM, certificate, err := newAuthority()
	if err != nil {
		return nil, err
	}
	s.caPEM = caPEM
	for host, handler := range map[string]http.HandlerFunc{"hub": s.serveHub, "cdn": s.serveCDN, "foreign": s.serveForeign} {
		if err := s.listen(host, handler, certificate); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) listen(host string, handler http.Handler, certificate tls.Certificate) error {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// The hub is localhost and the others 127.0.0.1: the same machine, but for
	// every client another host.
	name := map[string]string{"hub": "localhost", "cdn": "127.0.0.1", "foreign": "127.0.0.1"}[host]
	if s.options.NamedHosts {
		name = host + ".test"
	}
	scheme := "https"
	if s.options.PlainHTTP {
		scheme = "http"
	}
	s.urls[host] = fmt.Sprintf("%s://%s:%d", scheme, name, inner.Addr().(*net.TCPAddr).Port)
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		ConnState:         s.journal.connection(host),
		ErrorLog:          log.New(io.Discard, "", 0), // broken connections are this server's trade
		ReadHeaderTimeout: time.Minute,
		Protocols:         new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(s.options.HTTP2)
	s.servers = append(s.servers, server)
	l := &listener{Listener: inner, server: s}
	go func() {
		if s.options.PlainHTTP {
			_ = server.Serve(l)
		} else {
			_ = server.ServeTLS(l, "", "")
		}
	}()
	return nil
}

// Close ends the server and every request it still has.
func (s *Server) Close() {
	s.close.Do(func() { close(s.done) })
	for _, server := range s.servers {
		_ = server.Close()
	}
}

// Endpoint is the value for HF_ENDPOINT.
func (s *Server) Endpoint() string { return s.urls["hub"] }

// CDN is the base of signed URLs.
func (s *Server) CDN() string { return s.urls["cdn"] }

// Foreign is the base of the host that no token may reach.
func (s *Server) Foreign() string { return s.urls["foreign"] }

// CAPEM is the certificate to trust.
func (s *Server) CAPEM() []byte { return s.caPEM }

// WriteCA writes the certificate to trust into the directory and returns its
// path, for SSL_CERT_FILE and curl's --cacert.
func (s *Server) WriteCA(dir string) (string, error) {
	path := filepath.Join(dir, "hubtest-ca.pem")
	return path, os.WriteFile(path, s.caPEM, 0o644)
}

// Client returns a client that trusts the server, finds its hosts under any
// name and uses no proxy.
func (s *Server) Client() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.caPEM)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool},
		ForceAttemptHTTP2: s.options.HTTP2,
		DialContext:       here,
	}}
}

// AddUser makes a token valid, and lets its owner into the repositories.
func (s *Server) AddUser(token, name string, in ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[token] = user{name, in}
}

// ExpireURLs makes all signed URLs given so far worthless.
func (s *Server) ExpireURLs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
}

// RefuseConnections closes the next n connections as soon as they are there.
func (s *Server) RefuseConnections(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = n
}

func (s *Server) now() time.Time { return time.Now().Add(s.options.ClockSkew) }

// member says whether the token's owner was let into the repository.
func (s *Server) member(token, repo string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.users[token].in, repo)
}

type listener struct {
	net.Listener
	server *Server
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.server.mu.Lock()
		refused := l.server.refuse > 0
		if refused {
			l.server.refuse--
		}
		l.server.mu.Unlock()
		tcp, ok := c.(*net.TCPConn)
		if refused {
			if ok {
				_ = tcp.SetLinger(0)
			}
			_ = c.Close()
			continue
		}
		if n := l.server.options.SendBuffer; n > 0 && ok {
			if err := tcp.SetWriteBuffer(n); err != nil {
				return nil, errors.Join(err, c.Close())
			}
		}
		return c, nil
	}
}
