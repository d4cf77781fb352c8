package tokenizer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep JSON may nest; a tokenizer's files need less than ten levels.
const maxDepth = 128

// jsonReader reads JSON (RFC 8259) from a string, value by value. The vocabulary and the merges of a tokenizer are a
// hundred thousand strings, so strings without escapes are pieces of the source and nothing is decoded twice.
type jsonReader struct {
	file  string // named in errors
	src   string
	pos   int
	depth int
}

func newJSONReader(file string, src string) (*jsonReader, error) {
	if !utf8.ValidString(src) {
		return nil, fmt.Errorf("%s: not valid UTF-8", file)
	}
	return &jsonReader{file: file, src: src}, nil
}

func (r *jsonReader) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: byte %d: %s", r.file, r.pos, fmt.Sprintf(format, args...))
}

// peek skips white space and returns the next byte, 0 at the end.
func (r *jsonReader) peek() byte {
	for r.pos < len(r.src) {
		c := r.src[r.pos]
		if c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
		r.pos++
	}
	return 0
}

func (r *jsonReader) expect(c byte) error {
	if got := r.peek(); got != c || r.pos == len(r.src) {
		return r.unexpected(strconv.QuoteRune(rune(c)))
	}
	r.pos++
	return nil
}

func (r *jsonReader) unexpected(want string) error {
	if r.pos >= len(r.src) {
		return r.errorf("the file ends where %s should be", want)
	}
	c, _ := utf8.DecodeRuneInString(r.src[r.pos:])
	return r.errorf("got %q, want %s", c, want)
}

// end checks that nothing but white space is left.
func (r *jsonReader) end() error {
	if r.peek(); r.pos < len(r.src) {
		return r.unexpected("the end of the file")
	}
	return nil
}

func (r *jsonReader) enter() error {
	r.depth++
	if r.depth > maxDepth {
		return r.errorf("nests deeper than %d levels", maxDepth)
	}
	return nil
}

// object calls member for every key; member must consume the value.
func (r *jsonReader) object(member func(key string) error) error {
	if err := r.expect('{'); err != nil {
		return err
	}
	if err := r.enter(); err != nil {
		return err
	}
	if r.peek() == '}' {
		r.pos++
		r.depth--
		return nil
	}
	for {
		key, err := r.str()
		if err != nil {
			return err
		}
		if err := r.expect(':'); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		switch r.peek() {
		case ',':
			r.pos++
		case '}':
			r.pos++
			r.depth--
			return nil
		default:
			return r.unexpected("',' or '}'")
		}
	}
}

// array calls element for every element; element must consume it.
func (r *jsonReader) array(element func() error) error {
	if err := r.expect('['); err != nil {
		return err
	}
	if err := r.enter(); err != nil {
		return err
	}
	if r.peek() == ']' {
		r.pos++
		r.depth--
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch r.peek() {
		case ',':
			r.pos++
		case ']':
			r.pos++
			r.depth--
			return nil
		default:
			return r.unexpected("',' or ']'")
		}
	}
}

// str reads a string.
func (r *jsonReader) str() (string, error) {
	if r.peek() != '"' {
		return "", r.unexpected("a string")
	}
	start := r.pos + 1
	for i := start; i < len(r.src); i++ {
		switch c := r.src[i]; {
		case c == '"':
			r.pos = i + 1
			return r.src[start:i], nil
		case c == '\\':
			return r.escaped(start, i)
		case c < ' ':
			r.pos = i
			return "", r.errorf("control character %q in a string", c)
		}
	}
	r.pos = len(r.src)
	return "", r.unexpected("the end of a string")
}

// escaped reads on in a string that began at start and has its first backslash at i.
func (r *jsonReader) escaped(start, i int) (string, error) {
	var b strings.Builder
	b.WriteString(r.src[start:i])
	for i < len(r.src) {
		c := r.src[i]
		r.pos = i
		switch {
		case c == '"':
			r.pos = i + 1
			return b.String(), nil
		case c < ' ':
			return "", r.errorf("control character %q in a string", c)
		case c != '\\':
			b.WriteByte(c)
			i++
			continue
		}
		if i+1 >= len(r.src) {
			break
		}
		i += 2
		switch c := r.src[i-1]; c {
		case '"', '\\', '/':
			b.WriteByte(c)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			v, ok := hex4(r.src, i)
			if !ok {
				return "", r.errorf("\\u needs four hexadecimal digits")
			}
			i += 4
			if utf16.IsSurrogate(v) {
				low, ok := rune(0), false
				if i+1 < len(r.src) && r.src[i] == '\\' && r.src[i+1] == 'u' {
					low, ok = hex4(r.src, i+2)
				}
				if v = utf16.DecodeRune(v, low); !ok || v == utf8.RuneError {
					return "", r.errorf("half a surrogate pair in a string")
				}
				i += 6
			}
			b.WriteRune(v)
		default:
			return "", r.errorf("unknown escape \\%c in a string", c)
		}
	}
	r.pos = len(r.src)
	return "", r.unexpected("the end of a string")
}

