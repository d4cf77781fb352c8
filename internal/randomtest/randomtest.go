// Package randomtest repeats a test with random numbers: .ci/slow random. Only tests
// import it.
//
// Each round has a seed of its own, which alone decides what it tries and which is
// written before it begins, so that one that fails or panics can be run again:
//
//	RANDOMSEED=123456 go test -v -run '^TestRandomProducts$' ./internal/kernel
package randomtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Rounds calls round again and again until RANDOMTIME is over or one fails. The first
// seed is RANDOMSEED, or one of the clock; without RANDOMTIME it is the only one. With
// neither the test is skipped.
func Rounds(t *testing.T, round func(t *testing.T, rng *rand.Rand)) {
	t.Helper()
	duration, first := os.Getenv("RANDOMTIME"), os.Getenv("RANDOMSEED")
	if duration == "" && first == "" {
		t.Skip("RANDOMTIME is not set: see .ci/slow")
	}
	seed, end := uint64(time.Now().UnixNano())%1_000_000_000, time.Now()
	if duration != "" {
		d, err := time.ParseDuration(duration)
		if err != nil {
			t.Fatal(err)
		}
		end = end.Add(d)
	}
	if first != "" {
		var err error
		if seed, err = strconv.ParseUint(first, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for {
		t.Logf("RANDOMSEED=%d", seed)
		// In a test of its own, so that what it opens is closed.
		if !t.Run("round", func(t *testing.T) { round(t, rand.New(rand.NewPCG(seed, 0))) }) || !time.Now().Before(end) {
			return
		}
		seed++
	}
}
