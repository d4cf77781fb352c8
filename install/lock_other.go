//go:build !unix

package install

import "os"

// lock has nothing to do: no plan for such a system has steps.
func lock(*os.File) (bool, error) { return true, nil }

func inherited(*os.File) []*os.File { return nil }
