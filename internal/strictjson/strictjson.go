// Package strictjson walks JSON text (RFC 8259) that comes from outside.
//
// The caller says what it expects next, so that a hostile file is refused at
// the first surprise and no tree of values is ever built. It is stricter than
// encoding/json where leniency hides mistakes: a key may not occur twice in an
// object, strings must be UTF-8 without lone surrogates, nesting is limited.
package strictjson

import (
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may nest.
const MaxDepth = 64

// Kind is the kind of a JSON value.
type Kind string

// The kinds of values, as they are named in messages.
const (
	Object  Kind = "an object"
	Array   Kind = "an array"
	String  Kind = "a string"
	Number  Kind = "a number"
	Boolean Kind = "a boolean"
	Null    Kind = "null"
	None    Kind = "no value" // end of the text, or a byte that starts no value
)

// Scanner reads one JSON text from front to back.
type Scanner struct {
	data  []byte
	pos   int
	depth int
}

// New returns a scanner at the start of data.
func New(data []byte) *Scanner { return &Scanner{data: data} }

// SyntaxError tells where the text stops being the expected JSON.
type SyntaxError struct {
	Offset int // bytes from the start
	Text   string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Text, e.Offset) }

func (s *Scanner) fail(format string, args ...any) error {
	return &SyntaxError{s.pos, fmt.Sprintf(format, args...)}
}

func (s *Scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// take consumes c, after white space, if it comes next.
func (s *Scanner) take(c byte) bool {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// Kind tells what comes next without consuming it.
func (s *Scanner) Kind() Kind {
	s.space()
	if s.pos == len(s.data) {
		return None
	}
	switch c := s.data[s.pos]; {
	case c == '{':
		return Object
	case c == '[':
		return Array
	case c == '"':
		return String
	case c == '-' || c >= '0' && c <= '9':
		return Number
	case c == 't' || c == 'f':
		return Boolean
	case c == 'n':
		return Null
	}
	return None
}

func (s *Scanner) want(k Kind) error {
	if got := s.Kind(); got != k {
		if s.pos == len(s.data) {
			return s.fail("the text ends where %s is expected", string(k))
		}
		if got == None {
			return s.fail("found %q where %s is expected", s.data[s.pos], string(k))
		}
		return s.fail("found %s where %s is expected", string(got), string(k))
	}
	return nil
}

func (s *Scanner) enter() error {
	s.pos++
	if s.depth++; s.depth > MaxDepth {
		return s.fail("nested deeper than %d levels", MaxDepth)
	}
	return nil
}

// Object reads an object and calls member for each key; member reads the value.
func (s *Scanner) Object(member func(key string) error) error {
	if err := s.want(Object); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { s.depth-- }()
	if s.take('}') {
		return nil
	}
	var seen keys
	for {
		s.space()
		at := s.pos
		key, err := s.String()
		if err != nil {
			return err
		}
		if !seen.add(key) {
			s.pos = at
			return s.fail("key %s occurs twice", quote(key))
		}
		if !s.take(':') {
			return s.fail("no ':' after key %s", quote(key))
		}
		if err := member(key); err != nil {
			return err
		}
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return s.fail("no ',' or '}' after the value of key %s", quote(key))
		}
	}
}

// keys is the set of an object's keys. Most objects have a handful.
type keys struct {
	few  [8]string
	n    int
	many map[string]struct{}
}

func (k *keys) add(key string) bool {
	if k.many == nil {
		for _, old := range k.few[:k.n] {
			if old == key {
				return false
			}
		}
		if k.n < len(k.few) {
			k.few[k.n] = key
			k.n++
			return true
		}
		k.many = make(map[string]struct{}, 64)
		for _, old := range k.few {
			k.many[old] = struct{}{}
		}
	}
	before := len(k.many)
	k.many[key] = struct{}{}
	return len(k.many) > before
}

// Array reads an array and calls element for each element; element reads it.
func (s *Scanner) Array(element func() error) error {
	if err := s.want(Array); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { s.depth-- }()
	if s.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return s.fail("no ',' or ']' after an element")
		}
	}
}

// String reads a string.
func (s *Scanner) String() (string, error) {
	if err := s.want(String); err != nil {
		return "", err
	}
	s.pos++
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			raw := s.data[start:s.pos]
			if !utf8.Valid(raw) {
				return "", s.fail("a string is not UTF-8")
			}
			s.pos++
			return string(raw), nil
		case c == '\\':
			return s.escaped(start)
		case c < 0x20:
			return "", s.fail("control character %#02x in a string", c)
		}
		s.pos++
	}
	return "", s.fail("a string does not end")
}