func hex4(s string, i int) (rune, bool) {
	if i+4 > len(s) {
		return 0, false
	}
	var v rune
	for _, c := range []byte(s[i : i+4]) {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			v = v<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// number reads a number and returns its text.
func (r *jsonReader) number() (string, error) {
	c := r.peek()
	start, i := r.pos, r.pos
	if c == '-' {
		i++
	}
	digits := func() bool {
		from := i
		for i < len(r.src) && '0' <= r.src[i] && r.src[i] <= '9' {
			i++
		}
		return i > from
	}
	whole := i
	if !digits() {
		return "", r.unexpected("a number")
	}
	if r.src[whole] == '0' && i > whole+1 {
		return "", r.errorf("a number with a leading zero")
	}
	if i < len(r.src) && r.src[i] == '.' {
		i++
		if !digits() {
			return "", r.errorf("a number with no digit after its point")
		}
	}
	if i < len(r.src) && (r.src[i] == 'e' || r.src[i] == 'E') {
		i++
		if i < len(r.src) && (r.src[i] == '+' || r.src[i] == '-') {
			i++
		}
		if !digits() {
			return "", r.errorf("a number with no digit in its exponent")
		}
	}
	r.pos = i
	return r.src[start:i], nil
}

// jsonNumber is the text of a number, of a type of its own so that a string is never taken for one.
type jsonNumber string

// jsonObject is an object that keeps the order of its keys, which decides in what order tokens are added.
type jsonObject struct {
	keys   []string
	values map[string]any
}

func newJSONObject() *jsonObject { return &jsonObject{values: map[string]any{}} }

// set adds a key or, as with Python, gives the earlier one its new value.
func (o *jsonObject) set(key string, v any) {
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = v
}

func (o *jsonObject) get(key string) any { return o.values[key] }

func (o *jsonObject) has(key string) bool {
	_, ok := o.values[key]
	return ok
}

func (o *jsonObject) remove(key string) {
	if o.has(key) {
		delete(o.values, key)
		o.keys = slices.DeleteFunc(o.keys, func(k string) bool { return k == key })
	}
}

// value reads any value: *jsonObject, []any, string, jsonNumber, bool or nil.
func (r *jsonReader) value() (any, error) {
	switch c := r.peek(); {
	case c == '{':
		o := newJSONObject()
		err := r.object(func(key string) error {
			v, err := r.value()
			o.set(key, v)
			return err
		})
		return o, err
	case c == '[':
		list := []any{}
		err := r.array(func() error {
			v, err := r.value()
			list = append(list, v)
			return err
		})
		return list, err
	case c == '"':
		return r.str()
	case c == '-' || '0' <= c && c <= '9':
		n, err := r.number()
		return jsonNumber(n), err
	}
	for _, w := range []struct {
		text  string
		value any
	}{{"true", true}, {"false", false}, {"null", nil}} {
		if strings.HasPrefix(r.src[r.pos:], w.text) {
			r.pos += len(w.text)
			return w.value, nil
		}
	}
	return nil, r.unexpected("a value")
}

// maxValue is how many bytes a value may have that small reads; in memory it can be thirty times as large.
const maxValue = 1 << 20

// small is value for a part of a file that may itself be large.
func (r *jsonReader) small() (any, error) {
	start := r.pos
	if err := r.skip(); err != nil {
		return nil, err
	}
	if r.pos-start > maxValue {
		return nil, r.errorf("a value of more than %d bytes", maxValue)
	}
	r.pos = start
	return r.value()
}

// skip reads a value and forgets it.
func (r *jsonReader) skip() error {
	switch r.peek() {
	case '{':
		return r.object(func(string) error { return r.skip() })
	case '[':
		return r.array(r.skip)
	case '"':
		_, err := r.str()
		return err
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		_, err := r.number()
		return err
	}
	_, err := r.value()
	return err
}

// parseID reads a token id: a whole number from 0 on; more than 2^31-1 is refused here, a tighter limit is the caller's.
func parseID(n string) (int32, bool) {
	id, err := strconv.ParseInt(n, 10, 32)
	return int32(id), err == nil && id >= 0 && !strings.HasPrefix(n, "-")
}
