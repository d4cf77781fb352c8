package finetune

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/gptctl/gptctl/internal/safetensors"
)

// file is what is written to; *os.File is one.
type file interface {
	io.WriteCloser
	Sync() error
}

// disk makes files; tests have one that fails.
type disk func(path string) (file, error)

func newFile(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileSum says what a file of a checkpoint must be like.
type fileSum struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	CRC32C uint32 `json:"crc32c"`
}

// write makes a file and has it on the disk.
func (d disk) write(path string, fill func(io.Writer) error) (sum fileSum, err error) {
	f, err := d(path)
	if err != nil {
		return sum, err
	}
	counted := &summing{to: f}
	buffered := bufio.NewWriterSize(counted, 1<<20)
	if err = fill(buffered); err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return fileSum{filepath.Base(path), counted.bytes, counted.crc}, err
}

// replace writes a file under another name and renames it.
func (d disk) replace(path string, fill func(io.Writer) error) error {
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+partSuffix)
	_, err := d.write(part, fill)
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		os.Remove(part)
		return err
	}
	syncFolder(filepath.Dir(path))
	return nil
}

func (d disk) replaceBytes(path string, data []byte) error {
	return d.replace(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// partSuffix ends the names of what is being written.
const partSuffix = ".part"

// summing counts and sums up what passes.
type summing struct {
	to    io.Writer
	bytes int64
	crc   uint32
}

func (s *summing) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	s.bytes += int64(n)
	s.crc = crc32.Update(s.crc, castagnoli, p[:n])
	return n, err
}

// check compares a file with its sum.
func (s fileSum) check(dir string) error {
	f, err := os.Open(filepath.Join(dir, s.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := &summing{to: io.Discard}
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if sum.bytes != s.Bytes {
		return fmt.Errorf("%s has %d bytes, want %d", s.Name, sum.bytes, s.Bytes)
	}
	if sum.crc != s.CRC32C {
		return fmt.Errorf("%s is damaged: its checksum is %08x, want %08x", s.Name, sum.crc, s.CRC32C)
	}
	return nil
}

// isFull reports whether a disk had no room.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, errDiskFull) }

// syncFolder has the names in a folder on the disk, where the system can.
func syncFolder(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync()
		f.Close()
	}
}

// tensorBytes adds up the data of tensors.
func tensorBytes(lists ...[]safetensors.Named) (n int64) {
	for _, t := range slices.Concat(lists...) {
		n += int64(len(t.Tensor.Data))
	}
	return n
}
