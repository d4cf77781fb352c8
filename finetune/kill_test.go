package finetune

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

// trainToBeKilled is the test program as a training: it goes on if there is
// something to go on from.
func trainToBeKilled(out string) int {
	t := &testing.T{}
	j, f := fakeJob(t, 60, "save_every=1", "keep=2", "eval_every=7", "out="+out)
	f.slow = func() { time.Sleep(2 * time.Millisecond) }
	saved, err := listCheckpoints(out)
	j.Resume = err == nil && len(saved) > 0
	// A newest one that is damaged would be a checkpoint lost.
	j.Events = func(e Event) {
		if n, ok := e.(NoteEvent); ok {
			fmt.Fprintln(os.Stderr, n.Text)
			os.Exit(3)
		}
	}
	if _, err := Train(context.Background(), j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// kill -9 at random moments costs no checkpoint and changes no weight.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	whole, _ := fakeJob(t, 60, "save_every=1", "keep=2", "eval_every=7")
	mustTrain(t, whole)
	out := t.TempDir() + "/killed"
	rng := rand.New(rand.NewPCG(1, 2))
	kills, last := 0, -1
	for try := range 60 {
		var errs limited
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "GPTCTL_TEST_TRAIN_OUT="+out)
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		life := time.Duration(20+rng.IntN(150)) * time.Millisecond
		if try == 59 {
			life = time.Minute
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("after %d kills: %v: %s", kills, err, errs.text)
			}
			if kills == 0 {
				t.Log("it was never killed")
			}
			t.Logf("%d kills", kills)
			if weightsOf(t, out) != weightsOf(t, whole.Settings.Out) {
				t.Errorf("after %d kills: other weights", kills)
			}
			return
		case <-time.After(life):
			if err := cmd.Process.Kill(); err != nil {
				t.Log(err)
			}
			<-done
			kills++
		}
		saved, err := listCheckpoints(out)
		if err != nil {
			t.Fatal(err)
		}
		if len(saved) > 0 {
			if saved[0] < last {
				t.Fatalf("kill %d: the newest checkpoint is of step %d, it was %d", kills, saved[0], last)
			}
			last = saved[0]
		} else if last >= 0 {
			t.Fatalf("kill %d: the checkpoints are gone", kills)
		}
	}
}

type limited struct{ text []byte }

func (l *limited) Write(p []byte) (int, error) {
	if len(l.text) < 1<<12 {
		l.text = append(l.text, p...)
	}
	return len(p), nil
}
