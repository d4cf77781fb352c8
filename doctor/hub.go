package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gptctl/gptctl/fetch"
)

// hubAnswer is what the Hub said to a few questions.
type hubAnswer struct {
	endpoint string
	offline  bool
	hubErr   error
	way      way // to the Hub
	status   int
	commit   bool // the answer names a commit, as the Hub's do
	date     time.Time
	asked    time.Time
	rate     rateLimit

	cdnHost   string
	cdnErr    error
	cdnWay    way
	cdnStatus int

	token       string // where the token is from, "" without one
	tokenUnsent string // why it was not sent
	tokenErr    error
	tokenStatus int

	modelErr    error // of Options.Model
	modelStatus int
	modelCode   string // X-Error-Code
}

// A small file of a public model, and a large one that the Hub keeps elsewhere.
const (
	smallFile = "/openai-community/gpt2/resolve/main/config.json"
	largeFile = "/openai-community/gpt2/resolve/main/model.safetensors"
)

func (e *Env) askHub(ctx context.Context) (a hubAnswer) {
	a = hubAnswer{endpoint: strings.TrimRight(e.Host.Getenv("HF_ENDPOINT"), "/")}
	if a.endpoint == "" {
		a.endpoint = "https://huggingface.co"
	}
	switch strings.ToUpper(e.Host.Getenv("HF_HUB_OFFLINE")) {
	case "1", "ON", "YES", "TRUE":
		a.offline = true
		return a
	}
	r, err := e.ask(ctx, http.MethodHead, a.endpoint+smallFile, "", &a.way)
	a.asked = e.tools.Now()
	if err != nil {
		a.hubErr = err
		return a
	}
	a.status, a.commit = r.StatusCode, r.Header.Get("X-Repo-Commit") != ""
	a.date, _ = http.ParseTime(r.Header.Get("Date"))
	a.rate = parseRateLimit(r.Header)

	var rest sync.WaitGroup
	defer rest.Wait() // before a, which has a name for that, is copied
	token, source := e.token()
	a.token = source
	if u, err := url.Parse(a.endpoint); token != "" && err == nil && u.Scheme != "https" && !loopback(u.Hostname()) {
		token, a.tokenUnsent = "", "the endpoint is not https, so the token was not sent"
	}
	if token != "" {
		rest.Go(func() {
			if r, err := e.ask(ctx, http.MethodGet, a.endpoint+"/api/whoami-v2", token, nil); err != nil {
				a.tokenErr = err
			} else {
				a.tokenStatus = r.StatusCode
			}
		})
	}
	if id, err := fetch.ParseModelID(e.options.Model); err == nil {
		rest.Go(func() {
			revision := id.Revision
			if revision == "" {
				revision = "main"
			}
			r, err := e.ask(ctx, http.MethodHead, a.endpoint+"/"+id.Repo+"/resolve/"+url.PathEscape(revision)+"/config.json", token, nil)
			if err != nil {
				a.modelErr = err
				return
			}
			a.modelStatus, a.modelCode = r.StatusCode, r.Header.Get("X-Error-Code")
		})
	}
	r, err = e.ask(ctx, http.MethodHead, a.endpoint+largeFile, "", nil)
	if err != nil {
		a.cdnErr = err
		return a
	}
	to, err := r.Location()
	if err != nil || to.Host == r.Request.URL.Host {
		return a // the Hub, or a mirror, gives it itself
	}
	a.cdnHost = to.Host
	if r, err = e.ask(ctx, http.MethodHead, to.String(), "", &a.cdnWay); err != nil {
		a.cdnErr = err
		return a
	}
	a.cdnStatus = r.StatusCode
	return a
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ask makes one request; what the answer holds is not kept.
func (e *Env) ask(ctx context.Context, method, address, token string, w *way) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept-Encoding", "identity")
	q.Header.Set("User-Agent", "gptctl-doctor")
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	if w != nil {
		if proxy, err := http.ProxyFromEnvironment(q); err == nil && proxy != nil {
			w.proxy = proxy.Host
		}
		w.host, w.https = q.URL.Host, q.URL.Scheme == "https"
		var done func()
		q, done = traced(q, w)
		defer done()
	}
	r, err := e.tools.HTTP.Do(q)
	if err != nil {
		return nil, err
	}
	_, err = io.CopyN(io.Discard, r.Body, 64<<10)
	if closing := r.Body.Close(); err == nil || errors.Is(err, io.EOF) {
		err = closing
	}
	return r, err
}

