package doctor

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/gptctl/gptctl/doctor/nvidia"
)

func TestNetwork(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer cdn.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, c := range []struct {
		name    string
		env     string
		handler http.HandlerFunc
		want    map[string]Verdict
	}{
		{"fine", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Repo-Commit", "607a30d783dfa663caf39e06633721c8d4cfcd7e")
			w.Header().Set("Date", now.Format(http.TimeFormat))
			if strings.HasSuffix(r.URL.Path, "safetensors") {
				http.Redirect(w, r, cdn.URL+"/x", http.StatusFound)
			}
		}, map[string]Verdict{"net.hub": Pass, "net.cdn": Pass, "net.clock": Pass, "net.token": Skip}},
		{"CDN not allowed, clock off", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Repo-Commit", "x")
			w.Header().Set("Date", now.Add(-time.Hour).Format(http.TimeFormat))
			if strings.HasSuffix(r.URL.Path, "safetensors") {
				http.Redirect(w, r, gone.URL+"/x", http.StatusFound)
			}
		}, map[string]Verdict{"net.hub": Pass, "net.cdn": Fail, "net.clock": Warn}},
		{"a mirror without commits", "", func(w http.ResponseWriter, r *http.Request) {}, map[string]Verdict{"net.hub": Warn, "net.cdn": Pass}},
		{"refused", "", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, map[string]Verdict{"net.hub": Fail}},
		{"offline", "env HF_HUB_OFFLINE=1\n", nil, map[string]Verdict{"net.hub": Skip, "net.cdn": Skip, "net.clock": Skip}},
		{"two proxies, a token", "env HTTPS_PROXY=http://u:secret@a:1\nenv https_proxy=http://b:1\nenv HF_TOKEN=hf_secret\n", nil,
			map[string]Verdict{"net.proxy": Warn, "net.token": Pass}},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub := httptest.NewServer(c.handler)
			defer hub.Close()
			o := options(t, "env HF_ENDPOINT="+hub.URL+"/\n"+c.env+debian, nvidia.Inventory{})
			if c.handler == nil {
				hub.Close()
			}
			o.Network, o.Only = true, []string{"net"}
			o.Instruments.Now = func() time.Time { return now.Add(time.Second) }
			r := run(t, o)
			for id, want := range c.want {
				if f := finding(t, r, id); f.Verdict != want {
					t.Errorf("%s: got %+v, want %s", id, f, want)
				}
			}
			if data, err := json.Marshal(r); err != nil || strings.Contains(string(data), "secret") {
				t.Errorf("%v %s", err, data)
			}
		})
	}
}

// Where on the way to the Hub it ends.
func TestWay(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Repo-Commit", "607a30d783dfa663caf39e06633721c8d4cfcd7e")
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	gone := httptest.NewServer(handler)
	gone.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	noName := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		err := &net.DNSError{Err: "no such host", Name: "hub.invalid", IsNotFound: true}
		trace := httptrace.ContextClientTrace(ctx)
		trace.DNSStart(httptrace.DNSStartInfo{Host: err.Name})
		trace.DNSDone(httptrace.DNSDoneInfo{Err: err})
		return nil, err
	}}
	never := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }}
	for _, c := range []struct {
		name, endpoint string
		transport      http.RoundTripper
		want           map[string]Verdict
		says           string
	}{
		{"plain", plain.URL, nil, map[string]Verdict{"net.dns": Skip, "net.tcp": Pass, "net.tls": Skip, "net.hub": Pass}, ""},
		{"secure", secure.URL, secure.Client().Transport, map[string]Verdict{"net.tcp": Pass, "net.tls": Pass, "net.hub": Pass}, ""},
		{"not trusted", secure.URL, nil, map[string]Verdict{"net.tcp": Pass, "net.tls": Fail, "net.hub": Fail}, "not trusted"},
		{"not TLS", strings.Replace(plain.URL, "http:", "https:", 1), nil, map[string]Verdict{"net.tcp": Pass, "net.tls": Fail, "net.hub": Fail}, "TLS"},
		{"refused", gone.URL, nil, map[string]Verdict{"net.dns": Skip, "net.tcp": Fail, "net.tls": Skip, "net.hub": Fail}, "refuses"},
		{"no name", "https://hub.invalid", noName, map[string]Verdict{"net.dns": Fail, "net.tcp": Skip, "net.tls": Skip, "net.hub": Fail}, "name is not known"},
		{"silent", "https://" + silent.Addr().String(), nil, map[string]Verdict{"net.tcp": Pass, "net.tls": Fail, "net.hub": Fail}, "in time"},
		{"hangs", "http://127.0.0.1:1", never, map[string]Verdict{"net.dns": Skip, "net.tcp": Skip, "net.hub": Fail}, "in time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options(t, "env HF_ENDPOINT="+c.endpoint+"\n"+debian, nvidia.Inventory{})
			o.Network, o.Only = true, []string{"net"}
			if c.transport == nil {
				c.transport = &http.Transport{}
			}
			o.Instruments.HTTP = &http.Client{Transport: c.transport, Timeout: 300 * time.Millisecond}
			if c.says != "in time" {
				o.Instruments.HTTP.Timeout = 0
			}
			r := run(t, o)
			for id, want := range c.want {
				f := finding(t, r, id)
				if f.Verdict != want || want == Fail && !strings.Contains(f.Found, c.says) {
					t.Errorf("%s: got %+v, want %s with %q", id, f, want, c.says)
				}
			}
		})
	}
}

