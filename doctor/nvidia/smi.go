package nvidia

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A GPU takes about 120 KB of XML, most of it supported clocks.
const smiOutputLimit = 32 << 20

// probeSMI asks nvidia-smi. The compute capability and the NVLinks are not in
// its XML, so they are asked beside it; a driver too old to know them leaves them out.
func probeSMI(ctx context.Context, opt Options) Inventory {
	path, err := findSMI(opt)
	if err != nil {
		return Inventory{State: StateNoLibrary, Source: SourceSMI, Detail: err.Error()}
	}
	capabilities := make(chan map[string]Capability, 1)
	go func() {
		out, err := runSMI(ctx, path, "--query-gpu=pci.bus_id,compute_cap", "--format=csv,noheader")
		if err != nil {
			out = nil
		}
		capabilities <- parseCapabilities(out)
	}()
	links := make(chan map[int]NVLink, 1)
	go func() {
		out, err := runSMI(ctx, path, "nvlink", "--status")
		if err != nil {
			out = nil
		}
		links <- parseLinks(out)
	}()
	out, err := runSMI(ctx, path, "-q", "-x")
	if ctx.Err() != nil {
		return Inventory{State: StateTimeout, Source: SourceSMI, Detail: "nvidia-smi gave no answer: " + context.Cause(ctx).Error()}
	}
	inv := readSMI(out, err)
	known := <-capabilities
	for i := range inv.GPUs {
		if c, ok := known[inv.GPUs[i].BusID]; ok {
			inv.GPUs[i].Capability = &c
		}
	}
	linked := <-links
	for i := range inv.GPUs {
		if n, ok := linked[inv.GPUs[i].Index]; ok && inv.GPUs[i].State == StateOK {
			inv.GPUs[i].NVLink = &n
		}
	}
	return inv
}

func findSMI(opt Options) (string, error) {
	if path := opt.SMI; path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("find nvidia-smi: %w", err)
		}
		return path, nil
	}
	if found, err := exec.LookPath("nvidia-smi"); err == nil {
		return found, nil
	}
	// Where drivers and container tool kits put it (gpu-operator's list), GKE, WSL2, Windows.
	places := []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/opt/bin", "/usr/local/nvidia/bin", "/usr/lib/wsl/lib"}
	name := "nvidia-smi"
	if runtime.GOOS == "windows" {
		places, name = nil, "nvidia-smi.exe"
		if root := os.Getenv("SystemRoot"); root != "" {
			places = append(places, filepath.Join(root, "System32"))
		}
		if programs := os.Getenv("ProgramFiles"); programs != "" {
			places = append(places, filepath.Join(programs, "NVIDIA Corporation", "NVSMI"))
		}
	}
	for _, dir := range places {
		if found, err := exec.LookPath(filepath.Join(opt.Root, dir, name)); err == nil {
			return found, nil
		}
	}
	return "", errors.New("nvidia-smi is not installed")
}

// runSMI returns standard output, and standard error after it when the program fails.
func runSMI(ctx context.Context, path string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = 2 * time.Second // a grandchild may hold the pipe open
	out, problem := &bounded{limit: smiOutputLimit}, &bounded{limit: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, problem
	err := cmd.Run()
	if err == nil && out.over {
		err = fmt.Errorf("nvidia-smi: more than %d bytes of output", smiOutputLimit)
	}
	if err != nil {
		return append(append(out.Bytes(), '\n'), problem.Bytes()...), err
	}
	return out.Bytes(), nil
}

// bounded takes everything and keeps what is within its limit.
type bounded struct {
	bytes.Buffer
	limit int
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	keep := min(len(p), b.limit-b.Len())
	b.over = b.over || keep < len(p)
	b.Buffer.Write(p[:keep])
	return len(p), nil
}

// readSMI makes an inventory of what nvidia-smi -q -x printed and how it ended.
func readSMI(out []byte, failure error) Inventory {
	out = bytes.ToValidUTF8(out, []byte("?")) // process names come as they are
	words, body := out, []byte(nil)
	if at := bytes.Index(out, []byte("<?xml")); at >= 0 {
		words, body = out[:at], out[at:]
	}
	lost := lostGPUs(string(words))
	if body == nil || failure != nil && !bytes.Contains(body, []byte("</nvidia_smi_log>")) {
		inv := smiState(string(out), failure)
		inv.GPUs = lost
		return inv
	}
	log, err := parseSMI(body)
	if err != nil {
		return Inventory{State: StateFailed, Source: SourceSMI, Detail: "nvidia-smi -q -x: " + oneLine(err.Error())}
	}
	inv := log.inventory()
	for _, g := range lost {
		inv.insert(g)
	}
	inv.settle()
	return inv
}

// smiState reads the words of a nvidia-smi that gave no inventory. The exit
// codes are those of its manual page, "RETURN VALUE".
func smiState(out string, failure error) Inventory {
	inv := Inventory{State: StateFailed, Source: SourceSMI, Detail: oneLine(out)}
	code := 0
	var exit *exec.ExitError
	if errors.As(failure, &exit) {
		code = exit.ExitCode()
	} else if failure != nil {
		inv.Detail = oneLine(failure.Error())
	}
	says := func(words string) bool { return strings.Contains(out, words) }
	switch {
	case says("version mismatch"):
		inv.State = StateMismatch
		if _, after, ok := strings.Cut(out, "NVML library version:"); ok {
			if f := strings.Fields(after); len(f) > 0 {
				inv.Library, _ = ParseVersion(f[0])
			}
		}
	case says("No devices were found"):
		inv.State = StateNoDevice
	case says("nvidia-smi has failed because it couldn't communicate"), says("NVIDIA-SMI has failed because it couldn't communicate"),
		says("Driver Not Loaded"), code == 9:
		inv.State = StateNoDriver
	case says("Insufficient Permissions"), code == 4:
		inv.State = StateNoAccess
	case says("GPU is lost"), says("Unable to determine the device handle"), code == 15:
		inv.State = StateLost
	case says("couldn't find libnvidia-ml"), code == 12:
		inv.State = StateNoLibrary
	}
	if inv.Detail == "" {
		inv.Detail = "nvidia-smi printed nothing"
		if failure != nil {
			inv.Detail = "nvidia-smi: " + oneLine(failure.Error())
		}
	}
	return inv
}
