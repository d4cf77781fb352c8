package fetch

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/hubtest"
)

// is tells whether err is or wraps an E.
func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// Every fault ends with the right bytes or with a clear error, and never with
// a wrong file.
func TestFaults(t *testing.T) {
	const size = 4<<20 + 4321
	weights := func(f hubtest.Fault) []hubtest.Fault {
		f.Path = "model.safetensors"
		return []hubtest.Fault{f}
	}
	cdn := func(f hubtest.Fault) []hubtest.Fault {
		f.On = hubtest.RouteCDN
		return []hubtest.Fault{f}
	}
	small := func(f hubtest.Fault) []hubtest.Fault {
		f.On, f.Path = hubtest.RouteResolve, "config.json"
		return []hubtest.Fault{f}
	}
	other := strings.Repeat("b", 64)
	// Most of them wait most of the time: more run at once than there are cores.
	var all sync.WaitGroup
	seats := make(chan struct{}, 8)
	for _, test := range []struct {
		name   string
		faults []hubtest.Fault
		wrong  func(error) bool // nil: the right bytes
		tries  int              // 0: as usual
		wasted int64            // most bytes above the file's size; 0 means a megabyte
	}{
		{name: "cut at every 1 MB", faults: cdn(hubtest.Fault{CutAfter: 200 << 10})},
		{name: "reset at every 100 kB", faults: cdn(hubtest.Fault{CutAfter: 100 << 10, Reset: true})},
		{name: "hang up", faults: cdn(hubtest.Fault{Hangup: true, Times: 5})},
		{name: "500 for a while", faults: cdn(hubtest.Fault{Status: 500, Times: 10})},
		{name: "502 for a while", faults: cdn(hubtest.Fault{Status: 502, Times: 10})},
		{name: "503 with Retry-After", faults: cdn(hubtest.Fault{Status: 503, RetryAfter: "1", Times: 3})},
		{name: "503 from the hub", faults: weights(hubtest.Fault{On: hubtest.RouteResolve, Status: 503, Times: 3})},
		{name: "429 without Retry-After", faults: cdn(hubtest.Fault{Status: 429, Times: 5})},
		{name: "429 with ratelimit", faults: []hubtest.Fault{{On: hubtest.RouteInfo, Status: 429, RateLimit: `"api";r=0;t=1`, Times: 1}}},
		{name: "504 from the API", faults: []hubtest.Fault{{On: hubtest.RouteTree, Status: 504, Times: 2}}},
		{name: "500 for ever", faults: cdn(hubtest.Fault{Status: 500}), wrong: is[*StalledError]},
		{name: "429 for ever", faults: []hubtest.Fault{{On: hubtest.RouteInfo, Status: 429}}, wrong: is[*StalledError]},
		{name: "Retry-After of a day", faults: cdn(hubtest.Fault{Status: 503, RetryAfter: "86400"}), wrong: is[*StalledError]},
		{name: "stall in the body", faults: cdn(hubtest.Fault{Stall: "body", StallAfter: 50 << 10, Times: 4})},
		{name: "stall before the headers", faults: cdn(hubtest.Fault{Stall: "headers", Times: 2})},
		{name: "dead for ever", faults: weights(hubtest.Fault{On: hubtest.RouteResolve, Stall: "headers"}), tries: 2, wrong: is[*StalledError]},
		{name: "the hub dead for ever", faults: []hubtest.Fault{{On: hubtest.RouteInfo, Stall: "headers"}}, wrong: func(err error) bool { return is[*StalledError](err) || is[*UnreachableError](err) }},
		{name: "slow drip on one connection", faults: cdn(hubtest.Fault{BytesPerSecond: 2000, Times: 1})},
		{name: "flipped bit once", faults: cdn(hubtest.Fault{Flip: []int64{1 << 20}, Times: 3}), wasted: size + 1<<20},
		{name: "flipped bit for ever", faults: weights(hubtest.Fault{Flip: []int64{4 << 20}}), wrong: is[*ChecksumError]},
		{name: "truncated, Content-Length true", faults: cdn(hubtest.Fault{CutAfter: 1000, Times: 3})},
		{name: "truncated, Content-Length lies", faults: cdn(hubtest.Fault{TruncateTo: 1000, Times: 3})},
		{name: "truncated for ever", faults: small(hubtest.Fault{TruncateTo: 10}), wrong: func(error) bool { return true }},
		{name: "gzip'd small file", faults: small(hubtest.Fault{Gzip: true})},
		{name: "gzip'd large file", faults: weights(hubtest.Fault{Gzip: true}), wasted: 2 * size},
		{name: "gzip'd listing", faults: []hubtest.Fault{{On: hubtest.RouteTree, Gzip: true}}},
		{name: "expired URL", faults: cdn(hubtest.Fault{Expired: true, Times: 3})},
		{name: "URLs that expire again and again", faults: cdn(hubtest.Fault{ExpireAfter: true})},
		{name: "URLs that never work", faults: cdn(hubtest.Fault{Expired: true}), wrong: is[*StatusError]},
		{name: "redirect loop", faults: weights(hubtest.Fault{On: hubtest.RouteResolve, RedirectTo: "self"}), wrong: is[*RedirectError]},
		{name: "redirect loop of the API", faults: []hubtest.Fault{{On: hubtest.RouteInfo, RedirectTo: "self"}}, wrong: is[*RedirectError]},
		{name: "redirect to another host", faults: weights(hubtest.Fault{On: hubtest.RouteResolve, RedirectTo: "foreign"})},
		{name: "wrong etag", faults: weights(hubtest.Fault{On: hubtest.RouteResolve, Header: map[string]string{"X-Linked-Etag": `"` + other + `"`}}), wrong: is[*ChangedError]},
		{name: "senseless etag", faults: weights(hubtest.Fault{On: hubtest.RouteResolve, Header: map[string]string{"X-Linked-Etag": `"abc"`}})},
		{name: "another commit", faults: weights(hubtest.Fault{On: hubtest.RouteResolve, Header: map[string]string{"X-Repo-Commit": other[:40]}}), wrong: is[*ChangedError]},
		{name: "changed on the server", faults: cdn(hubtest.Fault{Instead: hubtest.Noise(9, size)}), wrong: is[*ChecksumError]},
		{name: "other size on the server", faults: cdn(hubtest.Fault{Instead: hubtest.Noise(9, size+1)}), wrong: is[*ChangedError]},
		{name: "another etag later", faults: cdn(hubtest.Fault{Skip: 2, Header: map[string]string{"Etag": `"x"`}})},
		{name: "headers dropped by a mirror", faults: weights(hubtest.Fault{Drop: []string{"*"}})},
		{name: "no Content-Length", faults: cdn(hubtest.Fault{NoSize: true})},
		{name: "ranges ignored", faults: cdn(hubtest.Fault{IgnoreRange: true}), wasted: 8 * size},
		{name: "ranges ignored and cut", faults: cdn(hubtest.Fault{IgnoreRange: true, CutAfter: size / 2, Times: 2}), wasted: 8 * size},
		{name: "wrong range", faults: cdn(hubtest.Fault{Shift: 100, Times: 3})},
		{name: "wrong range for ever", faults: cdn(hubtest.Fault{Shift: 100}), wasted: 4 * size},
		{name: "wrong range, not admitted", faults: cdn(hubtest.Fault{ShiftSilently: 100, Times: 2}), wasted: size + 1<<20},
		{name: "416", faults: cdn(hubtest.Fault{Status: 416, Times: 2})},
		{name: "no tree", faults: []hubtest.Fault{{On: hubtest.RouteTree, Status: 404}}},
		{name: "no model, by the tree", faults: []hubtest.Fault{{On: hubtest.RouteInfo, Status: 404}}, wrong: is[*NotFoundError]},
		{name: "paging in a circle", faults: []hubtest.Fault{{On: hubtest.RouteTree, PagingLoop: true}}},
		{name: "endless JSON", faults: []hubtest.Fault{{On: hubtest.RouteTree, HugeJSON: 80 << 20}}},
		{name: "deep JSON", faults: []hubtest.Fault{{On: hubtest.RouteInfo, DeepJSON: 1 << 20}}, wrong: is[*ProtocolError]},
		{name: "not JSON", faults: []hubtest.Fault{{On: hubtest.RouteInfo, Body: "<html>log in</html>"}}, wrong: is[*ProtocolError]},
	} {
		all.Go(func() {
			seats <- struct{}{}
			defer func() { <-seats }()
			t.Run(test.name, func(t *testing.T) {
				s := newStand(t, size, hubtest.Options{PlainHTTP: true})
				s.hub.AddUser("secret", "user")
				s.env["HF_TOKEN"] = "secret"
				s.hub.Inject(test.faults...)
				result, err := s.fetch(func(o *Options) { o.Connections = 4; o.Timing.Tries = test.tries })
				for _, host := range []string{"cdn", "foreign"} {
					if tokens := s.hub.Tokens(host); slices.Contains(tokens, "secret") {
						t.Errorf("%s was shown the token", host)
					}
				}
				if test.wrong != nil {
					if err == nil {
						t.Error("no error")
					} else if !test.wrong(err) || strings.Contains(err.Error(), "\n") {
						t.Errorf("error %v (%T)", err, err)
					}
					s.checkBlobs(true)
					if _, err := CachedModel(testModel, s.options().Getenv); !errors.Is(err, ErrNotCached) {
						refs, _ := filepath.Glob(filepath.Join(s.home, "hub", "*", "refs", "*"))
						if len(refs) > 0 {
							t.Errorf("the revision was published: %v", refs)
						}
					}
					return
				}
				if err != nil {
					t.Fatalf("%v (%T)", err, err)
				}
				s.check(filepath.Join(result.Path, "model.safetensors"), s.weights)
				s.check(filepath.Join(result.Path, "config.json"), hubtest.Text(testConfig))
				s.checkBlobs(false)
				if most := max(test.wasted, 1<<20); result.Downloaded > result.Bytes+most {
					t.Errorf("%d bytes came for %d", result.Downloaded, result.Bytes)
				}
			})
		})
	}
	all.Wait()
}

// However often it is tried, after a while without a single new byte it ends.
func TestGiveUp(t *testing.T) {
	s := newStand(t, 1<<20, hubtest.Options{PlainHTTP: true})
	s.hub.Inject(hubtest.Fault{On: hubtest.RouteCDN, Stall: "headers"})
	_, err := s.fetch(func(o *Options) {
		o.Timing.Silence, o.Timing.GiveUp, o.Timing.Tries = 20*time.Millisecond, 200*time.Millisecond, 1<<20
	})
	if !is[*StalledError](err) || !errors.Is(err, errSilent) {
		t.Errorf("%v (%T)", err, err)
	}
}
