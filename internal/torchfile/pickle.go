package torchfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Limits of one pickle. A state dict takes some 40 operations and 200 bytes per
// tensor; with these, the worst pickle costs some hundred
// megabytes.
const (
	maxPickle = 16 << 20 // bytes
	maxOps    = 1 << 19
)

// What a pickle can hold here. No value is ever walked deeper than one level at
// a time, so values that contain themselves, or each other many times over, cost
// nothing.
type (
	none   struct{}
	tuple  []any
	list   struct{ items []any }
	dict   struct{ pairs []pair } // a key may come again; the last one counts
	bigInt []byte                 // little-endian two's complement, over 8 bytes
	// opaque is a value that a state dict may hold and that nobody here needs:
	// a set, a device, a dtype.
	opaque struct{}
)

type pair struct{ key, value any }

// get returns the value of a string key.
func (d *dict) get(key string) any {
	for _, p := range slices.Backward(d.pairs) {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// unpickler is the stack machine of Python's pickle format, protocols 2 to 5
// (Lib/pickletools.py describes the operations), without the operations that
// run code: a name must be on the list of package globals.go, and what REDUCE
// would call is looked up there, never called.
type unpickler struct {
	data       []byte
	pos        int // of the next byte to read
	opPos      int // of the operation being carried out
	ops        int
	stack      []any
	marks      []int // heights of the stack
	memo       map[uint32]any
	persistent func(id any) (any, error)
}

// unpickle reads one pickle at the front of data and returns its value and
// length. persistent may be nil.
func unpickle(data []byte, persistent func(id any) (any, error)) (value any, length int, err error) {
	u := unpickler{data: data[:min(len(data), maxPickle)], memo: map[uint32]any{}, persistent: persistent}
	value, err = u.run()
	if err != nil && u.pos >= maxPickle {
		err = fmt.Errorf("is longer than %d bytes, no state dict's is", maxPickle)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("pickle: at byte %d: %w", u.opPos, err)
	}
	return value, u.pos, nil
}

func (u *unpickler) run() (any, error) {
	for {
		u.opPos = u.pos
		if u.ops++; u.ops > maxOps {
			return nil, fmt.Errorf("more than %d operations, no state dict has that many", maxOps)
		}
		op, err := u.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' { // STOP
			if len(u.marks) != 0 || len(u.stack) != 1 {
				return nil, fmt.Errorf("ends with %d values and %d marks on its stack, want one value", len(u.stack), len(u.marks))
			}
			return u.stack[0], nil
		}
		if err := u.step(op[0]); err != nil {
			return nil, err
		}
	}
}

// step carries out one operation.
func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		b, err := u.take(1)
		if err == nil && (b[0] < 2 || b[0] > 5) {
			err = fmt.Errorf("pickle protocol %d, want 2 to 5", b[0])
		}
		return err
	case 0x95: // FRAME: how much to read ahead, of no use here
		_, err := u.take(8)
		return err

	case '(': // MARK
		u.marks = append(u.marks, len(u.stack))
	case '0': // POP
		if len(u.marks) > 0 && u.marks[len(u.marks)-1] == len(u.stack) {
			u.marks = u.marks[:len(u.marks)-1]
			return nil
		}
		_, err := u.pop()
		return err
	case '1': // POP_MARK
		_, err := u.popMark()
		return err
	case '2': // DUP
		v, err := u.top()
		return u.push(v, err)

	case 'N': // NONE
		return u.push(none{}, nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		return u.push(op == 0x88, nil)
	case 'J': // BININT
		n, err := u.uint(4)
		return u.push(int64(int32(n)), err)
	case 'K': // BININT1
		n, err := u.uint(1)
		return u.push(int64(n), err)
	case 'M': // BININT2
		n, err := u.uint(2)
		return u.push(int64(n), err)
	case 0x8a: // LONG1
		b, err := u.sized(1)
		return u.push(decodeLong(b), err)
	case 0x8b: // LONG4
		b, err := u.sized(4)
		return u.push(decodeLong(b), err)
	case 'G': // BINFLOAT, big-endian
		b, err := u.take(8)
		if err != nil {
			return err
		}
		return u.push(math.Float64frombits(binary.BigEndian.Uint64(b)), nil)
	case 0x8c: // SHORT_BINUNICODE
		return u.text(1)
	case 'X': // BINUNICODE
		return u.text(4)
	case 0x8d: // BINUNICODE8
		return u.text(8)
	case 'U': // SHORT_BINSTRING: a string of Python 2
		return u.text(1)
	case 'T': // BINSTRING
		return u.text(4)
	case 'C': // SHORT_BINBYTES
		b, err := u.sized(1)
		return u.push(b, err)
	case 'B': // BINBYTES
		b, err := u.sized(4)
		return u.push(b, err)
	case 0x8e, 0x96: // BINBYTES8, BYTEARRAY8
		b, err := u.sized(8)
		return u.push(b, err)

	case ')': // EMPTY_TUPLE
		return u.push(tuple{}, nil)
	case 't': // TUPLE
		items, err := u.popMark()
		return u.push(tuple(items), err)
	case 0x85, 0x86, 0x87: // TUPLE1, TUPLE2, TUPLE3
		items, err := u.popN(int(op) - 0x84)
		return u.push(tuple(items), err)
	case ']': // EMPTY_LIST
		return u.push(&list{}, nil)
	case 'l': // LIST
		items, err := u.popMark()
		return u.push(&list{items}, err)
	case 'a': // APPEND
		items, err := u.popN(1)
		return u.extend(items, err)
	case 'e': // APPENDS
		items, err := u.popMark()
		return u.extend(items, err)
	case '}': // EMPTY_DICT
		return u.push(&dict{}, nil)
	case 'd': // DICT
		items, err := u.popMark()
		if err := u.push(&dict{}, err); err != nil {
			return err
		}
		return u.setItems(items, nil)
	case 's': // SETITEM
		items, err := u.popN(2)
		return u.setItems(items, err)
	case 'u': // SETITEMS
		items, err := u.popMark()
		return u.setItems(items, err)
	case 0x8f: // EMPTY_SET
		return u.push(opaque{}, nil)
	case 0x90: // ADDITEMS
		if _, err := u.popMark(); err != nil {
			return err
		}
		set, err := u.top()
		if _, ok := set.(opaque); err == nil && !ok {
			err = fmt.Errorf("adds items to %s, want a set", describe(set))
		}
		return err
	case 0x91: // FROZENSET
		_, err := u.popMark()
		return u.push(opaque{}, err)

	case 'q', 'r', 0x94: // BINPUT, LONG_BINPUT, MEMOIZE
		key, err := uint64(len(u.memo)), error(nil)
		switch op {
		case 'q':
			key, err = u.uint(1)
		case 'r':
			key, err = u.uint(4)
		}
		if err != nil {
			return err
		}
		v, err := u.top()
		if err != nil {
			return err
		}
		u.memo[uint32(key)] = v
	case 'h', 'j': // BINGET, LONG_BINGET
		key, err := u.uint(1 + 3*int((op&2)>>1))
		if err != nil {
			return err
		}
		v, ok := u.memo[uint32(key)]
		if !ok {
			return fmt.Errorf("refers to memo %d, which was never set", key)
		}
		return u.push(v, nil)

	case 'c': // GLOBAL: two lines
		module, err := u.line()
		if err != nil {
			return err
		}
		name, err := u.line()
		if err != nil {
			return err
		}
		g, err := lookup(module, name)
		return u.push(g, err)
	case 0x93: // STACK_GLOBAL
		names, err := u.popN(2)
		if err != nil {
			return err
		}
		module, ok1 := names[0].(string)
		name, ok2 := names[1].(string)
		if !ok1 || !ok2 {
			return fmt.Errorf("imports %s from %s, want two strings", describe(names[1]), describe(names[0]))
		}
		g, err := lookup(module, name)
		return u.push(g, err)
	case 'R', 0x81: // REDUCE, NEWOBJ: in Python, a call
		call, err := u.popN(2)
		if err != nil {
			return err
		}
		v, err := u.construct(call[0], call[1])
		return u.push(v, err)
	case 'b': // BUILD: sets attributes, of which none matters (a state dict's _metadata)
		items, err := u.popN(1)
		if err != nil {
			return err
		}
		object, err := u.top()
		if err != nil {
			return err
		}
		if _, ok := object.(*dict); !ok {
			return fmt.Errorf("sets the state of %s with %s, want an OrderedDict", describe(object), describe(items[0]))
		}
	case 'Q': // BINPERSID
		id, err := u.pop()
		if err != nil {
			return err
		}
		if u.persistent == nil {
			return fmt.Errorf("a persistent id where none may be")
		}
		v, err := u.persistent(id)
		return u.push(v, err)
	default:
		if op >= 0x20 && op < 0x7f {
			return fmt.Errorf("operation %q is none that torch.save writes", op)
		}
		return fmt.Errorf("operation 0x%02x is none that torch.save writes", op)
	}
	return nil
}

