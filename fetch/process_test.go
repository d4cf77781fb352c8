package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/hubtest"
)

// TestMain lets the test binary be the other processes that fetch.
func TestMain(m *testing.M) {
	if os.Getenv("FETCH_TEST_CHILD") != "" {
		result, err := Fetch(context.Background(), Options{Model: testModel, Dir: os.Getenv("FETCH_TEST_DIR"), Timing: Timing{Backoff: 5 * time.Millisecond, LockPoll: 5 * time.Millisecond}})
		fmt.Println(result.Downloaded, err)
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child prepares another process that fetches from the stand.
func (s *stand) child(more ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "FETCH_TEST_CHILD=1")
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, more...)
	return cmd
}

// Killed at any moment, a download goes on from where it was.
func TestKill(t *testing.T) {
	const size, kills = 24 << 20, 12
	for _, dir := range []bool{false, true} {
		s := newStand(t, size, hubtest.Options{PlainHTTP: true, SendBuffer: 64 << 10})
		var more []string
		place := filepath.Join(s.home, "hub", "models--someone--gpt2-tiny", "snapshots", "*")
		if dir {
			place = filepath.Join(t.TempDir(), "plain")
			more = append(more, "FETCH_TEST_DIR="+place)
		}
		random := rand.New(rand.NewPCG(1, 2))
		killed := 0
		for done := false; !done; {
			cmd := s.child(more...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if killed < kills {
				time.AfterFunc(time.Duration(5+random.IntN(40))*time.Millisecond, func() { cmd.Process.Kill() })
			}
			err := cmd.Wait()
			if done = err == nil; !done {
				if killed++; killed > kills {
					t.Fatalf("%v: %s", err, out.String())
				}
			}
			s.checkBlobs(true)
		}
		found, err := filepath.Glob(filepath.Join(place, "model.safetensors"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		s.check(found[0], s.weights)
		if sent := s.hub.BytesOf("model.safetensors"); sent > size+int64(killed)*8e6 {
			t.Errorf("%d bytes were sent for %d and %d kills", sent, size, killed)
		}
		s.checkBlobs(false)
	}
}

// Several processes do the work once.
func TestProcesses(t *testing.T) {
	for _, n := range []int{2, 8} {
		s := newStand(t, 24<<20, hubtest.Options{PlainHTTP: true})
		var group sync.WaitGroup
		for range n {
			group.Go(func() {
				if out, err := s.child().CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		group.Wait()
		found, _ := filepath.Glob(filepath.Join(s.home, "hub", "models--someone--gpt2-tiny", "snapshots", "*", "model.safetensors"))
		if len(found) != 1 {
			t.Fatal(found)
		}
		s.check(found[0], s.weights)
		if sent := s.hub.BytesOf("model.safetensors"); sent != 24<<20 {
			t.Errorf("%d processes: %d bytes were sent", n, sent)
		}
		s.checkBlobs(false)
	}
}

// mount puts a file system of its own over a folder, where this user may.
func mount(t *testing.T, dir string, arguments ...string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("mounting takes root on Linux")
	}
	if out, err := exec.Command("mount", append(arguments, dir)...).CombinedOutput(); err != nil {
		t.Skipf("no mounting here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

func TestNoRoom(t *testing.T) {
	s := newStand(t, 8<<20, hubtest.Options{PlainHTTP: true})
	mount(t, s.home, "-t", "tmpfs", "-o", "size=6m", "none")
	var room *NoRoomError
	_, err := s.fetch(nil)
	if !errors.As(err, &room) || room.Needed < 8<<20 || room.Available > 6<<20 || s.hub.Count(hubtest.RouteResolve, "") > 0 {
		t.Errorf("too small from the start: %v after %d requests", err, s.hub.Count(hubtest.RouteResolve, ""))
	}
	// And where somebody else fills it in the middle.
	if out, err := exec.Command("mount", "-o", "remount,size=12m", s.home).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	once := sync.Once{}
	_, err = s.fetch(func(o *Options) {
		o.LimitRate = 16 << 20
		o.Progress = func(e Event) {
			if p, ok := e.(ProgressEvent); ok && p.Downloaded > 1<<20 {
				once.Do(func() {
					if err := os.WriteFile(filepath.Join(s.home, "filler"), make([]byte, 8<<20), 0o644); err != nil {
						t.Error(err)
					}
				})
			}
		}
	})
	if room = nil; !errors.As(err, &room) || room.Needed == 0 {
		t.Errorf("filled in the middle: %v (%T)", err, err)
	}
	s.checkBlobs(true)
	if err := os.Remove(filepath.Join(s.home, "filler")); err != nil {
		t.Fatal(err)
	}
	result := s.mustFetch(nil)
	s.check(filepath.Join(result.Path, "model.safetensors"), s.weights)
	if result.Downloaded >= result.Bytes {
		t.Error("what came before the disk was full was lost")
	}
}

func TestReadOnlyCache(t *testing.T) {
	s := newStand(t, 2<<20, hubtest.Options{PlainHTTP: true})
	mount(t, s.home, "-t", "tmpfs", "-o", "size=16m", "none")
	readOnly := func(option string) {
		t.Helper()
		if out, err := exec.Command("mount", "-o", "remount,"+option, s.home).CombinedOutput(); err != nil {
			t.Skipf("%v: %s", err, out)
		}
	}
	readOnly("ro")
	var e *ReadOnlyError
	if _, err := s.fetch(nil); !errors.As(err, &e) || !errors.Is(err, syscall.EROFS) || s.hub.Count(hubtest.RouteResolve, "") > 0 {
		t.Errorf("empty and read-only: %v", err)
	}
	readOnly("rw")
	s.mustFetch(nil)
	readOnly("ro")
	s.mustFetch(nil)
	s.mustFetch(func(o *Options) { o.Offline = true })
	if files, err := Verify(t.Context(), VerifyOptions{Getenv: s.options().Getenv}); err != nil || len(files) != 3 {
		t.Errorf("%v, %v", files, err)
	}
	if _, err := Remove(RemoveOptions{Model: testModel, Getenv: s.options().Getenv}); !errors.As(err, &e) {
		t.Errorf("remove: %v (%T)", err, err)
	}
	readOnly("rw")
}

// The journal of another run of the machine counts only as far as it was synced.
func TestJournalAfterCrash(t *testing.T) {
	const size = 5 << 20
	hash := strings.Repeat("a", 64)
	state := journalState{chain: chain{hash: hash, size: size, chunk: chunkSize(size)}}
	state.done.add(0, 1<<20)
	text := state.encode("boot-1")
	text = journalLine(text, "d", "1048576", "2097152")
	text = journalLine(text, "m")
	text = journalLine(text, "d", "2097152", "3145728")
	text = journalLine(text, "s")
	text = journalLine(text, "d", "3145728", "4194304")
	cut := append(slices.Clone(text), "d 4194304 5242880 0000"...)
	for _, test := range []struct {
		name, boot string
		text       []byte
		done       int64
	}{
		{"killed", "boot-1", text, 4 << 20},
		{"machine crashed", "boot-2", text, 2 << 20},
		{"boots cannot be told apart", "", text, 2 << 20},
		{"last line cut", "boot-1", cut, 4 << 20},
		{"empty", "boot-1", nil, 0},
		{"another file", "boot-1", bytes.ReplaceAll(text, []byte("aaaa"), []byte("bbbb")), 0},
	} {
		got, _ := parseJournal(test.text, hash, size, test.boot)
		if n := got.done.total(); n != test.done {
			t.Errorf("%s: %d bytes, want %d", test.name, n, test.done)
		}
	}
	if _, err := readChain(filepath.Join(t.TempDir(), "none"), hash, size); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
