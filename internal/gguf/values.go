package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Keys returns the keys of the metadata in the order of the file. The caller
// must not change the slice.
func (f *File) Keys() []string { return f.keys }

// wrongType is the error of a value that has another type than the key's.
func (v value) wrongType(key, want string) error {
	kind := v.kind.String()
	if v.kind == Array {
		kind = fmt.Sprintf("an array of %v", v.elem)
	}
	return fmt.Errorf("metadata %s is %s, want %s", quote(key), kind, want)
}

// Text returns a string; not ok without one.
func (f *File) Text(key string) (text string, ok bool, err error) {
	v, ok := f.values[key]
	if !ok {
		return "", false, nil
	}
	if v.kind != String {
		return "", false, v.wrongType(key, "a string")
	}
	return string(v.data[8:]), true, nil
}

// Uint returns an integer of any type that is not negative; not ok without one. An
// array, which says it layer by layer, counts as one number if all of it are equal.
func (f *File) Uint(key string) (n uint64, ok bool, err error) {
	signed, ok, err := f.Int(key)
	if signed < 0 && f.values[key].kind != Uint64 {
		return 0, false, fmt.Errorf("metadata %s is %d, want no negative number", quote(key), signed)
	}
	return uint64(signed), ok, err
}

// Int is Uint for what may be negative; a uint64 beyond 63 bits wraps.
func (f *File) Int(key string) (n int64, ok bool, err error) {
	v, ok := f.values[key]
	if !ok {
		return 0, false, nil
	}
	if v.kind == Array && v.n == 0 {
		return 0, false, v.wrongType(key, "a whole number")
	}
	n, isInt := v.integer(0)
	if !isInt {
		return 0, false, v.wrongType(key, "a whole number")
	}
	for i := 1; i < v.n; i++ { // 0 of what is no array
		if other, _ := v.integer(i); other != n {
			return 0, false, fmt.Errorf("metadata %s has %d in one place and %d in another, want the same for all layers", quote(key), n, other)
		}
	}
	return n, true, nil
}

// integer returns element i of an integer type; a uint64 beyond 63 bits wraps.
func (v value) integer(i int) (int64, bool) {
	kind := v.kind
	if kind == Array {
		kind = v.elem
	}
	b := v.data[i*valueTypes[kind].size:]
	switch kind {
	case Uint8:
		return int64(b[0]), true
	case Int8:
		return int64(int8(b[0])), true
	case Uint16:
		return int64(binary.LittleEndian.Uint16(b)), true
	case Int16:
		return int64(int16(binary.LittleEndian.Uint16(b))), true
	case Uint32:
		return int64(binary.LittleEndian.Uint32(b)), true
	case Int32:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case Uint64, Int64:
		return int64(binary.LittleEndian.Uint64(b)), true
	}
	return 0, false
}

// Float returns a floating point number; not ok without one.
func (f *File) Float(key string) (x float64, ok bool, err error) {
	v, ok := f.values[key]
	switch {
	case !ok:
		return 0, false, nil
	case v.kind == Float32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(v.data))), true, nil
	case v.kind == Float64:
		return math.Float64frombits(binary.LittleEndian.Uint64(v.data)), true, nil
	}
	return 0, false, v.wrongType(key, "a floating point number")
}

// Flag returns a truth value; not ok without one.
func (f *File) Flag(key string) (set, ok bool, err error) {
	v, ok := f.values[key]
	if !ok {
		return false, false, nil
	}
	if v.kind != Bool {
		return false, false, v.wrongType(key, "a bool")
	}
	return v.data[0] != 0, true, nil
}

// Texts returns an array of strings; not ok without one.
func (f *File) Texts(key string) (list []string, ok bool, err error) {
	v, ok := f.values[key]
	if !ok {
		return nil, false, nil
	}
	if v.kind != Array || v.elem != String {
		return nil, false, v.wrongType(key, "an array of strings")
	}
	// One copy of them all, not one each.
	all := string(v.data)
	list = make([]string, v.n)
	for i, at := 0, 0; i < v.n; i++ {
		from := at + 8
		at = from + int(binary.LittleEndian.Uint64(v.data[at:]))
		list[i] = all[from:at]
	}
	return list, true, nil
}

// Ints returns an array of integers; not ok without one.
func (f *File) Ints(key string) (list []int64, ok bool, err error) {
	v, ok := f.values[key]
	if !ok {
		return nil, false, nil
	}
	list = make([]int64, 0, min(v.n, len(v.data)))
	for i := range v.n {
		n, isInt := int64(0), v.kind == Array
		if isInt {
			n, isInt = v.integer(i)
		}
		if !isInt {
			return nil, false, v.wrongType(key, "an array of whole numbers")
		}
		list = append(list, n)
	}
	if v.kind != Array {
		return nil, false, v.wrongType(key, "an array of whole numbers")
	}
	return list, true, nil
}
