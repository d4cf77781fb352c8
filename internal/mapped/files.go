package mapped

import "errors"

// Files are the files of one model; none of a model that was parsed from memory.
type Files []*File

// Prefault brings parts of the files into memory; see File.
func (s Files) Prefault(parts ...[]byte) {
	for _, f := range s {
		f.Prefault(parts...)
	}
}

// ReadAhead starts bringing the files into the page cache.
func (s Files) ReadAhead() {
	for _, f := range s {
		f.ReadAhead()
	}
}

// Forget says that some of the data has been read for the last time for now; see File.
func (s Files) Forget(data []byte) {
	for _, f := range s {
		f.Forget(data)
	}
}

// Bytes returns the size of the files.
func (s Files) Bytes() int64 {
	var n int64
	for _, f := range s {
		n += int64(len(f.Data))
	}
	return n
}

// Close releases the memory behind what was read from the files; a Prefault under way
// ends.
func (s Files) Close() error {
	var errs []error
	for _, f := range s {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
