package machine

import (
	"context"
	"fmt"

	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/mem"
)

// This file alone knows gopsutil.

func memory(ctx context.Context) (Memory, error) {
	v, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return Memory{}, fmt.Errorf("read the machine's memory: %w", err)
	}
	m := Memory{Total: v.Total, Available: v.Available}
	if s, err := mem.SwapMemoryWithContext(ctx); err == nil {
		m.SwapTotal, m.SwapFree = s.Total, s.Free
	}
	return m, nil
}

func usage(path string) (Usage, error) {
	u, err := disk.Usage(path)
	if err != nil {
		return Usage{}, fmt.Errorf("file system of %s: %w", path, err)
	}
	return Usage{TotalBytes: u.Total, FreeBytes: u.Free, TotalInodes: u.InodesTotal, FreeInodes: u.InodesFree}, nil
}
