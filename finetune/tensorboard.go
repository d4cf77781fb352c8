package finetune

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// eventFile writes scalars as TensorBoard reads them. The file is a row of
// TFRecords (tensorflow/core/lib/io/record_writer.h): the length of the data (8
// bytes), the masked CRC-32C of those 8, the data, and its masked CRC-32C, all
// little-endian. The data is a protocol buffer, tensorboard.Event
// (tensorboard/compat/proto/event.proto).
type eventFile struct {
	file *os.File
	now  func() time.Time
}

// Fields of Event, Summary.Value and SessionLog.
const (
	fieldWallTime    = 1 // double
	fieldStep        = 2 // int64
	fieldFileVersion = 3 // string
	fieldSummary     = 5
	fieldSessionLog  = 7

	fieldValue       = 1 // of Summary
	fieldTag         = 1 // of Value
	fieldSimpleValue = 2 // float

	fieldStatus  = 1 // of SessionLog
	statusStart  = 1
	eventVersion = "brain.Event:2"
)

// openEvents begins a file in OUT/tensorboard. What earlier files say of steps
// after this one is void: the session log says so.
func openEvents(out string, step int, now func() time.Time) (*eventFile, error) {
	dir := filepath.Join(out, tensorboardName)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	host = strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r == ':' {
			return '_'
		}
		return r
	}, host)
	var f *os.File
	for i := range 1000 { // another may have been begun in the same second
		name := fmt.Sprintf("events.out.tfevents.%010d.%s.%d.%d", now().Unix(), host, os.Getpid(), i)
		f, err = os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !os.IsExist(err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	e := &eventFile{f, now}
	if err := e.write(appendBytes(e.head(0), fieldFileVersion, []byte(eventVersion))); err != nil {
		f.Close()
		return nil, err
	}
	return e, e.restart(step)
}

const tensorboardName = "tensorboard"

// restart makes void what was said about the steps after this one.
func (e *eventFile) restart(step int) error {
	return e.write(appendBytes(e.head(step+1), fieldSessionLog, appendVarint(nil, fieldStatus, statusStart)))
}

// scalar is a number with a name such as "train/loss".
type scalar struct {
	tag   string
	value float64
}

// scalars writes the numbers of a step.
func (e *eventFile) scalars(step int, list ...scalar) error {
	var summary []byte
	for _, s := range list {
		value := appendBytes(nil, fieldTag, []byte(s.tag))
		value = appendKey(value, fieldSimpleValue, wire32)
		value = binary.LittleEndian.AppendUint32(value, math.Float32bits(float32(s.value)))
		summary = appendBytes(summary, fieldValue, value)
	}
	return e.write(appendBytes(e.head(step), fieldSummary, summary))
}

func (e *eventFile) head(step int) []byte {
	b := appendKey(nil, fieldWallTime, wire64)
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(e.now().UnixMicro())/1e6))
	return appendVarint(b, fieldStep, uint64(step))
}

func (e *eventFile) write(data []byte) error { return writeRecord(e.file, data) }

func (e *eventFile) close() { e.file.Close() }

// writeRecord writes a TFRecord at once, so that a reader never sees half of it.
func writeRecord(w io.Writer, data []byte) error {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b))
	b = append(b, data...)
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(data))
	_, err := w.Write(b)
	return err
}

// maskedCRC is rotated and shifted, since the CRC of data that holds its own
// CRC is not a good one (tensorflow/core/lib/hash/crc32c.h).
func maskedCRC(data []byte) uint32 {
	crc := crc32.Checksum(data, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// Wire types of protocol buffers.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

func appendKey(b []byte, field, wire int) []byte {
	return binary.AppendUvarint(b, uint64(field<<3|wire))
}

func appendVarint(b []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(appendKey(b, field, wireVarint), v)
}

func appendBytes(b []byte, field int, data []byte) []byte {
	b = binary.AppendUvarint(appendKey(b, field, wireBytes), uint64(len(data)))
	return append(b, data...)
}
