package fetch

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// open asks for bytes [from, end) of the file, at the place that is known or,
// if none is or with viaHub, by way of the Hub. at is the byte that the answer begins with:
// from, or 0 where the server sends the whole file.
func (t *transfer) open(ctx context.Context, from, end int64, viaHub bool) (a *answer, at int64, delay time.Duration, err error) {
	t.locating.Lock()
	known := t.place
	if viaHub {
		known = nil
	}
	t.mu.Lock()
	server, ranges := t.server, !t.noRanges
	t.mu.Unlock()
	header := http.Header{}
	if ranges && (from > 0 || end < t.blob.size) {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, end-1))
	}
	if known == nil {
		endpoint := t.endpoints[server]
		a, err = t.locate(ctx, endpoint, header)
		t.locating.Unlock()
		if err != nil {
			return nil, 0, 0, err
		}
	} else {
		t.locating.Unlock()
		began := time.Now()
		if a, err = t.send(ctx, http.MethodGet, known.url, header); err != nil {
			return nil, 0, 0, err
		}
		delay = time.Since(began)
		if a.StatusCode >= 400 && a.StatusCode < 500 && a.StatusCode != 408 && a.StatusCode != 416 && a.StatusCode != 425 && a.StatusCode != 429 {
			// A signed address lives for a while only: ask for a new one.
			a.Body.Close()
			t.forget(known)
			return nil, 0, 0, &staleError{statusError(a)}
		}
		if tag := a.Header.Get("Etag"); a.StatusCode < 300 && tag != "" && known.etag != "" && tag != known.etag {
			a.Body.Close()
			t.forget(known) // the Hub says whether it is still the same file
			return nil, 0, 0, &staleError{fmt.Errorf("%s has another etag than before", plainURL(a.Request.URL))}
		}
	}
	at, err = t.admit(a, from, known)
	if err != nil {
		a.Body.Close()
		return nil, 0, 0, err
	}
	return a, at, delay, nil
}

// staleError is a refusal by the storage, not by the Hub, or a sign that the
// storage has another file: it is worth asking the Hub for another address.
type staleError struct{ reason error }

func (e *staleError) Error() string { return e.reason.Error() }

func (t *transfer) forget(known *place) {
	t.locating.Lock()
	if t.place == known {
		t.place = nil
	}
	t.locating.Unlock()
}

// locate asks an endpoint for the file and follows it to where the bytes are.
// t.locating is held.
func (t *transfer) locate(ctx context.Context, endpoint *url.URL, header http.Header) (*answer, error) {
	a, err := t.send(ctx, http.MethodGet, resolveURL(endpoint, t.repo, t.commit, t.blob.name()), header)
	if err != nil {
		return nil, err
	}
	if err := t.same(a.hub); err != nil {
		a.Body.Close()
		return nil, err
	}
	switch {
	case a.StatusCode < 300:
		t.place = &place{a.Request.URL, a.Header.Get("Etag")}
	case a.StatusCode >= 400 && a.fromHub && a.StatusCode != 416:
		err = withPause(t.hubError(a, t.repo, t.commit, t.blob.name(), endpoint), a.Header)
	case a.StatusCode >= 400 && a.StatusCode < 500 && a.StatusCode != 408 && a.StatusCode != 416 && a.StatusCode != 425 && a.StatusCode != 429:
		status := statusError(a)
		if err = error(&staleError{status}); t.strange() >= t.timing.Tries {
			err = status
		}
	}
	if err != nil {
		a.Body.Close()
		return nil, err
	}
	return a, nil
}

// strange counts answers of the storage that contradict the Hub.
func (t *transfer) strange() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.odd++
	return t.odd
}

