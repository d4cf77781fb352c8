package mapped

import (
	"os"
	"unsafe"
)

// Memory is zeroed memory outside Go's heap, on huge pages where the system
// gives them: large matrices are then read without missing in the TLB, and
// nothing is cleared before it is touched. Where the system has no such memory
// it is of Go's heap.
type Memory struct {
	Data  []byte
	unmap func() error
}

// hugePage is what Data begins at a multiple of, so that none of it lies on
// small pages but the end.
const hugePage = 2 << 20

// Anonymous allocates size bytes; from an eighth of a huge page on they are the system's
// own, which Free gives back at once.
func Anonymous(size int) *Memory {
	if size == 0 {
		return &Memory{}
	}
	if size >= hugePage/8 {
		if data, unmap, err := mapAnonymous(size + hugePage); err == nil {
			skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(data))) & (hugePage - 1))
			data = data[skip:][:size:size]
			hugePages(data[:size/hugePage*hugePage]) // of one more all would be taken
			return &Memory{Data: data, unmap: unmap}
		}
	}
	const line = 64
	data := make([]byte, size+line)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(data))) & (line - 1))
	return &Memory{Data: data[skip:][:size:size]}
}

// Free gives the memory back; Data must not be touched any more. Freeing twice
// is harmless.
func (m *Memory) Free() error {
	unmap := m.unmap
	m.Data, m.unmap = nil, nil
	if unmap == nil {
		return nil
	}
	return unmap()
}

// Forget says that part of Data has been read for the last time for now: it no
// longer counts as this process's memory, but stays in the page cache. It is
// only a matter of memory; part may be used again.
func (f *File) Forget(part []byte) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.unmap == nil || len(part) == 0 || len(f.Data) == 0 {
		return
	}
	base, from := uintptr(unsafe.Pointer(&f.Data[0])), uintptr(unsafe.Pointer(&part[0]))
	if from < base || from+uintptr(len(part)) > base+uintptr(len(f.Data)) {
		return // of another file
	}
	// Systems map a file in pieces of up to a huge page, so that some of what lies beside
	// a part came with it, which perhaps nobody reads: a large part goes with these
	// neighbours. Of a small one whole pages go only, since the neighbours may be in use.
	// But the first and the last page of the file have no other neighbours.
	page := os.Getpagesize()
	lo, hi := int(from-base), int(from-base)+len(part)
	if len(part) >= hugePage/4 {
		lo, hi = lo/hugePage*hugePage, (hi+hugePage-1)/hugePage*hugePage
	}
	lo = (lo + page - 1) / page * page
	if hi < len(f.Data) {
		hi = hi / page * page
	}
	if hi = min(hi, len(f.Data)); lo < hi {
		forget(f.Data[lo:hi])
	}
}

// ReadAhead starts bringing the file into the page cache, for one who reads it
// once and forgets the parts.
func (f *File) ReadAhead() {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.unmap != nil && !f.stop.Load() {
		smallPages(f.Data)
		willNeed(f.Data)
	}
}

// Floats allocates n zeroed numbers on Go's heap, a large piece of them on huge
// pages where the system gives them.
func Floats(n int) []float32 {
	const page = hugePage / 4
	if n < page/2 {
		return make([]float32, n)
	}
	whole := (n + page - 1) / page * page
	s := make([]float32, whole+page) // what is not touched of it is not there
	skip := int(-(uintptr(unsafe.Pointer(unsafe.SliceData(s))) / 4) & (page - 1))
	s = s[skip:][:whole]
	hugePages(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 4*whole))
	return s[:n:n]
}
