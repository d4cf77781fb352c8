package nvidia

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const defaultTimeout = 5 * time.Second

// Probe looks at the NVIDIA GPUs of this machine. It returns within
// opt.Timeout even if the driver hangs; a call that is stuck in the driver then
// stays behind in a goroutine, which does not keep the program from ending.
func Probe(ctx context.Context, opt Options) Inventory {
	if opt.Timeout <= 0 {
		opt.Timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, opt.Timeout)
	defer cancel()

	var inv Inventory
	switch opt.Source {
	case "":
		inv = inTime(ctx, SourceNVML, func() Inventory { return probeNVML(ctx, opt) })
		if inv.State == StateNoLibrary {
			nvml := inv
			inv = inTime(ctx, SourceSMI, func() Inventory { return probeSMI(ctx, opt) })
			if inv.State == StateNoLibrary && nvml.Detail != "" {
				inv.Detail = nvml.Detail + "; " + inv.Detail
			}
		}
	case SourceNVML:
		inv = inTime(ctx, SourceNVML, func() Inventory { return probeNVML(ctx, opt) })
	case SourceSMI:
		inv = inTime(ctx, SourceSMI, func() Inventory { return probeSMI(ctx, opt) })
	default:
		inv = Inventory{State: StateFailed, Source: SourceNone, Detail: fmt.Sprintf("source %q: want %s or %s", opt.Source, SourceNVML, SourceSMI)}
	}
	if inv.State == StateNoLibrary {
		inv.Source = SourceNone
	}
	inv.addHost(opt.Root)
	if inv.Driver.IsZero() && len(inv.GPUs) > 0 {
		inv.Driver = inv.KernelModule
	}
	return inv
}

// inTime runs a probe that may never return.
func inTime(ctx context.Context, source string, probe func() Inventory) Inventory {
	answer := make(chan Inventory, 1) // room for an answer that nobody waits for any more
	go func() { answer <- probe() }()
	select {
	case inv := <-answer:
		return inv
	case <-ctx.Done():
		return Inventory{State: StateTimeout, Source: source, Detail: source + " gave no answer: " + context.Cause(ctx).Error()}
	}
}

// settle derives the state of the whole from the states of the GPUs.
func (inv *Inventory) settle() {
	inv.State, inv.Detail = StateOK, ""
	if len(inv.GPUs) == 0 {
		inv.State, inv.Detail = StateNoDevice, "the driver shows no GPU"
		return
	}
	bad := 0
	for _, g := range inv.GPUs {
		if g.State == StateOK {
			continue
		}
		bad++
		if inv.State == StateOK || g.State == StateLost && inv.State != StateLost {
			inv.State, inv.Detail = g.State, fmt.Sprintf("GPU %d: %s", g.Index, g.Detail)
		}
	}
	if bad < len(inv.GPUs) && inv.State != StateLost {
		inv.State, inv.Detail = StateOK, "" // the others can be worked with; a lost GPU drags them down sooner or later
	}
}

// oneLine keeps the first line with words in it, within bounds and without
// characters that a terminal would obey.
func oneLine(s string) string {
	for line := range strings.Lines(s) {
		line = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(line, "?"))
		line = strings.Join(strings.Fields(line), " ")
		if line == "" {
			continue
		}
		if r := []rune(line); len(r) > 300 {
			line = string(r[:300]) + "…"
		}
		return line
	}
	return ""
}