// way is how far a request came: name, connection, encryption.
type way struct {
	host, proxy string // with a proxy the name and the connection are the proxy's
	https       bool

	dns, tcp, tls step
	addresses     int
	version       uint16 // of TLS
	issuer        string // who vouches for the certificate
}

// step is one part of the way.
type step struct {
	begun, done bool
	err         error
	took        time.Duration
	start       time.Time
}

func (s *step) begin() {
	if !s.begun {
		s.begun, s.start = true, time.Now()
	}
}

// end keeps the first success: of several addresses one is enough.
func (s *step) end(err error) {
	if s.done && s.err == nil {
		return
	}
	s.done, s.err, s.took = true, err, time.Since(s.start)
}

// failed is the error of a step that was begun and did not succeed.
func (s step) failed(whole error) error {
	switch {
	case s.err != nil:
		return s.err
	case s.begun && !s.done && whole != nil:
		return whole
	}
	return nil
}

// traced writes down the way of a request into w when done is called; what the
// transport reports after that is left out.
func traced(q *http.Request, w *way) (traced *http.Request, done func()) {
	var lock sync.Mutex
	seen := *w
	note := func(f func()) { lock.Lock(); defer lock.Unlock(); f() }
	trace := &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { note(seen.dns.begin) },
		DNSDone: func(i httptrace.DNSDoneInfo) {
			note(func() { seen.dns.end(i.Err); seen.addresses = len(i.Addrs) })
		},
		ConnectStart:      func(string, string) { note(seen.tcp.begin) },
		ConnectDone:       func(_, _ string, err error) { note(func() { seen.tcp.end(err) }) },
		TLSHandshakeStart: func() { note(seen.tls.begin) },
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			note(func() {
				seen.tls.end(err)
				seen.version = s.Version
				if len(s.PeerCertificates) > 0 {
					if i := s.PeerCertificates[0].Issuer; len(i.Organization) > 0 {
						seen.issuer = i.Organization[0]
					} else {
						seen.issuer = i.CommonName
					}
				}
			})
		},
	}
	return q.WithContext(httptrace.WithClientTrace(q.Context(), trace)), func() { note(func() { *w = seen }) }
}

// rateLimit is what the Hub still lets this address ask
// (draft-ietf-httpapi-ratelimit-headers).
type rateLimit struct {
	known           bool
	left, of        int // of is 0 if it is not told
	resets, windows int // seconds
}

// parseRateLimit reads `ratelimit: "api";r=499;t=55` and
// `ratelimit-policy: "fixed window";"api";q=500;w=300`.
func parseRateLimit(h http.Header) rateLimit {
	number := func(header, key string) (int, bool) {
		for part := range strings.SplitSeq(h.Get(header), ";") {
			if text, ok := strings.CutPrefix(strings.TrimSpace(part), key+"="); ok {
				n, err := strconv.Atoi(text)
				return n, err == nil && n >= 0
			}
		}
		return 0, false
	}
	var l rateLimit
	l.left, l.known = number("Ratelimit", "r")
	l.resets, _ = number("Ratelimit", "t")
	l.of, _ = number("Ratelimit-Policy", "q")
	l.windows, _ = number("Ratelimit-Policy", "w")
	return l
}