// take consumes n bytes.
func (u *unpickler) take(n uint64) ([]byte, error) {
	if left := uint64(len(u.data) - u.pos); n > left {
		if len(u.data) == maxPickle {
			u.pos = maxPickle // unpickle words the error
		}
		return nil, fmt.Errorf("needs %d bytes, but %d are left: truncated or damaged", n, left)
	}
	b := u.data[u.pos : u.pos+int(n) : u.pos+int(n)]
	u.pos += int(n)
	return b, nil
}

// uint consumes an unsigned number of 1, 2, 4 or 8 bytes.
func (u *unpickler) uint(size int) (uint64, error) {
	b, err := u.take(uint64(size))
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), nil
}

// sized consumes a length of that many bytes and what it is the length of. The
// 4-byte lengths that are signed in Python need no care: a negative one is
// larger than any pickle.
func (u *unpickler) sized(size int) ([]byte, error) {
	n, err := u.uint(size)
	if err != nil {
		return nil, err
	}
	return u.take(n)
}

// text pushes a string; one that is not UTF-8 stays bytes.
func (u *unpickler) text(size int) error {
	b, err := u.sized(size)
	if err == nil && utf8.Valid(b) {
		return u.push(string(b), nil)
	}
	return u.push(b, err)
}

// line consumes text up to a line feed.
func (u *unpickler) line() (string, error) {
	n := bytes.IndexByte(u.data[u.pos:], '\n')
	if n < 0 {
		return "", fmt.Errorf("a name without an end: truncated or damaged")
	}
	b, err := u.take(uint64(n) + 1)
	return string(b[:n]), err
}

