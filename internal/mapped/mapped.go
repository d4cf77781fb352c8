// Package mapped opens a file as bytes in memory without reading it first:
// the pages come from the page cache as they are touched, shared with every
// other process that maps the same file.
//
// A file that another process shortens while it is mapped raises a bus error
// (SIGBUS) where the lost part is touched, which Go cannot recover from. Model
// files are replaced by renaming, never rewritten in place, so this takes a
// foreign program that truncates them.
package mapped

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

// File is an open file. Data is read-only: writing to it faults.
type File struct {
	Data []byte

	unmap func() error
	mu    sync.RWMutex // held for reading while Prefault touches Data
	stop  atomic.Bool  // Close was called
}

// Open maps a regular file. Where the system cannot map, the file is read.
// Close must not be called before the last use of Data.
func Open(path string) (*File, error) {
	// Stat first: opening a named pipe would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := mappable(path, info); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // a mapping outlives the descriptor
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := mappable(path, info); err != nil {
		return nil, err
	}
	if info.Size() == 0 { // no system maps zero bytes
		return &File{}, nil
	}
	data, unmap, err := mapFile(f, int(info.Size()))
	if err == nil {
		return &File{Data: data, unmap: unmap}, nil
	}
	// Some network and container file systems do not map.
	data = make([]byte, info.Size())
	if _, readErr := io.ReadFull(f, data); readErr != nil {
		return nil, fmt.Errorf("read %s: %w", path, errors.Join(readErr, err))
	}
	return &File{Data: data}, nil
}

func mappable(path string, info os.FileInfo) error {
	if info.IsDir() {
		return fmt.Errorf("open %s: is a directory, want a file", path)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("open %s: not a regular file (%v)", path, info.Mode().Type())
	}
	if info.Size() > math.MaxInt {
		return fmt.Errorf("open %s: %d bytes are more than this system can address", path, info.Size())
	}
	return nil
}

// Close releases the memory; Data must not be touched any more. A Prefault
// under way is stopped first. Closing twice is harmless.
func (f *File) Close() error {
	f.stop.Store(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	unmap := f.unmap
	f.Data, f.unmap = nil, nil
	if unmap == nil {
		return nil
	}
	return unmap()
}

// chunk is how much of a mapping is asked for at once: large enough that the
// system call is free, small enough to share out among threads.
const chunk = 4 << 20

// Prefault brings the whole file into memory and into this process's page
// tables, with several threads, and returns when that is done. It is only a
// matter of speed: errors are ignored, a page that is missing is faulted in
// when it is touched. It may run while Data is used, and while Close is called.
func (f *File) Prefault() {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.unmap == nil || f.stop.Load() {
		return
	}
	willNeed(f.Data) // what must come from disk is then read in large pieces
	if !canPopulate(f.Data) {
		return
	}
	chunks := (len(f.Data) + chunk - 1) / chunk
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(chunks, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for !f.stop.Load() {
				from := (int(next.Add(1)) - 1) * chunk
				if from >= len(f.Data) || !populate(f.Data[from:min(from+chunk, len(f.Data))]) {
					return
				}
			}
		})
	}
	workers.Wait()
}
