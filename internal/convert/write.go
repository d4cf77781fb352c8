package convert

import (
	"context"
	"os"
	"sync"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/mapped"
)

// output is a file under way.
type output struct {
	file    *os.File
	head    []byte
	size    int64
	targets []target
	offsets []int64
}

// writeOutputs fills the files, several workers at a time, and has them on the
// disk when it returns.
func writeOutputs(ctx context.Context, o Options, outputs []*output) error {
	type piece struct {
		out      *output
		tensor   int
		from, to int
	}
	var pieces []piece
	var total int64
	for _, out := range outputs {
		if err := out.file.Truncate(out.size); err != nil {
			return err
		}
		if _, err := out.file.WriteAt(out.head, 0); err != nil {
			return err
		}
		total += out.size
		for i := range out.targets {
			rows, _ := out.targets[i].rows()
			step := out.targets[i].chunkRows()
			for from := 0; from < rows; from += step {
				pieces = append(pieces, piece{out, i, from, min(from+step, rows)})
			}
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next, done atomic.Int64
	var workers sync.WaitGroup
	var show sync.Mutex
	for range o.Workers {
		workers.Go(func() {
			var r room
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(pieces) {
					return
				}
				p := pieces[i]
				t := &p.out.targets[p.tensor]
				_, width := t.rows()
				var data []byte
				err := mapped.Readable(func() (err error) {
					if data, err = t.chunk(&r, p.from, p.to); err == nil {
						_, err = p.out.file.WriteAt(data, p.out.offsets[p.tensor]+int64(t.dtype.Bytes(p.from*width)))
					}
					return err
				})
				if err != nil {
					stop(err)
					return
				}
				if n := done.Add(int64(len(data))); o.Progress != nil {
					show.Lock()
					o.Progress(n, total)
					show.Unlock()
				}
			}
		})
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	for _, out := range outputs {
		if err := finish(out.file); err != nil {
			return err
		}
	}
	return nil
}

// finish has a file on the disk and closes it.
func finish(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// syncFolder has the names in a folder on the disk, where the system can.
func syncFolder(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync()
		f.Close()
	}
}

// writeFile writes a small file.
func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return finish(f)
}