// escaped reads on from the first backslash of the string that began at start.
func (s *Scanner) escaped(start int) (string, error) {
	text := append([]byte(nil), s.data[start:s.pos]...)
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		switch {
		case c == '"':
			if !utf8.Valid(text) {
				return "", s.fail("a string is not UTF-8")
			}
			s.pos++
			return string(text), nil
		case c < 0x20:
			return "", s.fail("control character %#02x in a string", c)
		case c != '\\':
			text = append(text, c)
			s.pos++
			continue
		}
		if s.pos+1 == len(s.data) {
			break
		}
		s.pos += 2
		switch e := s.data[s.pos-1]; e {
		case '"', '\\', '/':
			text = append(text, e)
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		case 'u':
			r, ok := s.hex4()
			if ok && utf16.IsSurrogate(r) {
				var low rune
				if ok = s.pos+1 < len(s.data) && s.data[s.pos] == '\\' && s.data[s.pos+1] == 'u'; ok {
					s.pos += 2
					low, ok = s.hex4()
					r = utf16.DecodeRune(r, low)
					ok = ok && r != utf8.RuneError
				}
			}
			if !ok {
				return "", s.fail(`bad \u escape in a string`)
			}
			text = utf8.AppendRune(text, r)
		default:
			return "", s.fail("unknown escape \\%c in a string", e)
		}
	}
	return "", s.fail("a string does not end")
}

func (s *Scanner) hex4() (rune, bool) {
	if s.pos+4 > len(s.data) {
		return 0, false
	}
	var r rune
	for _, c := range s.data[s.pos : s.pos+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	s.pos += 4
	return r, true
}

// number consumes a number and returns its text.
func (s *Scanner) number() (text []byte, integer bool, err error) {
	if err := s.want(Number); err != nil {
		return nil, false, err
	}
	start := s.pos
	digits := func() bool {
		from := s.pos
		for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
			s.pos++
		}
		return s.pos > from
	}
	if s.data[s.pos] == '-' {
		s.pos++
	}
	first := s.pos
	if !digits() || s.data[first] == '0' && s.pos > first+1 {
		return nil, false, s.fail("malformed number")
	}
	integer = true
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		integer = false
		s.pos++
		if !digits() {
			return nil, false, s.fail("malformed number")
		}
	}
	if s.pos < len(s.data) && s.data[s.pos]|0x20 == 'e' {
		integer = false
		s.pos++
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		if !digits() {
			return nil, false, s.fail("malformed number")
		}
	}
	return s.data[start:s.pos], integer, nil
}

// Int reads a number without fraction and exponent that fits 64 bits.
func (s *Scanner) Int() (int64, error) {
	s.space()
	at := s.pos
	text, integer, err := s.number()
	if err != nil {
		return 0, err
	}
	if integer {
		var n int64
		if n, err = strconv.ParseInt(string(text), 10, 64); err == nil {
			return n, nil
		}
		s.pos = at
		return 0, s.fail("%s does not fit 64 bits", shorten(string(text)))
	}
	s.pos = at
	return 0, s.fail("found %s where an integer is expected", shorten(string(text)))
}

// Uint reads a number without sign, fraction and exponent that fits 64 bits.
func (s *Scanner) Uint() (uint64, error) {
	s.space()
	at := s.pos
	text, integer, err := s.number()
	if err != nil {
		return 0, err
	}
	if integer {
		var n uint64
		if n, err = strconv.ParseUint(string(text), 10, 64); err == nil {
			return n, nil
		}
	}
	s.pos = at
	return 0, s.fail("found %s where an unsigned 64-bit integer is expected", shorten(string(text)))
}

// Float reads a number; one beyond float64 is refused.
func (s *Scanner) Float() (float64, error) {
	s.space()
	at := s.pos
	text, _, err := s.number()
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		s.pos = at
		return 0, s.fail("number %s is out of range", shorten(string(text)))
	}
	return f, nil
}

// Bool reads true or false.
func (s *Scanner) Bool() (bool, error) {
	if err := s.want(Boolean); err != nil {
		return false, err
	}
	if s.data[s.pos] == 't' {
		return true, s.word("true")
	}
	return false, s.word("false")
}

// Null reads null.
func (s *Scanner) Null() error {
	if err := s.want(Null); err != nil {
		return err
	}
	return s.word("null")
}

func (s *Scanner) word(w string) error {
	if len(s.data)-s.pos < len(w) || string(s.data[s.pos:s.pos+len(w)]) != w {
		return s.fail("misspelt %s", w)
	}
	s.pos += len(w)
	return nil
}

// Skip reads any value and checks it.
func (s *Scanner) Skip() error {
	switch s.Kind() {
	case Object:
		return s.Object(func(string) error { return s.Skip() })
	case Array:
		return s.Array(s.Skip)
	case String:
		_, err := s.String()
		return err
	case Number:
		_, _, err := s.number()
		return err
	case Boolean:
		_, err := s.Bool()
		return err
	case Null:
		return s.Null()
	}
	return s.want("a value")
}

// End checks that nothing but white space is left.
func (s *Scanner) End() error {
	if s.space(); s.pos < len(s.data) {
		return s.fail("found %q after the end of the JSON value", s.data[s.pos])
	}
	return nil
}

func quote(key string) string { return strconv.Quote(shorten(key)) }

// shorten keeps a message readable when the file is hostile.
func shorten(text string) string {
	if len(text) > 80 {
		return text[:60] + "…"
	}
	return text
}
