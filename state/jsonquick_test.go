package state

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// slowJSON is checkJSON without the short way.
func slowJSON(v []byte) bool { return json.Valid(v) && utf8.Valid(v) && scanJSON(v) == "" }

// What is common goes the short way: else it would be none.
func TestOrdinaryValuesAreCheckedQuickly(t *testing.T) {
	for _, v := range []string{
		`"plain"`, `""`, `0`, `-0`, `12`, `-1.50e+10`, `1E-2`, `3e7`, `true`, `false`, `null`,
		`[]`, `{}`, ` [ 1 , 2 ] `, "{\n\t\"a\" : {\"b\":[true,false,null]}\r\n}",
		`"Straße 日本語 😀"`, `"a\"b\\c\/d\b\f\n\r\t"`, `"` + strings.Repeat("0123456789abcdef", 200) + `"`,
		strings.Repeat("[", MaxJSONDepth) + strings.Repeat("]", MaxJSONDepth),
	} {
		if !slowJSON([]byte(v)) || !quickJSON([]byte(v)) {
			t.Errorf("%.40q does not go the short way", v)
		}
	}
}

// What is wrong never goes the short way, wherever in a word of eight bytes it
// is.
func TestWrongValuesAreNotCheckedQuickly(t *testing.T) {
	wrong := []string{
		"", " ", "\"", `"a`, "01", "-", "1.", ".5", "1e", "+1", "tru", "nulll", "[1,]", "[,1]", "[1 2]", "{", "}", `{"a"}`,
		`{"a":}`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, "[1}", `{"a":1]`, "1 2", `"\x"`, `"\`, `"\"`, "'a'", "\xff", "\"\xff\"", `"\u12"`,
		strings.Repeat("[", MaxJSONDepth+1) + strings.Repeat("]", MaxJSONDepth+1), strings.Repeat("[", 1<<20),
	}
	for before := range 17 {
		for _, c := range []string{"\x00", "\x01", "\x1f", "\n", "\"", "\\", "\xc3", "\x80"} {
			for after := range 9 {
				wrong = append(wrong, `"`+strings.Repeat("é", before/2)+strings.Repeat("x", before%2)+c+strings.Repeat("\x7f", after)+`"`)
			}
		}
	}
	for _, v := range wrong {
		if quickJSON([]byte(v)) && !slowJSON([]byte(v)) {
			t.Errorf("%.40q goes the short way and is wrong", v)
		}
	}
}

func FuzzQuickJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-2.5e3,"x\n",null,true,false]}`, "\"\xff\"", `"\u0000"`, `[[[[]]]]`, `01`, `"abcdefgh\"ijk"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		quick, slow := quickJSON(v), slowJSON(v)
		if quick && !slow {
			t.Fatalf("%q goes the short way and is wrong", v)
		}
		if slow && !quick && !strings.Contains(string(v), `\u`) {
			t.Fatalf("%q takes the long way", v)
		}
	})
}

func BenchmarkCheckJSON(b *testing.B) {
	v := json.RawMessage(`{"items":[` + strings.Repeat(`{"name":"a value of some length","n":12345,"ok":true},`, 37) + `null]}`)
	b.Run("quick", func(b *testing.B) {
		for b.Loop() {
			if err := checkJSON("value", v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("slow", func(b *testing.B) {
		for b.Loop() {
			if !slowJSON(v) {
				b.Fatal("refused")
			}
		}
	})
}