// push puts v on the stack unless err is set, which it returns.
func (u *unpickler) push(v any, err error) error {
	if err == nil {
		u.stack = append(u.stack, v)
	}
	return err
}

// floor is the height of the stack under which an operation cannot reach.
func (u *unpickler) floor() int {
	if len(u.marks) == 0 {
		return 0
	}
	return u.marks[len(u.marks)-1]
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, errUnderflow
	}
	return u.stack[len(u.stack)-1], nil
}

var errUnderflow = fmt.Errorf("takes more from the stack than is there")

func (u *unpickler) pop() (any, error) {
	v, err := u.top()
	if err == nil {
		u.cut(len(u.stack) - 1)
	}
	return v, err
}

// popN removes the topmost n values and returns a copy of them.
func (u *unpickler) popN(n int) ([]any, error) {
	if len(u.stack)-n < u.floor() {
		return nil, errUnderflow
	}
	items := slices.Clone(u.stack[len(u.stack)-n:])
	u.cut(len(u.stack) - n)
	return items, nil
}

// popMark removes the values down to the last mark, and the mark.
func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, fmt.Errorf("goes back to a mark, but there is none")
	}
	items, err := u.popN(len(u.stack) - u.floor())
	u.marks = u.marks[:len(u.marks)-1]
	return items, err
}

// cut shortens the stack and lets go of what it held.
func (u *unpickler) cut(height int) {
	clear(u.stack[height:])
	u.stack = u.stack[:height]
}

func (u *unpickler) extend(items []any, err error) error {
	if err != nil {
		return err
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	l, ok := v.(*list)
	if !ok {
		return fmt.Errorf("appends to %s, want a list", describe(v))
	}
	l.items = append(l.items, items...)
	return nil
}

func (u *unpickler) setItems(items []any, err error) error {
	if err != nil {
		return err
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	d, ok := v.(*dict)
	if !ok {
		return fmt.Errorf("sets an item of %s, want a dict", describe(v))
	}
	if len(items)%2 != 0 {
		return fmt.Errorf("sets items of a dict with %d values, want keys and values in turn", len(items))
	}
	for i := 0; i < len(items); i += 2 {
		d.pairs = append(d.pairs, pair{items[i], items[i+1]})
	}
	return nil
}

// decodeLong reads a little-endian two's complement number: an int64 where that
// is wide enough.
func decodeLong(b []byte) any {
	if len(b) > 8 {
		return bigInt(b)
	}
	var wide [8]byte
	if len(b) > 0 && b[len(b)-1] >= 0x80 {
		wide = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
	}
	copy(wide[:], b)
	return int64(binary.LittleEndian.Uint64(wide[:]))
}

// describe names a value for messages.
func describe(v any) string {
	switch v := v.(type) {
	case none:
		return "None"
	case bool, int64, float64:
		return fmt.Sprint(v)
	case bigInt:
		return "a large number"
	case string:
		return quote(v)
	case []byte:
		return "bytes"
	case tuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *list:
		return "a list"
	case *dict:
		return "a dict"
	case *global:
		return v.String()
	case *storage:
		return "a storage"
	case *rawTensor:
		return "a tensor"
	}
	return "an object"
}

// quote writes text from the file so that a hostile one does not flood the terminal.
func quote(text string) string {
	if len(text) > 80 {
		text = text[:60] + "…"
	}
	return strconv.Quote(text)
}
