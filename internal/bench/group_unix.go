//go:build unix

package bench

import (
	"os/exec"
	"syscall"
)

// endsAsGroup lets what ends a command end also what that has started: a shell's
// children would go on to use the processors.
func endsAsGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
