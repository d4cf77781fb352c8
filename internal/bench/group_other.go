//go:build !unix

package bench

import "os/exec"

func endsAsGroup(*exec.Cmd) {}
