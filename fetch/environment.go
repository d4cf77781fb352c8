package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const defaultEndpoint = "https://huggingface.co"

// settings is what the variables that the Python tools know say.
type settings struct {
	cache       string     // the folder hub
	endpoints   []*url.URL // HF_ENDPOINT or the Hub, then the mirrors
	token       string
	tokenSource string // for messages: where token was found
	offline     string // the variable that forbids the network, "" if none does
	noLinks     bool   // HF_HUB_DISABLE_SYMLINKS
}

// isTrue reads a variable as huggingface_hub does.
func isTrue(v string) bool {
	switch strings.ToUpper(v) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

func readSettings(getenv func(string) string, mirrors []string) (settings, error) {
	var e settings
	var err error
	if e.cache, err = CacheDir(getenv); err != nil {
		return e, err
	}
	if e.cache, err = filepath.Abs(e.cache); err != nil {
		return e, err
	}
	first := getenv("HF_ENDPOINT")
	if first == "" {
		first = defaultEndpoint
	}
	for i, text := range append([]string{first}, mirrors...) {
		name := "HF_ENDPOINT"
		if i > 0 {
			name = "mirror"
		}
		u, err := url.Parse(strings.TrimRight(strings.TrimSpace(text), "/"))
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return e, fmt.Errorf("%s %q is not an address like %s", name, text, defaultEndpoint)
		}
		e.endpoints = append(e.endpoints, u)
	}
	for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		if v := getenv(name); v != "" { // the second counts only where the first is empty
			if isTrue(v) {
				e.offline = name
			}
			break
		}
	}
	e.noLinks = isTrue(getenv("HF_HUB_DISABLE_SYMLINKS"))
	e.token, e.tokenSource = readToken(getenv)
	return e, nil
}

// readToken finds the user's token: HF_TOKEN, its old name, or the file that
// `hf auth login` writes.
func readToken(getenv func(string) string) (token, source string) {
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if t := strings.Join(strings.Fields(getenv(name)), ""); t != "" {
			return t, name
		}
	}
	if isTrue(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		return "", ""
	}
	path := getenv("HF_TOKEN_PATH")
	if path == "" {
		home, err := hfHome(getenv)
		if err != nil {
			return "", ""
		}
		path = filepath.Join(home, "token")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	text := make([]byte, 4096)
	n, _ := f.Read(text)
	if t := strings.Join(strings.Fields(string(text[:n])), ""); t != "" {
		return t, path
	}
	return "", ""
}

// hfHome is the folder of the Hugging Face tools: $HF_HOME, by default
// huggingface in the user's cache folder.
func hfHome(getenv func(string) string) (string, error) {
	// CacheDir looks here unless it is told the cache's own place.
	dir, err := CacheDir(func(name string) string {
		if name == "HF_HUB_CACHE" || name == "HUGGINGFACE_HUB_CACHE" {
			return ""
		}
		return getenv(name)
	})
	return filepath.Dir(dir), err
}

// certificates are those of the file that the user trusts instead of the
// system's, nil if there is none. The variables are those that OpenSSL,
// requests and curl know, which is to say every Python tool.
func certificates(getenv func(string) string) (*x509.CertPool, error) {
	for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} {
		path := getenv(name)
		if path == "" {
			continue
		}
		files := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*")); err != nil {
				return nil, err
			}
		}
		pool, found := x509.NewCertPool(), false
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("certificates of %s: %w", name, err)
			}
			found = pool.AppendCertsFromPEM(text) || found
		}
		if !found {
			return nil, fmt.Errorf("certificates of %s: %s holds none in PEM form", name, path)
		}
		return pool, nil
	}
	return nil, nil
}

// newTransport makes the connections. HTTP/2 is off on purpose: it would carry
// all ranges from one host over a single TCP connection, where one lost packet
// or one throttled flow holds up every range, and where a connection that went
// silent cannot be replaced alone.
func newTransport(getenv func(string) string, connections int, silence time.Duration) (http.RoundTripper, error) {
	pool, err := certificates(getenv)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:                  proxyFrom(getenv),
		DialContext:            (&net.Dialer{Timeout: silence, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: pool},
		TLSHandshakeTimeout:    silence,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    connections + 1,
		IdleConnTimeout:        30 * time.Second,
		ReadBufferSize:         32 << 10,
		MaxResponseHeaderBytes: 256 << 10,
	}, nil
}
