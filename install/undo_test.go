package install

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/machine/machinetest"
)

// What somebody else installed between an interrupted run and the next, or its
// undo, is not taken for ours.
func TestUndoAfterInterruptionSparesOthers(t *testing.T) {
	for _, again := range []bool{false, true} {
		y, host := newToy(t)
		host.Run = func(_ context.Context, name string, args ...string) ([]byte, error) {
			if name != "apt-get" || args[0] != "-s" || args[len(args)-2] == "purge" {
				return nil, errors.New("exit status 1")
			}
			var out strings.Builder
			for _, n := range append(needs["python3-venv"], needs["python3-pip"]...) {
				out.WriteString("Inst " + n + " (1.0 Debian:12 [amd64])\nConf " + n + "\n")
			}
			return []byte(out.String()), nil
		}
		y.stopAt, y.half = 2, true // in the middle of the packages
		if err := y.apply(y.plan(t, host, false)); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		y.stopAt = 0
		y.packages["vim"] = "9"
		if again {
			if err := y.apply(y.plan(t, host, false)); err != nil {
				t.Fatal(err)
			}
		}
		if err := y.apply(y.plan(t, host, true)); err != nil {
			t.Fatal(err)
		}
		if s := y.status(); !strings.Contains(s, "Package: vim") || strings.Contains(s, "python3-venv") || strings.Contains(s, "python3-setuptools") {
			t.Errorf("again %v: undo left\n%s", again, s)
		}
	}
}

// Python packages that somebody else put into our environment stop an undo
// that would take it away, and not one of the rest.
func TestUndoStopsForOthersInTheEnvironment(t *testing.T) {
	y, host := newToy(t)
	if err := y.apply(y.plan(t, host, false)); err != nil {
		t.Fatal(err)
	}
	y.dist(y.dir+"/a/prefix/venv", "datasets", false)
	p := y.plan(t, host, true)
	if len(p.Blocked) != 1 || !strings.Contains(p.Blocked[0].Reason, "the Python packages datasets, installed there since") {
		t.Errorf("blocked: %v", p.Blocked)
	}
}

// Torch alone goes from an environment that stays.
func TestUndoOfTorchAlone(t *testing.T) {
	y, host := newToy(t)
	if err := y.apply(y.plan(t, host, false)); err != nil {
		t.Fatal(err)
	}
	p, err := MakePlan(context.Background(), host, Options{Components: []string{"torch"}, Prefix: y.dir + "/a/prefix", Undo: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := y.apply(p); err != nil {
		t.Fatal(err)
	}
	if s := y.state(t); strings.Contains(s, "torch-1.0") || !strings.Contains(s, "pip-1.0") || !strings.Contains(s, "install.journal") {
		t.Errorf("left\n%s", s)
	}
	if err := y.apply(y.plan(t, host, false)); err != nil {
		t.Fatal(err)
	}
	if s := y.state(t); !strings.Contains(s, "torch-1.0") {
		t.Errorf("torch did not come back:\n%s", s)
	}
}

// A repository file that was changed since stays, the key beside it goes, and
// rpm forgets a key only if it came with it.
func TestUndoOfRepository(t *testing.T) {
	const machine = `
uid 0
-- etc/os-release --
ID=rocky
VERSION_ID="9.4"
-- usr/bin/dnf --
-- usr/bin/rpm --
-- $ rpm -qa --queryformat %{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\n --
-- $ rpm -qa gpg-pubkey* --
gpg-pubkey-d42d0685-62589a51
-- etc/yum.repos.d/gptctl-cuda.repo --
[gptctl-cuda]
-- etc/pki/rpm-gpg/RPM-GPG-KEY-gptctl-cuda --
key
-- opt/g/install.journal --
{"event":"open","schema":"gptctl.install.journal/1","n":0}
{"event":"begin","n":0,"step":"cuda.repository","component":"cuda","title":"r","watch":{"paths":["/etc/pki/rpm-gpg/RPM-GPG-KEY-gptctl-cuda","/etc/yum.repos.d/gptctl-cuda.repo"],"root":true,"rpm_key":"d42d0685"}EXISTED}
{"event":"done","n":0,"sums":{"/etc/pki/rpm-gpg/RPM-GPG-KEY-gptctl-cuda":"a7998f247bd965694ff227fa325c81169a07471a8b6808d3e002a486c4e65975","/etc/yum.repos.d/gptctl-cuda.repo":"00"}}
`
	for existed, forgets := range map[string]bool{"": true, `,"existed":["d42d0685"]`: false} {
		p, err := MakePlan(context.Background(), machinetest.Host(t, strings.Replace(machine, "EXISTED", existed, 1)), Options{Prefix: "/opt/g", Undo: true})
		if err != nil {
			t.Fatal(err)
		}
		text := words(p)
		if strings.Contains(text, "rm -f /etc/yum.repos.d") || !strings.Contains(text, "rm -f /etc/pki/rpm-gpg/RPM-GPG-KEY-gptctl-cuda\n") || !strings.Contains(text, "note: /etc/yum.repos.d/gptctl-cuda.repo was changed since") {
			t.Errorf("the changed file does not stay:\n%s", text)
		}
		if got := strings.Contains(text, "rpm -e"); got != forgets {
			t.Errorf("existed %q: forgets the key %v:\n%s", existed, got, text)
		}
	}
	bad := strings.Replace(strings.Replace(machine, "EXISTED", "", 1), `"rpm_key":"d42d0685"`, `"rpm_key":"*"`, 1)
	if _, err := MakePlan(context.Background(), machinetest.Host(t, bad), Options{Prefix: "/opt/g", Undo: true}); err == nil || !strings.Contains(err.Error(), "want 8 hexadecimal digits") {
		t.Errorf("a journal that was tampered with: %v", err)
	}
}

// Who waited for an undo that took the journal away does not write into the
// file that is gone.
func TestJournalTakenAwayMeanwhile(t *testing.T) {
	if len(inherited(os.Stdin)) == 0 {
		t.Skip("no locks on this system")
	}
	prefix := filepath.Join(t.TempDir(), "p")
	open := func(wait func() error) (*writer, error) {
		return openJournal(context.Background(), prefix, &journal{path: journalPath(prefix)}, wait)
	}
	first, err := open(func() error { return errors.New("locked") })
	if err != nil {
		t.Fatal(err)
	}
	second, err := open(func() error {
		if first.file != nil {
			err := first.remove(prefix)
			first.file.Close()
			first.file = nil
			return err
		}
		time.Sleep(time.Millisecond)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer second.file.Close()
	if err := second.append(entry{Event: "begin", Watch: &watch{}}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(second.path); err != nil || strings.Count(string(data), "\n") != 2 {
		t.Errorf("the journal has %q, %v", data, err)
	}
}
