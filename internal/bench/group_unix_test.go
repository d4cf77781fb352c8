//go:build unix

package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Who interrupts the bench leaves no peer behind, though it is the child of a shell.
func TestPeerEndsWithItsShell(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- Beside(tensor.F32).Run(ctx, Peer{Name: "p", Command: "sleep 600 & echo $! > '" + file + ".new'; mv '" + file + ".new' '" + file + "'; wait"}, 1)
	}()
	var word []byte
	for word == nil {
		select {
		case err := <-ended:
			t.Fatalf("it ended before: %v", err)
		case <-time.After(time.Millisecond):
		}
		word, _ = os.ReadFile(file)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ends(t, word)
}

// What a peer's command leaves behind would compute beside what is measured next.
func TestPeerThatGoesOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	err := Beside(tensor.F32).Run(t.Context(), Peer{Name: "p", Command: "sleep 600 & echo $! > '" + file + "'; echo '{\"tg8\":5}'"}, 1)
	if err == nil || !strings.Contains(err.Error(), "goes on and keeps its output open") {
		t.Errorf("got %v", err)
	}
	word, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ends(t, word)
}

// ends waits for the end of the process that a shell has written down.
func ends(t *testing.T, word []byte) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(string(word)))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 { // whoever inherits it may not collect it at once, or ever: a zombie will do
		if syscall.Kill(pid, 0) != nil || zombie(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	t.Error("what the shell started lives on")
}

func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(b), ") Z ")
}
