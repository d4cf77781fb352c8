// Package mapped opens a file as bytes in memory without reading it first:
// the pages come from the page cache as they are touched, shared with every
// other process that maps the same file.
//
// A file that another process shortens while it is mapped raises a bus error
// (SIGBUS) where the lost part is touched, see Readable. Model files are
// replaced by renaming, never rewritten in place, so this takes a foreign
// program that truncates them.
package mapped

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
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

// Prefault brings parts of Data into memory and into this process's page tables, all
// of it if none are named, with several threads, and returns when that is done. It is
// only a matter of speed: errors are ignored, a page that is missing is faulted in
// when it is touched. It may run while Data is used, and while Close is called.
func (f *File) Prefault(parts ...[]byte) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.unmap == nil || f.stop.Load() || len(f.Data) == 0 {
		return
	}
	if len(parts) == 0 {
		parts = [][]byte{f.Data}
	}
	var chunks [][]byte
	spans := f.pages(parts)
	for _, s := range spans {
		willNeed(f.Data[s.from:s.to]) // what must come from disk is then read in large pieces
		for ; s.from < s.to; s.from += chunk {
			chunks = append(chunks, f.Data[s.from:min(s.from+chunk, s.to)])
		}
	}
	if !canPopulate(f.Data) {
		return
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(len(chunks), runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for !f.stop.Load() {
				i := int(next.Add(1)) - 1
				if i >= len(chunks) || !populate(chunks[i]) {
					return
				}
			}
		})
	}
	workers.Wait()
	f.forgetOthers(spans)
}

// forgetOthers lets go of what lies between the spans: it came with these, or was read
// before.
func (f *File) forgetOthers(spans []span) {
	from := 0
	for _, s := range append(spans, span{len(f.Data), len(f.Data)}) {
		if from = (from + os.Getpagesize() - 1) / os.Getpagesize() * os.Getpagesize(); from < s.from {
			forget(f.Data[from:s.from])
		}
		from = s.to
	}
}

// span is Data[from:to].
type span struct{ from, to int }

// pages returns where the parts that lie in Data are, in whole pages, in order, what
// touches as one.
func (f *File) pages(parts [][]byte) (spans []span) {
	page, base := os.Getpagesize(), uintptr(unsafe.Pointer(&f.Data[0]))
	for _, p := range parts {
		from := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
		if len(p) > 0 && from >= base && from-base < uintptr(len(f.Data)) {
			at := int(from - base)
			spans = append(spans, span{at / page * page, min((at+len(p)+page-1)/page*page, len(f.Data))})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	joined := spans[:0]
	for _, s := range spans {
		if n := len(joined); n > 0 && s.from <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, s.to)
		} else {
			joined = append(joined, s)
		}
	}
	return joined
}
