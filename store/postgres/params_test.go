package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

func FuzzObjectSaysWhatEncodingJSONSays(f *testing.F) {
	f.Add("k", "v", "v")
	f.Add("", `"\`, "<a>&\u2028")
	f.Add("ä", "\x00\x7f", "\n")
	f.Fuzz(func(t *testing.T, k1, k2, v string) {
		value := json.RawMessage(mustJSON(v))
		o := object{{k1, value}, {k2, json.RawMessage(`"1"`)}}
		text := o.append([]byte("before"))
		text = text[len("before"):]
		var got, want map[string]string
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("wrote %q: %v", text, err)
		}
		theirs := "{" + mustJSON(k1) + ":" + string(value) + "," + mustJSON(k2) + `:"1"}`
		if err := json.Unmarshal([]byte(theirs), &want); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			t.Errorf("wrote %q, want %q", text, theirs)
		}
	})
}

func TestObjectsOfNoMembers(t *testing.T) {
	var p params
	p.object(nil)
	p.object(object{})
	if p.values[0] != nil || string(p.values[1]) != "{}" {
		t.Errorf("sent %q", p.values)
	}
}

func TestParametersThatAreEmptyAreNotNull(t *testing.T) {
	var p params
	p.text("")
	p.bytes(nil)
	for i, v := range p.values {
		if v == nil {
			t.Errorf("value %d is NULL", i)
		}
	}
}

func TestParametersAreNotDisturbedByThoseAfterThem(t *testing.T) {
	var pool paramsPool
	for _, n := range []int{3, 4000, 1, largest + 1, 5} {
		p := pool.get()
		if len(p.values) != 0 {
			t.Fatalf("parameters come with %d values", len(p.values))
		}
		o := object{{"k", json.RawMessage(mustJSON(strings.Repeat("v", n)))}}
		p.text("first")
		p.int8(7)
		p.objects([]object{o, nil, o})
		p.int8s(nil)
		p.optBytes([]byte("third"))
		p.texts([]string{})
		p.bytes([]byte("last"))
		text := string(o.append(nil))
		element := append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
		array := []byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, oidText, 0, 0, 0, 3, 0, 0, 0, 1}
		array = append(append(append(array, element...), 0xff, 0xff, 0xff, 0xff), element...)
		want := [][]byte{
			[]byte("first"), {0, 0, 0, 0, 0, 0, 0, 7}, array, nil, []byte("third"),
			{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, oidText}, []byte("last"),
		}
		if len(p.values) != len(want) {
			t.Fatalf("%d values, want %d", len(p.values), len(want))
		}
		for i, v := range p.values {
			if !bytes.Equal(v, want[i]) || (v == nil) != (want[i] == nil) {
				t.Errorf("with %d bytes, value %d is %.80q, want %.80q", n, i, v, want[i])
			}
		}
		pool.put(p)
	}
}
