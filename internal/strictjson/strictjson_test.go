package strictjson

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestSkip(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{}`, ""}, {`[]`, ""}, {` [1, -0.5e+3 , "a", true,false,null, {"a":{}}] `, ""}, {`"\u00e9\ud83d\ude00\/\b"`, ""},
		{``, "the text ends where a value is expected at byte 0"},
		{`  `, "at byte 2"},
		{`{"a":1,}`, "found '}' where a string is expected at byte 7"},
		{`{"a" 1}`, `no ':' after key "a"`},
		{`{"a":1 "b"`, `no ',' or '}'`},
		{`{1:2}`, "found a number where a string"},
		{`[1 2]`, `no ',' or ']'`},
		{`[1,]`, "found ']' where a value"},
		{`{"a":1,"\u0061":2}`, `key "a" occurs twice at byte 7`},
		{`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"c":0}`, `key "c" occurs twice`},
		{`{"a":{"a":{"b":1,"b":1}}}`, `key "b" occurs twice`},
		{`nul`, "misspelt null"}, {`tru`, "misspelt true"}, {`falsy`, "misspelt false"}, {`NaN`, "found 'N'"},
		{`01`, "malformed number"}, {`-`, "malformed number"}, {`1.`, "malformed number"}, {`1e`, "malformed number"}, {`.5`, "found '.'"},
		{`"a`, "does not end"}, {`"a\`, "does not end"}, {`"\x"`, `unknown escape \x`}, {`"\u12"`, `bad \u escape`}, {`"\ud800x"`, `bad \u escape`},
		{`"\ud800\u0041"`, `bad \u escape`}, {"\"\x01\"", "control character"}, {"\"\xff\"", "not UTF-8"}, {"\"\\n\xff\"", "not UTF-8"},
		{`1 2`, "found '2' after the end"},
		{strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), ""},
		{strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), "nested deeper than 64 levels"},
	} {
		s := New([]byte(c.text))
		err := s.Skip()
		if err == nil {
			err = s.End()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestScalars(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "-0": 0, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64} {
		if got, err := New([]byte(text)).Int(); err != nil || got != want {
			t.Errorf("Int %s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"9223372036854775808", "1.0", "1e3", `"1"`, ""} {
		if got, err := New([]byte(text)).Int(); err == nil {
			t.Errorf("Int %s: %d", text, got)
		}
	}
	if got, err := New([]byte("18446744073709551615")).Uint(); err != nil || got != math.MaxUint64 {
		t.Errorf("Uint: %d, %v", got, err)
	}
	for _, text := range []string{"18446744073709551616", "-0", "-1", "1.0"} {
		if got, err := New([]byte(text)).Uint(); err == nil {
			t.Errorf("Uint %s: %d", text, got)
		}
	}
	if got, err := New([]byte("-12.5e-1")).Float(); err != nil || got != -1.25 {
		t.Errorf("Float: %g, %v", got, err)
	}
	if _, err := New([]byte("1e999")).Float(); err == nil {
		t.Error("Float 1e999: no error")
	}
	if got, err := New([]byte(` "a\u00e9\ud83d\ude00\t"`)).String(); err != nil || got != "aé😀\t" {
		t.Errorf("String: %q, %v", got, err)
	}
	var syntax *SyntaxError
	if _, err := New([]byte("[1")).Bool(); !errors.As(err, &syntax) || syntax.Offset != 0 {
		t.Errorf("Bool: %v", err)
	}
}

// FuzzSkip compares with encoding/json: what this package accepts is JSON, and
// what it refuses is not, or one of the things it is strict about.
func FuzzSkip(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,"\u00e9\ud83d\ude00",null,true]}`, `{"a":1,"a":2}`, `"\ud800"`, `[[[`, "\"\xff\"", ` -0 `, `{"":{"":[]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New(data)
		err := s.Skip()
		if err == nil {
			err = s.End()
		}
		valid := json.Valid(data)
		if err == nil && !valid {
			t.Fatalf("accepted %q", data)
		}
		if err != nil && valid {
			for _, strict := range []string{"occurs twice", "nested deeper", "not UTF-8", `bad \u escape`} {
				if strings.Contains(err.Error(), strict) {
					return
				}
			}
			t.Fatalf("refused %q: %v", data, err)
		}
	})
}