// same compares what an endpoint now says of the file with what was listed.
func (t *transfer) same(h http.Header) error {
	if h == nil {
		return nil
	}
	if commit := h.Get("X-Repo-Commit"); isHex(commit, 40) && commit != t.commit {
		return &ChangedError{t.blob.name(), "commit", t.commit, commit}
	}
	if hash := etagHash(h); len(hash) == len(t.blob.hash) && hash != t.blob.hash {
		return &ChangedError{t.blob.name(), "hash", t.blob.hash, hash}
	}
	if size := h.Get("X-Linked-Size"); size != "" && size != decimal(t.blob.size) {
		return &ChangedError{t.blob.name(), "size", decimal(t.blob.size), shorten(size)}
	}
	return nil
}

// admit checks that an answer is one to the question; at is the byte it begins
// with.
func (t *transfer) admit(a *answer, from int64, known *place) (at int64, err error) {
	otherSize := func(size string) error {
		if known != nil {
			t.forget(known)
		}
		changed := &ChangedError{t.blob.name(), "size", decimal(t.blob.size), shorten(size)}
		if t.strange() >= 3 {
			return changed
		}
		return errors.New(changed.Error())
	}
	switch a.StatusCode {
	case http.StatusPartialContent:
		if a.Header.Get("Content-Encoding") != "" && a.Header.Get("Content-Encoding") != "identity" {
			t.mu.Lock()
			t.noRanges = true // of the compressed form they are of no use
			t.mu.Unlock()
			return 0, errors.New("a range of a compressed file came")
		}
		first, last, total, ok := contentRange(a.Header.Get("Content-Range"))
		if !ok || first != from || last < first {
			if t.strange() >= 5 { // more than a round of all connections: a server that cannot count may still have the whole
				t.mu.Lock()
				t.noRanges = true
				t.mu.Unlock()
			}
			return 0, fmt.Errorf("%s sent the wrong range: asked from byte %d, got %q", plainURL(a.Request.URL), from, shorten(a.Header.Get("Content-Range")))
		}
		if total >= 0 && total != t.blob.size || last >= t.blob.size {
			return 0, otherSize(decimal(total))
		}
		// The header, not the body, says how far the answer goes.
		a.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(a.Body, last-first+1), a.Body}
		return from, nil
	case http.StatusOK:
		if a.ContentLength >= 0 && a.ContentLength != t.blob.size && a.Header.Get("Content-Encoding") == "" {
			return 0, otherSize(decimal(a.ContentLength))
		}
		return 0, nil
	case http.StatusRequestedRangeNotSatisfiable:
		if _, _, total, ok := contentRange(a.Header.Get("Content-Range")); ok && total != t.blob.size {
			return 0, otherSize(decimal(total))
		}
		if known != nil {
			t.forget(known)
		}
		return 0, errors.New("the server has no such range")
	}
	return 0, withPause(statusError(a), a.Header)
}

// contentRange reads "bytes 0-99/1000", "bytes 0-99/*" and "bytes */1000"
// (RFC 9110, 14.4); what is not given is -1.
func contentRange(text string) (first, last, total int64, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes ")
	where, length, found := strings.Cut(text, "/")
	if !ok || !found {
		return 0, 0, 0, false
	}
	number := func(s string) int64 {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil {
			ok = false
		}
		return int64(n)
	}
	first, last, total = -1, -1, -1
	if where != "*" {
		a, b, _ := strings.Cut(where, "-")
		first, last = number(a), number(b)
	}
	if length != "*" {
		total = number(length)
	}
	return first, last, total, ok
}

// decoded undoes the compression that a proxy added although none was wanted.
func decoded(a *answer) (io.Reader, error) {
	switch coding := strings.ToLower(a.Header.Get("Content-Encoding")); coding {
	case "", "identity":
		return a.Body, nil
	case "gzip", "x-gzip":
		r, err := gzip.NewReader(a.Body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", plainURL(a.Request.URL), err)
		}
		return r, nil
	default:
		return nil, fmt.Errorf("%s sent the file in coding %q, which was not asked for", plainURL(a.Request.URL), shorten(coding))
	}
}
