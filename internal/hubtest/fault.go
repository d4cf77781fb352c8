package hubtest

import (
	"net/http"
	"path"
	"slices"
)

// Route is what a request asks for.
type Route string

// The routes.
const (
	RouteInfo    Route = "info"    // /api/models/ID[/revision/REV]
	RouteTree    Route = "tree"    // /api/models/ID/tree/REV
	RouteResolve Route = "resolve" // /ID/resolve/REV/PATH on the hub
	RouteCDN     Route = "cdn"     // the signed URL
	RouteForeign Route = "foreign" // the host that nobody should trust
	RouteWhoami  Route = "whoami"
	RouteOther   Route = "other"
)

// Fault is a misbehaviour. The first fault that matches a request is the one it
// gets; faults are combined by setting several fields. All zero values mean
// "as it should be", and a Fault without any field set is a way to let requests pass
// before the next Fault. The JSON form is what the serve command reads.
type Fault struct {
	// Which requests. Empty fields match all.
	On     Route  `json:"on,omitempty"`
	Repo   string `json:"repo,omitempty"`
	Path   string `json:"path,omitempty"`   // the file's path in its repository, a path.Match pattern
	Method string `json:"method,omitempty"` // faults of the body match only GET
	Skip   int    `json:"skip,omitempty"`   // leaves the first ones alone
	Times  int    `json:"times,omitempty"`  // strikes this often, 0: always

	// In place of the answer.
	Status     int    `json:"status,omitempty"`      // with Body
	Body       string `json:"body,omitempty"`        // in place of the answer's; status 200 if Status is 0
	RetryAfter string `json:"retry_after,omitempty"` // the header
	RateLimit  string `json:"rate_limit,omitempty"`  // the header `ratelimit`, as "api";r=0;t=55
	RedirectTo string `json:"redirect_to,omitempty"` // "self" (a loop), "foreign" (host that records what it is sent), or a Location
	Expired    bool   `json:"expired,omitempty"`     // 403 as an expired signed URL gives
	Hangup     bool   `json:"hangup,omitempty"`      // closes the connection without an answer
	DeepJSON   int    `json:"deep_json,omitempty"`   // arrays nested this deep
	HugeJSON   int64  `json:"huge_json,omitempty"`   // a valid tree listing of about this many bytes
	PagingLoop bool   `json:"paging_loop,omitempty"` // the tree's next page is this page

	// Headers.
	Drop   []string          `json:"drop,omitempty"`    // header names; "*" is a mirror's set: X-Repo-Commit, X-Linked-*, ETag
	Header map[string]string `json:"header,omitempty"`  // set to these values, last of all
	NoSize bool              `json:"no_size,omitempty"` // chunked, no Content-Length

	// The body.
	CutAfter       int64   `json:"cut_after,omitempty"`        // connection closed after so many bytes of body; Content-Length tells the truth
	Reset          bool    `json:"reset,omitempty"`            // with CutAfter or Hangup: by RST (HTTP/1 only)
	TruncateTo     int64   `json:"truncate_to,omitempty"`      // ends cleanly after so many bytes, and Content-Length says so
	BytesPerSecond int     `json:"bytes_per_second,omitempty"` // slow drip
	Stall          string  `json:"stall,omitempty"`            // "headers": silence before any; "body": after StallAfter bytes of body
	StallAfter     int64   `json:"stall_after,omitempty"`
	StallSeconds   float64 `json:"stall_seconds,omitempty"`  // then it goes on; 0: never
	Flip           []int64 `json:"flip,omitempty"`           // the lowest bit of the bytes at these offsets of the file
	Gzip           bool    `json:"gzip,omitempty"`           // compressed although nobody asked
	IgnoreRange    bool    `json:"ignore_range,omitempty"`   // 200 and everything
	Shift          int64   `json:"shift,omitempty"`          // another range than asked for, so many bytes later; Content-Range admits it
	ShiftSilently  int64   `json:"shift_silently,omitempty"` // the same, but Content-Range claims the range asked for
	Instead        Content `json:"-"`                        // other bytes under the same name and etag

	ExpireAfter bool   `json:"expire_after,omitempty"` // from this answer on all signed URLs given so far are expired, one in this answer too
	Then        func() `json:"-"`                      // called before this answer's headers go out; what it changes holds from the next request on

	seen int
}

func (f *Fault) ofBody() bool {
	return f.CutAfter != 0 || f.TruncateTo != 0 || f.BytesPerSecond != 0 || f.Stall == "body" || len(f.Flip) > 0 ||
		f.Gzip || f.IgnoreRange || f.Shift != 0 || f.ShiftSilently != 0 || f.Instead != nil
}

func (f *Fault) matches(q *query) bool {
	if f.On != "" && f.On != q.route || f.Repo != "" && f.Repo != q.repo {
		return false
	}
	if f.Path != "" {
		if ok, err := path.Match(f.Path, q.path); err != nil || !ok {
			return false
		}
	}
	if f.Method != "" {
		return f.Method == q.method
	}
	return !f.ofBody() || q.method == http.MethodGet
}

// Inject adds faults after those that are there.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &f)
	}
}

// ClearFaults takes all faults away.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// pick returns the fault that this request gets, the zero Fault if none.
func (s *Server) pick(q *query) (fault Fault, struck bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if !f.matches(q) || f.Times > 0 && f.seen >= f.Skip+f.Times {
			continue
		}
		f.seen++
		if f.seen <= f.Skip {
			continue
		}
		return *f, true
	}
	return Fault{}, false
}

func (f *Fault) drops(name string) bool {
	mirror := []string{"X-Repo-Commit", "X-Linked-Etag", "X-Linked-Size", "X-Xet-Hash", "Etag"}
	return slices.ContainsFunc(f.Drop, func(d string) bool {
		return http.CanonicalHeaderKey(d) == name || d == "*" && slices.Contains(mirror, name)
	})
}
