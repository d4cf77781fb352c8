package fetch

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// proxyFrom picks the proxy of a request as the Python tools do: HTTP_PROXY or
// HTTPS_PROXY by the scheme, else ALL_PROXY, unless NO_PROXY names the host.
// net/http's own reading knows no ALL_PROXY and keeps the first environment it
// sees for the life of the process.
func proxyFrom(getenv func(string) string) func(*http.Request) (*url.URL, error) {
	either := func(name string) string {
		if v := getenv(strings.ToLower(name)); v != "" {
			return v
		}
		return getenv(name)
	}
	return func(r *http.Request) (*url.URL, error) {
		name := strings.ToUpper(r.URL.Scheme) + "_PROXY"
		text := either(name)
		if text == "" {
			name = "ALL_PROXY"
			text = either(name)
		}
		if text == "" || direct(r.URL, either("NO_PROXY")) {
			return nil, nil
		}
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("%s is not the address of a proxy", name) // not shown: it may hold a password
		}
		switch u.Scheme {
		case "http", "https", "socks5", "socks5h":
			return u, nil
		}
		return nil, fmt.Errorf("%s has scheme %q, want http, https or socks5", name, u.Scheme)
	}
}

// direct tells whether NO_PROXY, a list of hosts, domains, addresses and
// networks, names the host of u. This machine never needs a proxy.
func direct(u *url.URL, noProxy string) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	addr, err := netip.ParseAddr(host)
	isAddr := err == nil
	if host == "localhost" || isAddr && addr.IsLoopback() {
		return true
	}
	for entry := range strings.FieldsFuncSeq(strings.ToLower(noProxy), func(r rune) bool { return r == ',' || r == ' ' }) {
		if entry == "*" {
			return true
		}
		if isAddr {
			if prefix, err := netip.ParsePrefix(entry); err == nil && prefix.Contains(addr) {
				return true
			}
		}
		if name, port, err := net.SplitHostPort(entry); err == nil {
			if port != u.Port() {
				continue
			}
			entry = name
		}
		domain := strings.TrimPrefix(strings.TrimPrefix(entry, "*"), ".")
		if domain != "" && (host == domain || strings.HasSuffix(host, "."+domain)) {
			return true
		}
	}
	return false
}
