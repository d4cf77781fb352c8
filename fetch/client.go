package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// mostRedirects is how many redirections in a row are followed.
const mostRedirects = 10

// errSilent ends a connection on which no byte came for too long.
var errSilent = errors.New("the connection went silent")

// client asks the Hub and its mirrors over HTTP.
type client struct {
	http      http.RoundTripper
	endpoints []*url.URL
	token     string
	source    string // of the token
	userAgent string
	timing    Timing
	limit     *limiter
	retried   func(file string, err error, wait time.Duration, try int)

	received atomic.Int64 // bytes of files, wasted ones included
	began    time.Time
	last     atomic.Int64 // when the last new byte came, as the time since began
}

// alive notes that a byte came, or that a server asked for a pause until then.
// Times since a beginning are not upset by somebody who sets the clock.
func (c *client) alive(until time.Time) {
	at := int64(until.Sub(c.began))
	for {
		last := c.last.Load()
		if last >= at || c.last.CompareAndSwap(last, at) {
			return
		}
	}
}

// stalled tells that nothing came from anywhere for too long.
func (c *client) stalled() bool {
	return time.Since(c.began)-time.Duration(c.last.Load()) >= c.timing.GiveUp
}

// answer is a response and how it was come by.
type answer struct {
	*http.Response
	// hub is the header of the last response that an endpoint itself gave: the
	// one that describes the file when the bytes come from elsewhere.
	hub http.Header
	// fromHub: the final response is an endpoint's, not a storage host's.
	fromHub bool
}

// isEndpoint tells whether the token may be sent to u: it has scheme and host
// of an address that the user has configured.
func (c *client) isEndpoint(u *url.URL) bool {
	return slices.ContainsFunc(c.endpoints, func(e *url.URL) bool {
		return e.Scheme == u.Scheme && strings.EqualFold(e.Host, u.Host)
	})
}

// send makes a request and follows redirections; with headOnly it stops at one
// that leaves the host, as the Hub's own description of a file comes with it.
// The body ends with errSilent when no byte comes for a while; it must be
// closed.
func (c *client) send(ctx context.Context, method string, u *url.URL, header http.Header) (*answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	silence := time.AfterFunc(c.timing.Silence, func() { cancel(errSilent) })
	fail := func(err error) (*answer, error) {
		silence.Stop()
		if context.Cause(ctx) == errSilent {
			err = errSilent
		}
		cancel(nil)
		return nil, err
	}
	a := &answer{}
	seen := map[string]bool{}
	for first := u; ; {
		if seen[u.String()] {
			return fail(&RedirectError{URL: plainURL(first), Loop: true})
		}
		if len(seen) > mostRedirects {
			return fail(&RedirectError{URL: plainURL(first)})
		}
		seen[u.String()] = true
		request, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
		if err != nil {
			return fail(err)
		}
		for name, values := range header {
			request.Header[name] = values
		}
		request.Header.Set("User-Agent", c.userAgent)
		request.Header.Set("Accept-Encoding", "identity") // a compressed answer has no length and no ranges
		endpoint := c.isEndpoint(u)
		if endpoint && c.token != "" {
			request.Header.Set("Authorization", "Bearer "+c.token)
		}
		response, err := c.http.RoundTrip(request)
		if err != nil {
			if errors.Is(err, context.Canceled) && context.Cause(ctx) != errSilent {
				return fail(err)
			}
			if context.Cause(ctx) == errSilent {
				err = errSilent
			}
			return fail(&UnreachableError{u.Host, withoutURL(err)})
		}
		silence.Reset(c.timing.Silence)
		if endpoint {
			a.hub = response.Header
		}
		next := response.Header.Get("Location")
		redirect := next != "" && (response.StatusCode == 301 || response.StatusCode == 302 || response.StatusCode == 303 ||
			response.StatusCode == 307 || response.StatusCode == 308)
		if redirect {
			target, err := u.Parse(next)
			if err != nil || target.Host == "" || (target.Scheme != "http" && target.Scheme != "https") {
				response.Body.Close()
				return fail(&ProtocolError{plainURL(u), errors.New("redirects to what is no address")})
			}
			if method != http.MethodHead || target.Host == u.Host {
				_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // so that the connection can be used again
				response.Body.Close()
				u = target
				continue
			}
		}
		a.Response, a.fromHub = response, endpoint
		a.Body = &watchedBody{response.Body, ctx, cancel, silence, c.timing.Silence}
		return a, nil
	}
}

// watchedBody ends a read during which no byte comes.
type watchedBody struct {
	io.ReadCloser
	ctx     context.Context
	cancel  context.CancelCauseFunc
	silence *time.Timer
	after   time.Duration
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.silence.Reset(b.after) // time that the reader spends elsewhere does not count
	defer b.silence.Stop()
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errSilent {
		err = errSilent
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.silence.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// plainURL names an address in messages: without user and query, which in a
// signed address are secrets.
func plainURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// withoutURL takes the address off an error of package net/http, for the same reason.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// statusError describes an answer that is no success, with the server's own
// words where it has any.
func statusError(a *answer) *StatusError {
	message := a.Header.Get("X-Error-Message")
	if message == "" {
		text := make([]byte, 2048)
		n, _ := io.ReadFull(a.Body, text)
		message = errorInBody(text[:n])
	}
	message = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, message)
	if len(message) > 200 {
		message = strings.ToValidUTF8(message[:200], "") + "…"
	}
	return &StatusError{plainURL(a.Request.URL), a.StatusCode, message}
}

// hubError says what an answer of the Hub means: its error codes come in
// headers. name is the revision or the file that was asked for.
func (c *client) hubError(a *answer, repo, revision, file string, endpoint *url.URL) error {
	notFound := func(what Missing, name string) error {
		return &NotFoundError{what, repo, name, plainURL(endpoint), c.token != ""}
	}
	status := statusError(a)
	switch code := a.Header.Get("X-Error-Code"); {
	case code == "GatedRepo":
		return &GatedError{repo, endpoint.JoinPath(repo).String(), c.token != ""}
	case code == "RevisionNotFound":
		return notFound(MissingRevision, revision)
	case code == "EntryNotFound":
		return notFound(MissingFile, file)
	case code == "RepoNotFound":
		return notFound(MissingModel, "")
	case status.Status == 401 && c.token != "" && strings.Contains(status.Message, "Invalid credentials"),
		status.Status == 401 && c.token != "" && strings.Contains(status.Message, "Invalid username or password"):
		return &CredentialsError{c.source}
	case status.Status == 401:
		return notFound(MissingModel, "") // the Hub does not tell strangers which private models exist
	case status.Status == 404 && file != "":
		return notFound(MissingFile, file)
	case status.Status == 404:
		return notFound(MissingModel, "")
	}
	return status
}

// permanent tells that asking the same place again cannot help.
func permanent(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		switch status.Status {
		case 408, 425, 429, 500, 502, 503, 504:
			return false
		}
		return true
	}
	var (
		gated       *GatedError
		missing     *NotFoundError
		credentials *CredentialsError
		redirect    *RedirectError
		changed     *ChangedError
		room        *NoRoomError
		readOnly    *ReadOnlyError
		path        *PathError
		protocol    *ProtocolError
	)
	return errors.As(err, &gated) || errors.As(err, &missing) || errors.As(err, &credentials) || errors.As(err, &redirect) ||
		errors.As(err, &changed) || errors.As(err, &room) || errors.As(err, &readOnly) || errors.As(err, &path) ||
		errors.As(err, &protocol) || isCertificateError(err) || errors.Is(err, context.Canceled)
}
