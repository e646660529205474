package statetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// diff says in what two copies of a record differ; empty if in nothing. What
// depends on the moment of reading (Remaining) is not compared, and JSON is
// compared by meaning.
func diff(got, want state.Record) string {
	var d differ
	d.add("namespace", got.Namespace, want.Namespace)
	d.add("kind", got.Kind, want.Kind)
	d.add("ref", got.Ref, want.Ref)
	d.add("user", got.User, want.User)
	d.stamp(got.Stamp, want.Stamp)
	d.secret(got.Secret, want.Secret)
	d.meta(got.Meta, want.Meta)
	d.data(got.Data, want.Data)
	if !bytes.Equal(got.Sealed, want.Sealed) {
		d.add("sealed content", fmt.Sprintf("%d bytes", len(got.Sealed)), fmt.Sprintf("other %d bytes", len(want.Sealed)))
	}
	d.add("owner", got.Owner, want.Owner)
	d.add("last op", got.LastOp, want.LastOp)
	return strings.Join(d.found, "; ")
}

// diffEnd says in what two Ends differ.
func diffEnd(got, want state.End) string {
	var d differ
	d.add("key", got.Key, want.Key)
	d.add("kind", got.Kind, want.Kind)
	d.add("user", got.User, want.User)
	d.add("version", got.Version, want.Version)
	d.time("created", got.Created, want.Created)
	d.time("last accessed", got.LastAccessed, want.LastAccessed)
	d.time("at", got.At, want.At)
	d.add("reason", got.Reason, want.Reason)
	d.add("by", got.By, want.By)
	d.add("op", got.Op, want.Op)
	return strings.Join(d.found, "; ")
}

// diffStamp says in what two Stamps differ, but for Remaining.
func diffStamp(got, want state.Stamp) string {
	var d differ
	d.stamp(got, want)
	return strings.Join(d.found, "; ")
}

type differ struct{ found []string }

func (d *differ) add(what string, got, want any) {
	if got != want {
		d.found = append(d.found, fmt.Sprintf("%s: got %s, want %s", what, short(got), short(want)))
	}
}

// short prints a value so that a hostile one does not fill the screen.
func short(v any) string {
	if s, ok := v.(fmt.Stringer); ok {
		v = s.String()
	}
	s := fmt.Sprintf("%v", v)
	if str, ok := v.(string); ok {
		s = fmt.Sprintf("%q", str)
	}
	if len(s) > 160 {
		return fmt.Sprintf("%s… (%d bytes)", s[:160], len(s))
	}
	return s
}

func (d *differ) time(what string, got, want time.Time) {
	if !got.Equal(want) {
		d.add(what, got.Format(time.RFC3339Nano), want.Format(time.RFC3339Nano))
	}
}

func (d *differ) stamp(got, want state.Stamp) {
	d.add("version", got.Version, want.Version)
	d.add("revision", got.Revision, want.Revision)
	d.add("epoch", got.Epoch, want.Epoch)
	d.time("created", got.Created, want.Created)
	d.time("last accessed", got.LastAccessed, want.LastAccessed)
	d.time("idle deadline", got.IdleDeadline, want.IdleDeadline)
	d.time("absolute deadline", got.AbsoluteDeadline, want.AbsoluteDeadline)
}

func (d *differ) secret(got, want state.Secret) {
	d.add("secret hash", got.Hash, want.Hash)
	d.add("previous secret hash", got.Previous, want.Previous)
	d.time("deadline of the previous secret", got.PreviousUntil, want.PreviousUntil)
}

func (d *differ) meta(got, want state.Metadata) {
	d.add("address", unmap(got.Address), unmap(want.Address))
	d.add("user agent", got.UserAgent, want.UserAgent)
	d.add("protocol version", got.ProtocolVersion, want.ProtocolVersion)
	if len(want.Capabilities) == 0 {
		d.add("capabilities", len(got.Capabilities), 0)
		return
	}
	d.json("capabilities", got.Capabilities, want.Capabilities)
}

// unmap lets a store keep an IPv4 address in either form.
func unmap(a netip.Addr) netip.Addr { return a.Unmap() }

func (d *differ) data(got, want map[string]json.RawMessage) {
	for k, v := range want {
		g, ok := got[k]
		if !ok {
			d.found = append(d.found, "data: key "+short(k)+" is missing")
			continue
		}
		d.json("data "+short(k), g, v)
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			d.found = append(d.found, "data: key "+short(k)+" should not be there")
		}
	}
}

func (d *differ) json(what string, got, want json.RawMessage) {
	if !sameJSON(got, want) {
		d.found = append(d.found, fmt.Sprintf("%s: got %s, want %s", what, short(string(got)), short(string(want))))
	}
}

// sameJSON reports whether two texts are the same JSON value: numbers as
// numbers of any size, objects without regard to order.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errX := decode(a)
	y, errY := decode(b)
	return errX == nil && errY == nil && sameValue(x, y)
}

func decode(b []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("more than one value")
	}
	return v, nil
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && sameNumber(string(a), string(b))
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameValue(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			v, ok := b[k]
			if !ok || !sameValue(a[k], v) {
				return false
			}
		}
		return true
	}
	return a == b
}

func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	return okX && okY && x.Cmp(y) == 0
}

// shape checks what holds for every live record that a store returns.
func (e *env) shape(r *state.Record) error {
	switch {
	case r.Data == nil:
		return fmt.Errorf("returned record: Data is nil, want a map")
	case r.Version == 0:
		return fmt.Errorf("returned record: Version is 0, want 1 at least")
	case r.Revision == 0:
		return fmt.Errorf("returned record: Revision is 0, want 1 at least")
	}
	return e.stampShape(&r.Stamp)
}

// stampShape checks what holds for the stamp of a live record.
func (e *env) stampShape(s *state.Stamp) error {
	for what, t := range map[string]time.Time{
		"Created": s.Created, "LastAccessed": s.LastAccessed,
		"IdleDeadline": s.IdleDeadline, "AbsoluteDeadline": s.AbsoluteDeadline,
	} {
		switch {
		case t.IsZero():
			return fmt.Errorf("returned stamp: %s is zero", what)
		case t.Location() != time.UTC:
			return fmt.Errorf("returned stamp: %s is in zone %v, want UTC", what, t.Location())
		case t != state.Cut(t):
			return fmt.Errorf("returned stamp: %s is %v, which is finer than %v", what, t, state.Precision)
		}
	}
	return e.remaining(s)
}

// remaining checks the remaining lifetime of a live record.
func (e *env) remaining(s *state.Stamp) error {
	if s.Remaining <= 0 {
		return fmt.Errorf("returned stamp: Remaining is %v for a live record, want more than 0", s.Remaining)
	}
	if e.clock == nil {
		return nil
	}
	want := s.Expires().Sub(e.clock.Now())
	if off := (s.Remaining - want).Abs(); off > state.Precision {
		return fmt.Errorf("returned stamp: Remaining is %v, want %v", s.Remaining, want)
	}
	return nil
}