// What the Hub says of a token, a model and how often it was asked.
func TestHubAnswers(t *testing.T) {
	const model = "meta/secret"
	for _, c := range []struct {
		name, env string
		token     int    // status for it
		model     int    // status
		code      string // X-Error-Code
		limit     string
		want      map[string]Verdict
	}{
		{"valid, open", "env HF_TOKEN=hf_right\n", 200, 200, "", `"api";r=499;t=55`, map[string]Verdict{"net.token": Pass, "net.gated": Pass, "net.rate": Pass}},
		{"not valid", "env HF_TOKEN=hf_right\n", 401, 401, "", "", map[string]Verdict{"net.token": Fail, "net.gated": Fail, "net.rate": Skip}},
		{"gated", "", 0, 401, "GatedRepo", `"api";r=3;t=55`, map[string]Verdict{"net.token": Skip, "net.gated": Fail, "net.rate": Warn}},
		{"gated, with token", "env HF_TOKEN=hf_right\n", 200, 403, "GatedRepo", `"api";r=0;t=9`, map[string]Verdict{"net.token": Pass, "net.gated": Fail, "net.rate": Warn}},
		{"no config.json", "", 0, 404, "EntryNotFound", `r=x`, map[string]Verdict{"net.gated": Pass, "net.rate": Skip}},
		{"no such revision", "", 0, 404, "RevisionNotFound", "", map[string]Verdict{"net.gated": Fail}},
		{"broken", "env HF_TOKEN=hf_right\n", 500, 500, "", "", map[string]Verdict{"net.token": Skip, "net.gated": Skip}},
		{"token in a file", "env HF_TOKEN_PATH=/t\n", 200, 307, "", "", map[string]Verdict{"net.token": Pass, "net.gated": Pass}},
		{"empty file", "env HF_TOKEN_PATH=/empty\n", 0, 200, "", "", map[string]Verdict{"net.token": Warn}},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Repo-Commit", "607a30d783dfa663caf39e06633721c8d4cfcd7e")
				w.Header().Set("Ratelimit", c.limit)
				w.Header().Set("Ratelimit-Policy", `"fixed window";"api";q=500;w=300`)
				sent := r.Header.Get("Authorization")
				switch {
				case strings.HasSuffix(r.URL.Path, "whoami-v2"):
					if sent != "Bearer hf_right" {
						t.Errorf("sent %q", sent)
					}
					w.WriteHeader(c.token)
				case strings.Contains(r.URL.Path, model):
					w.Header().Set("X-Error-Code", c.code)
					w.WriteHeader(c.model)
				case sent != "":
					t.Errorf("%s was sent %q", r.URL.Path, sent)
				}
			}))
			defer hub.Close()
			o := options(t, "env HF_ENDPOINT="+hub.URL+"\n"+c.env+debian+"-- t --\nhf_right\n-- empty --\n\n", nvidia.Inventory{})
			o.Network, o.Only, o.Model = true, []string{"net"}, model
			r := run(t, o)
			for id, want := range c.want {
				if f := finding(t, r, id); f.Verdict != want {
					t.Errorf("%s: got %+v, want %s", id, f, want)
				}
			}
			if data, err := json.Marshal(r); err != nil || strings.Contains(string(data), "hf_right") {
				t.Errorf("%v %s", err, data)
			}
		})
	}
}

func FuzzRateLimit(f *testing.F) {
	f.Add(`"api";r=499;t=55`, `"fixed window";"api";q=500;w=300`)
	f.Fuzz(func(t *testing.T, limit, policy string) {
		l := parseRateLimit(http.Header{"Ratelimit": {limit}, "Ratelimit-Policy": {policy}})
		if l.left < 0 || l.of < 0 || !l.known && l.left != 0 {
			t.Errorf("%+v", l)
		}
	})
}
