package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"syscall"
	"time"
)

func networkChecks() []Check {
	checks := []Check{
		{ID: "net.dns", Title: "Name of the Hub", network: true, timeout: netTimeout, Probe: netDNS,
			Why: "without its address nothing can be asked"},
		{ID: "net.tcp", Title: "Connection to the Hub", network: true, timeout: netTimeout, Probe: netTCP,
			Why: "a firewall may refuse it, or let it hang"},
		{ID: "net.tls", Title: "Encryption to the Hub", network: true, timeout: netTimeout, Probe: netTLS,
			Why: "a proxy that opens it puts in a certificate of its own, which this machine must trust"},
		{ID: "net.hub", Title: "Hugging Face Hub", network: true, timeout: netTimeout, Probe: netHub,
			Why: "models come from it"},
		{ID: "net.cdn", Title: "Where the Hub keeps files", network: true, timeout: netTimeout, Probe: netCDN,
			Why: "large files come from other hosts than the Hub, which a firewall must allow, too"},
		{ID: "net.rate", Title: "Questions the Hub still takes", network: true, timeout: netTimeout, Probe: netRate,
			Why: "who asks too often must wait"},
		{ID: "net.gated", Title: "Access to the model", network: true, timeout: netTimeout, Probe: netGated,
			Why: "some models are given only to those who asked for them"},
		{ID: "net.clock", Title: "Clock", network: true, timeout: netTimeout, Probe: netClock,
			Why: "certificates and signed addresses are valid for a time"},
		{ID: "net.proxy", Title: "Proxy", Probe: netProxy,
			Why: "a proxy that is named wrongly stops all downloads"},
		{ID: "net.ca", Title: "Certificate authorities", Probe: netCA,
			Why: "without them no server is trusted"},
		{ID: "net.token", Title: "Token of the Hub", timeout: netTimeout, Probe: netToken,
			Why: "models that are private or gated need one, and with one that is not valid the Hub gives nothing; GPT-2 needs none"},
		{ID: "net.port", Title: "Port to serve on", Probe: netPort,
			Why: "two programs cannot listen on one port"},
	}
	for i := range checks {
		checks[i].Group = "network"
	}
	return checks
}

func netHub(_ context.Context, e *Env) Finding {
	a := e.hub()
	host := hostOf(a.endpoint)
	switch {
	case a.offline:
		return skipped("HF_HUB_OFFLINE is set")
	case a.hubErr != nil:
		words, remedy := unreachable(a.hubErr)
		return judged(e.hubVerdict(), "%s: %s", host, words).needs("an answer").mend("", "%s", remedy+elsewhere)
	case a.status == http.StatusTooManyRequests:
		return warned("%s asks to wait: too many requests", host).needs("an answer").mend("", "wait some minutes, or use a token")
	case a.status >= 400:
		return failed("%s answers %d", host, a.status).needs("an answer").mend("", "look at HF_ENDPOINT, proxy and allow-list")
	case !a.commit:
		return warned("%s answers, but names no commit as the Hub does", host).needs("X-Repo-Commit").
			mend("", "a proxy or mirror leaves it out: set HF_ENDPOINT to another mirror, or to none")
	}
	return passed("%s answers", host)
}

func netCDN(_ context.Context, e *Env) Finding {
	a := e.hub()
	switch {
	case a.offline:
		return skipped("HF_HUB_OFFLINE is set")
	case a.hubErr != nil:
		return skipped("the Hub does not answer: see net.hub")
	case a.cdnErr != nil:
		words, remedy := unreachable(a.cdnErr)
		host := a.cdnHost
		if host == "" {
			host = hostOf(a.endpoint)
		}
		return failed("%s: %s", host, words).needs("an answer").mend("", "%s; allow this host as well as the Hub", remedy)
	case a.cdnHost == "":
		return passed("the same host")
	case a.cdnStatus >= 500 || a.cdnStatus == http.StatusProxyAuthRequired:
		return failed("%s answers %d", a.cdnHost, a.cdnStatus).needs("an answer").mend("", "allow this host in the proxy as well as the Hub")
	}
	return passed("%s answers", a.cdnHost)
}

func netClock(_ context.Context, e *Env) Finding {
	a := e.hub()
	if a.date.IsZero() {
		return skipped("no server told the time")
	}
	off := a.asked.Sub(a.date).Abs()
	if off < 30*time.Second {
		return passed("right within 30 s")
	}
	return atLeast(off < 5*time.Minute, Warn, "%v off", off.Round(time.Second)).needs("at most 5 min").
		mend("sudo timedatectl set-ntp true", "set the clock")
}

func netProxy(_ context.Context, e *Env) Finding {
	var set []string
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"} {
		upper, lower := e.Host.Getenv(name), e.Host.Getenv(strings.ToLower(name))
		if upper != "" && lower != "" && upper != lower {
			return warned("%s and %s differ", name, strings.ToLower(name)).needs("one").
				mend("unset "+name, "programs differ in which of them they take")
		}
		value := upper + lower
		if upper != "" && lower != "" {
			value = upper
		}
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Host == "" {
			u, err = url.Parse("http://" + value)
		}
		if err != nil || u.Hostname() == "" {
			return failed("%s is not an address", name).needs("http://host:port").mend("", "set it right, or unset it")
		}
		set = append(set, name+" "+u.Scheme+"://"+u.Host) // without a password
	}
	if len(set) == 0 {
		return passed("none")
	}
	return passed("%s", strings.Join(set, ", "))
}

func netCA(_ context.Context, e *Env) Finding {
	h := e.Host
	if h.GOOS != "linux" {
		return skipped("%s keeps them itself", h.GOOS)
	}
	if file := h.Getenv("SSL_CERT_FILE"); file != "" {
		return atLeast(path.IsAbs(file) && h.Exists(file), Fail, "SSL_CERT_FILE: %s", yes(h.Exists(file), "is there", "does not exist")).
			needs("a file").mend("unset SSL_CERT_FILE", "let it name a file that exists")
	}
	for _, file := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if h.Exists(file) {
			return passed("%s", file)
		}
	}
	return failed("none").needs("ca-certificates").install("system", "install the package ca-certificates")
}

func netPort(_ context.Context, e *Env) Finding {
	addr := e.options.Addr
	err := e.tools.Listen(addr)
	if err == nil {
		return passed("%s is free", addr)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	words := err.Error()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		words = "taken by another program"
	case errors.Is(err, syscall.EACCES):
		words = "not allowed to this user"
	}
	_, port, splitErr := net.SplitHostPort(addr)
	if splitErr != nil || port == "" {
		words = "not an address"
	}
	return warned("%s: %s", addr, words).needs("free").mend(fmt.Sprintf("gptctl serve --addr %s", "127.0.0.1:8081"), "choose another")
}
