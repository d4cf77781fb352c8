package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A pauseError is a failure after which the server itself says how long to wait.
type pauseError struct {
	error
	wait time.Duration
}

func (e *pauseError) Unwrap() error { return e.error }

// withPause adds to err what the header of a 429 or 503 asks for.
func withPause(err error, h http.Header) error {
	if wait, ok := pause(h); ok {
		return &pauseError{err, wait}
	}
	return err
}

// pause reads Retry-After (RFC 9110, 10.2.3) and the Hub's ratelimit header
// (draft-ietf-httpapi-ratelimit-headers-09): `"api";r=0;t=55` says that nothing
// is left for 55 seconds.
func pause(h http.Header) (time.Duration, bool) {
	if text := h.Get("Ratelimit"); text != "" {
		left, reset := -1, -1
		for field := range strings.SplitSeq(text, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				continue
			}
			switch name {
			case "r":
				left = n
			case "t":
				reset = n
			}
		}
		if left == 0 && reset >= 0 && reset < 1<<20 {
			return time.Duration(reset+1) * time.Second, true // they count whole seconds
		}
	}
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 20); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		now := time.Now()
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date // by the server's clock: this machine's may be wrong
		}
		return max(0, at.Sub(now)), true
	}
	return 0, false
}

// backoff is the wait after the try-th failure in a row, without a pause that
// the server asked for. The jitter keeps many clients from coming back at once.
func (c *client) backoff(try int) time.Duration {
	wait := c.timing.Backoff << min(try-1, 3)
	return time.Duration(float64(wait) * (0.75 + rand.Float64()/2))
}

// again decides after a failure: it waits and returns nil to have another try,
// or returns the error to give up with. try counts the failures in a row
// without a new byte; 0 means that bytes came before the failure.
func (c *client) again(ctx context.Context, file string, err error, try int) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if permanent(err) {
		return err
	}
	if c.stalled() || try >= c.timing.Tries {
		return &StalledError{file, err}
	}
	wait := time.Duration(0)
	if try > 0 {
		wait = c.backoff(try)
	}
	var asked *pauseError
	if errors.As(err, &asked) {
		if asked.wait > c.timing.MostWait {
			return &StalledError{file, err}
		}
		wait = max(asked.wait, wait)
		c.alive(time.Now().Add(wait)) // waiting as told is no stall
	}
	if c.retried != nil {
		c.retried(file, err, wait, max(try, 1))
	}
	return sleep(ctx, wait)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// isCertificateError: the other side cannot prove who it is, now or later.
func isCertificateError(err error) bool {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
	)
	return errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid) || errors.As(err, &verify)
}
