// Command serve runs the stand-in Hub for Python, curl and benchmarks. It
// prints one line of JSON (endpoint, CA file, environment) and ends by itself.
//
//	go run ./internal/hubtest/serve -size 500MB -faults '[{"on":"cdn","cut_after":1000000}]'
//	curl --cacert $CA $ENDPOINT/_hubtest/log
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gptctl/gptctl/internal/hubtest"
)

func main() {
	if err := serve(); err != nil {
		panic(err) // a tool for tests: the exit status and the reason are all it owes
	}
}

func serve() error {
	options := hubtest.Options{Control: true}
	flag.BoolVar(&options.PlainHTTP, "plain", false, "http, no TLS")
	flag.BoolVar(&options.HTTP2, "http2", false, "offer HTTP/2")
	flag.BoolVar(&options.Mirror, "mirror", false, "LFS files from the hub itself")
	flag.BoolVar(&options.ResolveCache, "resolve-cache", false, "small files by a relative redirect")
	flag.IntVar(&options.PageSize, "page-size", 0, "entries of a tree page")
	flag.IntVar(&options.SendBuffer, "send-buffer", 0, "bytes of each connection's kernel send buffer")
	flag.DurationVar(&options.URLLifetime, "url-lifetime", 0, "of signed URLs")
	flag.DurationVar(&options.ClockSkew, "clock-skew", 0, "the server's clock is so far ahead")
	size := flag.String("size", "0", "of model.safetensors: noise of so many bytes (k, MB, GB ...); 0: a real, small model")
	seed := flag.Uint64("seed", 0, "of the weights")
	xet := flag.Bool("xet", false, "large files are marked as stored in Xet")
	faults := flag.String("faults", "", "a JSON list of faults (fault.go), or @FILE")
	lifetime := flag.Duration("for", 10*time.Minute, "ends after")
	caFile := flag.String("ca", "", "write the CA's certificate here; empty: a temporary file, removed at the end")
	out := flag.String("o", "/dev/stdout", "write the JSON line here")
	flag.Parse()

	bytes, err := parseSize(*size)
	if err != nil {
		return err
	}
	injected, err := parseFaults(*faults)
	if err != nil {
		return err
	}
	s, err := hubtest.Start(options)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Inject(injected...)
	if _, err := s.AddGPT2(hubtest.GPT2Options{Weights: bytes, Seed: *seed, Xet: *xet}); err != nil {
		return err
	}
	s.AddUser("hf_in", "ann", "org/gated", "org/private")
	s.AddUser("hf_out", "bob")
	for _, access := range []hubtest.Access{hubtest.Public, hubtest.Gated, hubtest.Private, hubtest.Disabled} {
		s.Repo("org/"+string(access)).SetAccess(access).Commit(
			hubtest.File{Path: "config.json", Content: hubtest.Text("{}")},
			hubtest.File{Path: "model.safetensors", Content: hubtest.Noise(1, 1<<20), LFS: true})
	}
	if *caFile == "" {
		f, err := os.CreateTemp("", "hubtest-ca-*.pem")
		if err != nil {
			return err
		}
		*caFile = f.Name()
		defer os.Remove(*caFile)
		if err := f.Close(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(*caFile, s.CAPEM(), 0o644); err != nil {
		return err
	}
	hash, err := s.SHA256Of(hubtest.GPT2, "model.safetensors") // now, and not while a benchmark's clock runs
	if err != nil {
		return err
	}
	line, err := json.Marshal(map[string]any{
		"endpoint": s.Endpoint(), "cdn": s.CDN(), "foreign": s.Foreign(), "ca": *caFile, "pid": os.Getpid(), "sha256": hash,
		"env": map[string]string{"HF_ENDPOINT": s.Endpoint(), "SSL_CERT_FILE": *caFile, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "NO_PROXY": "localhost,127.0.0.1"},
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(*out, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "%s\n", line); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *lifetime)
	defer cancel()
	<-ctx.Done()
	return nil
}

// parseSize reads 12, 12k, 12MB, 12MiB; k, M and G are thousands, with "i" 1024s.
func parseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "kKMGiB")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("size %q is not a number of bytes", s)
	}
	unit := strings.ToUpper(strings.TrimSuffix(s[len(number):], "B"))
	times, ok := map[string]int64{"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30}[unit]
	if !ok || n > 1<<50/times {
		return 0, fmt.Errorf("size %q has no unit of B, kB, MB, GB, KiB, MiB or GiB, or is too large", s)
	}
	return n * times, nil
}

func parseFaults(s string) ([]hubtest.Fault, error) {
	if s == "" {
		return nil, nil
	}
	data := []byte(s)
	if name, ok := strings.CutPrefix(s, "@"); ok {
		var err error
		if data, err = os.ReadFile(name); err != nil {
			return nil, err
		}
	}
	var faults []hubtest.Fault
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&faults); err != nil {
		return nil, fmt.Errorf("read the faults: %w", err)
	}
	return faults, nil
}