// token is the user's, with the name of the variable or file it is from. It is
// never shown.
func (e *Env) token() (token, source string) {
	h := e.Host
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if t := strings.Join(strings.Fields(h.Getenv(name)), ""); t != "" {
			return t, name
		}
	}
	file := h.Getenv("HF_TOKEN_PATH")
	if file == "" && h.Getenv("HF_HOME") != "" {
		file = path.Join(h.Getenv("HF_HOME"), "token")
	}
	if file == "" && h.Getenv("HOME") != "" {
		file = path.Join(h.Getenv("HOME"), ".cache/huggingface/token")
	}
	if file == "" || !h.Exists(file) {
		return "", ""
	}
	b, err := h.ReadFile(file)
	if err != nil || len(b) > 4096 {
		return "", file
	}
	return strings.Join(strings.Fields(string(b)), ""), file
}

// hostOf leaves out what may be secret in an address.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "an address that is not a URL"
	}
	return u.Host
}

// unreachable says in a few words why a server did not answer.
func unreachable(err error) (words, remedy string) {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &dns) && dns.IsTimeout:
		return "the DNS server does not answer in time", "check the DNS server and the network"
	case errors.As(err, &dns):
		return "its name is not known here", "check the DNS server, or the proxy if there is one"
	case errors.As(err, &unknown):
		return "its certificate is of an authority that is not trusted here", "a proxy may put in its own: name its CA by SSL_CERT_FILE"
	case errors.As(err, &name):
		return "its certificate is for another name", "a proxy or a login page of the network answers in its place"
	case errors.As(err, &invalid), errors.As(err, &cert):
		return "its certificate is not accepted", "check this machine's clock and CA certificates"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "it does not speak TLS", "a proxy or a login page of the network answers in its place"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refuses the connection", "check the firewall and the proxy"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no way to it", "check the network: an address of IPv6 or IPv4 alone may not do"
	case errors.Is(err, context.DeadlineExceeded):
		return "it does not answer in time", "check the firewall: it may drop packets"
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err.Error(), "check firewall and proxy"
}

// hubVerdict is how bad it is that the Hub cannot be asked.
func (e *Env) hubVerdict() Verdict {
	if e.cached() { // it is not needed then
		return Warn
	}
	return Fail
}

// onWay judges one step of the way to the Hub. The steps after one that failed
// are skipped.
func onWay(e *Env, which func(*way) *step, before string, earlier func(*way) *step, passes func(w way, took time.Duration) string) Finding {
	a := e.hub()
	w := a.way
	s := *which(&w)
	host := w.host
	if w.proxy != "" {
		host = "the proxy " + w.proxy
	}
	switch {
	case a.offline:
		return skipped("HF_HUB_OFFLINE is set")
	case earlier != nil && earlier(&w).failed(a.hubErr) != nil:
		return skipped("it did not come to that: see %s", before)
	}
	if err := s.failed(a.hubErr); err != nil {
		words, remedy := unreachable(err)
		return judged(e.hubVerdict(), "%s: %s", host, words).needs("an answer").mend("", "%s", remedy+elsewhere)
	}
	if !s.done {
		return Finding{}
	}
	return passed("%s", passes(w, s.took.Round(time.Millisecond)))
}

const elsewhere = "; or work with --model demo, or a folder"

func netDNS(_ context.Context, e *Env) Finding {
	f := onWay(e, func(w *way) *step { return &w.dns }, "", nil, func(w way, took time.Duration) string {
		return fmt.Sprintf("%s has %d addresses, in %v", yes(w.proxy != "", "the proxy", w.host), w.addresses, took)
	})
	if f.Verdict == "" {
		return skipped("no name had to be looked up")
	}
	return f
}

func netTCP(_ context.Context, e *Env) Finding {
	f := onWay(e, func(w *way) *step { return &w.tcp }, "net.dns", func(w *way) *step { return &w.dns }, func(w way, took time.Duration) string {
		return fmt.Sprintf("%s takes connections, in %v", yes(w.proxy != "", "the proxy", w.host), took)
	})
	if f.Verdict == "" {
		return skipped("no connection was made")
	}
	return f
}

