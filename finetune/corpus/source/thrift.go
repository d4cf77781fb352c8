package source

import (
	"encoding/binary"
	"errors"
)

var errThrift = errors.New("its footer is not what it should be")

// compact walks over a value in Thrift's compact protocol and checks that no
// length is more than the bytes that are left: the library takes memory for a
// list as it says, and what says 2^31 of something ends the program.
// https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
type compact struct {
	rest  []byte
	depth int
}

func (t *compact) take(n uint64) ([]byte, error) {
	if n > uint64(len(t.rest)) {
		return nil, errThrift
	}
	b := t.rest[:n]
	t.rest = t.rest[n:]
	return b, nil
}

func (t *compact) byte() (byte, error) {
	b, err := t.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (t *compact) varint() (uint64, error) {
	v, n := binary.Uvarint(t.rest)
	if n <= 0 {
		return 0, errThrift
	}
	t.rest = t.rest[n:]
	return v, nil
}

// The types of the compact protocol.
const (
	thriftTrue = 1 + iota
	thriftFalse
	thriftByte
	thriftI16
	thriftI32
	thriftI64
	thriftDouble
	thriftBinary
	thriftList
	thriftSet
	thriftMap
	thriftStruct
	thriftUUID
)

func (t *compact) structure() error {
	const deepest = 64
	if t.depth++; t.depth > deepest {
		return errThrift
	}
	defer func() { t.depth-- }()
	for {
		h, err := t.byte()
		if err != nil || h == 0 {
			return err
		}
		if h>>4 == 0 { // the field's number is not a step from the last one
			if _, err := t.varint(); err != nil {
				return err
			}
		}
		if k := h & 15; k == thriftTrue || k == thriftFalse {
			continue // the type is the value
		}
		if err := t.value(h & 15); err != nil {
			return err
		}
	}
}

func (t *compact) value(kind byte) error {
	var err error
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		_, err = t.take(1)
	case thriftI16, thriftI32, thriftI64:
		_, err = t.varint()
	case thriftDouble:
		_, err = t.take(8)
	case thriftUUID:
		_, err = t.take(16)
	case thriftBinary:
		var n uint64
		if n, err = t.varint(); err == nil {
			_, err = t.take(n)
		}
	case thriftList, thriftSet:
		return t.list()
	case thriftMap:
		n, err := t.varint()
		if err != nil || n == 0 {
			return err
		}
		kinds, err := t.byte()
		if err != nil || n > uint64(len(t.rest)) {
			return errThrift
		}
		for range n {
			if err := errors.Join(t.value(kinds>>4), t.value(kinds&15)); err != nil {
				return errThrift
			}
		}
	case thriftStruct:
		return t.structure()
	default:
		return errThrift
	}
	return err
}

func (t *compact) list() error {
	h, err := t.byte()
	if err != nil {
		return err
	}
	n := uint64(h >> 4)
	if n == 15 {
		if n, err = t.varint(); err != nil {
			return err
		}
	}
	if n > uint64(len(t.rest)) { // each takes a byte at least
		return errThrift
	}
	if t.depth++; t.depth > 64 {
		return errThrift
	}
	defer func() { t.depth-- }()
	for range n {
		if err := t.value(h & 15); err != nil {
			return err
		}
	}
	return nil
}
