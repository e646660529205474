package state

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestEscapesNULAgreesWithTheJSONDecoder(t *testing.T) {
	for _, tail := range []string{"", "x", `\\`, `\n`, `A`} {
		for n := range 9 {
			v := `["` + strings.Repeat(`\\`, n/2) + strings.Repeat(`\`, n%2) + `u0000` + tail + `"]`
			var texts []string
			if err := json.Unmarshal([]byte(v), &texts); err != nil {
				t.Fatalf("%s: %v", v, err)
			}
			want := strings.ContainsRune(texts[0], 0)
			if got := escapesNUL([]byte(v)); got != want {
				t.Errorf("%s: got %v, want %v", v, got, want)
			}
		}
	}
}

func FuzzEscapesNUL(f *testing.F) {
	f.Add([]byte(`"\u0000"`))
	f.Add([]byte(`"\\u0000"`))
	f.Add([]byte(`{"\\\u0000":["\\\\u0000\u0000"]}`))
	f.Add([]byte(`"\u00000\\u0000"`))
	f.Fuzz(func(t *testing.T, v []byte) {
		var value any
		if json.Unmarshal(v, &value) != nil {
			return
		}
		// Written anew, a key that is there twice would be lost, and with it
		// an escape: compare strings only.
		text, ok := value.(string)
		if !ok {
			escapesNUL(v)
			return
		}
		if got, want := escapesNUL(v), strings.ContainsRune(text, 0); got != want {
			t.Fatalf("%s: got %v, want %v", v, got, want)
		}
	})
}