func netTLS(_ context.Context, e *Env) Finding {
	f := onWay(e, func(w *way) *step { return &w.tls }, "net.tcp", func(w *way) *step {
		if w.dns.err != nil {
			return &w.dns
		}
		return &w.tcp
	}, func(w way, took time.Duration) string {
		return fmt.Sprintf("%s, certificate by %s, in %v", tls.VersionName(w.version), yes(w.issuer != "", w.issuer, "somebody unnamed"), took)
	})
	switch {
	case f.Verdict != "":
		return f
	case !e.hub().way.https:
		return skipped("the endpoint is not https")
	}
	return skipped("it did not come to that")
}

func netRate(_ context.Context, e *Env) Finding {
	a := e.hub()
	l := a.rate
	switch {
	case a.offline:
		return skipped("HF_HUB_OFFLINE is set")
	case a.hubErr != nil:
		return skipped("the Hub does not answer: see net.hub")
	case !l.known:
		return skipped("the server does not tell")
	}
	found := fmt.Sprintf("%d left", l.left)
	if l.of > 0 {
		found = fmt.Sprintf("%d of %d left", l.left, l.of)
	}
	if l.windows > 0 {
		found += fmt.Sprintf(" in %d s", l.windows)
	}
	return atLeast(l.left > l.of/20, Warn, "%s", found).needs("more than %d", l.of/20).
		mend("", "wait %d s, or use a token: those who are known may ask more", l.resets)
}

func netToken(_ context.Context, e *Env) Finding {
	token, source := e.token()
	switch {
	case source == "":
		return skipped("there is none; GPT-2 needs none")
	case token == "":
		return warned("%s holds none that can be read", source).needs("a token, or no file").mend("gptctl fetch --help", "write the token into it again, or remove it")
	}
	if !e.options.Network {
		return passed("from %s; whether it is valid was not asked", source)
	}
	a := e.hub()
	if a.offline || a.hubErr != nil || a.tokenErr != nil || a.tokenUnsent != "" {
		return passed("from %s; whether it is valid could not be asked%s", source, yes(a.tokenUnsent != "", ": "+a.tokenUnsent, ""))
	}
	switch {
	case a.tokenStatus == http.StatusOK:
		return passed("from %s, valid", source)
	case a.tokenStatus == http.StatusUnauthorized || a.tokenStatus == http.StatusForbidden:
		// The Hub then refuses public models, too.
		return failed("from %s, not valid (%d)", source, a.tokenStatus).needs("a valid one, or none").
			mend("", "make a new one at https://huggingface.co/settings/tokens, or take this one away")
	}
	return skipped("from %s; asked whether it is valid, the server answers %d", source, a.tokenStatus)
}

func netGated(_ context.Context, e *Env) Finding {
	a := e.hub()
	id, err := fetch.ParseModelID(e.options.Model)
	switch {
	case e.options.Model == "" || err != nil:
		return skipped("no model of the Hub was named: --model OWNER/NAME")
	case a.offline:
		return skipped("HF_HUB_OFFLINE is set")
	case a.hubErr != nil:
		return skipped("the Hub does not answer: see net.hub")
	case a.modelErr != nil:
		return skipped("no answer about %s", id.Repo)
	case a.modelCode == "GatedRepo":
		return failed("%s is gated, and not open to %s", id.Repo, yes(a.token != "", "this token", "those without a token")).needs("access").
			mend("", "ask for access on its page, https://huggingface.co/%s, and set HF_TOKEN", id.Repo)
	case a.modelCode == "RevisionNotFound":
		return failed("%s has no revision %s", id.Repo, id.Revision).needs("one that it has").mend("gptctl fetch "+id.Repo, "look at its page, or leave the revision out")
	case a.modelCode == "EntryNotFound", a.modelStatus < 400:
		return passed("%s is open to us", id.Repo)
	case a.modelStatus == http.StatusUnauthorized, a.modelStatus == http.StatusNotFound, a.modelStatus == http.StatusForbidden:
		return failed("%s: there is no such model, or it is private", id.Repo).needs("a model that may be read").
			mend("", "check the name; a private one needs the token of somebody who may read it")
	}
	return skipped("asked about %s, the server answers %d", id.Repo, a.modelStatus)
}
