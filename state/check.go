package state

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// Check returns the error with which every store refuses op, or nil. It says
// [ErrInvalid] or [ErrTooLarge] for what is wrong whatever the store holds.
// The size of the record that an Update would make depends on what is there;
// stores check that themselves with [CheckSize].
func Check(op Op) error {
	if op == nil {
		return &InvalidError{What: "operation", Why: "nil"}
	}
	if err := CheckKey(op.Target()); err != nil {
		return err
	}
	return op.check()
}

// CheckKey refuses a key that names nothing.
func CheckKey(k Key) error {
	if err := CheckName("namespace", k.Namespace); err != nil {
		return err
	}
	if k.Ref.IsZero() {
		return &InvalidError{What: "ref", Why: "zero"}
	}
	return nil
}

// CheckName refuses what cannot be a namespace, kind or reason: those have 1
// to [MaxNameBytes] of the characters a-z, 0-9, '.', '_' and '-', and do not
// start with '-' or '.'.
func CheckName(what, name string) error {
	if name == "" {
		return &InvalidError{What: what, Why: "empty"}
	}
	if len(name) > MaxNameBytes {
		return &BoundError{What: what, Size: len(name), Max: MaxNameBytes}
	}
	for i := range len(name) {
		c := name[i]
		ok := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || (i > 0 && (c == '.' || c == '-'))
		if !ok {
			return &InvalidError{What: what, Why: "use a-z, 0-9, '.', '_' and '-'"}
		}
	}
	return nil
}

// CheckQuery refuses a query that no store accepts.
func CheckQuery(q Query) error {
	if err := CheckName("namespace", q.Namespace); err != nil {
		return err
	}
	if q.Kind == "" {
		return nil
	}
	return CheckName("kind", q.Kind)
}

func (op CreateOp) check() error {
	switch {
	case op.Idle < Precision:
		return &InvalidError{What: "idle timeout", Why: "must be at least a millisecond"}
	case op.Lifetime < Precision:
		return &InvalidError{What: "lifetime", Why: "must be at least a millisecond"}
	case op.Idle > maxDuration || op.Lifetime > maxDuration:
		return &InvalidError{What: "lifetime", Why: "must be at most a hundred years"}
	case op.Limit.PerUser < 0 || op.Limit.Total < 0:
		return &InvalidError{What: "limit", Why: "negative"}
	}
	if err := checkText("by", op.By, MaxOwnerBytes); err != nil {
		return err
	}
	return checkRecord(&op.Record)
}

func (op ImportOp) check() error {
	r := &op.Record
	switch {
	case r.Version == 0:
		return &InvalidError{What: "version", Why: "zero"}
	case r.Created.IsZero() || r.LastAccessed.IsZero() || r.IdleDeadline.IsZero() || r.AbsoluteDeadline.IsZero():
		return &InvalidError{What: "record", Why: "has a zero time"}
	}
	for _, t := range []time.Time{r.Created, r.LastAccessed, r.IdleDeadline, r.AbsoluteDeadline, r.Secret.PreviousUntil} {
		if y := t.UTC().Year(); !t.IsZero() && (y < 1970 || y > 9999) {
			return &InvalidError{What: "record", Why: "has a time outside of 1970 to 9999"}
		}
	}
	return checkRecord(r)
}

func (op UpdateOp) check() error {
	if op.Version == 0 {
		return &InvalidError{What: "version", Why: "zero"}
	}
	if op.Rotate != nil && op.Rotate.Grace > maxDuration {
		return &InvalidError{What: "grace", Why: "must be at most a hundred years"}
	}
	if op.Meta != nil {
		if err := checkMeta(op.Meta); err != nil {
			return err
		}
	}
	if op.Sealed != nil && op.Data == nil {
		return &InvalidError{What: "sealed content", Why: "goes with data, of which there is none"}
	}
	if err := checkSealed(op.Sealed); err != nil {
		return err
	}
	return checkData(op.Data)
}

func (op TouchOp) check() error {
	if op.Idle < Precision || op.Idle > maxDuration {
		return &InvalidError{What: "idle timeout", Why: "must be from a millisecond to a hundred years"}
	}
	return nil
}

func (op ExtendOp) check() error {
	if op.For < Precision || op.For > maxDuration || op.Max < Precision || op.Max > maxDuration {
		return &InvalidError{What: "lifetime", Why: "must be from a millisecond to a hundred years"}
	}
	return nil
}

func (op SetOwnerOp) check() error { return checkText("owner", op.Owner, MaxOwnerBytes) }

func (op DeleteOp) check() error {
	if err := CheckName("reason", string(op.Reason)); err != nil {
		return err
	}
	return checkText("by", op.By, MaxOwnerBytes)
}

// maxDuration keeps deadlines within the years that every backend can store.
const maxDuration = 100 * 365 * 24 * time.Hour

func checkRecord(r *Record) error {
	if err := CheckName("kind", r.Kind); err != nil {
		return err
	}
	if len(r.User) > MaxUserBytes {
		return &BoundError{What: "user", Size: len(r.User), Max: MaxUserBytes}
	}
	if err := checkMeta(&r.Meta); err != nil {
		return err
	}
	if err := checkData(r.Data); err != nil {
		return err
	}
	if err := checkSealed(r.Sealed); err != nil {
		return err
	}
	return CheckSize(r)
}

func checkMeta(m *Metadata) error {
	if err := checkText("user agent", m.UserAgent, MaxAgentBytes); err != nil {
		return err
	}
	if err := checkText("protocol version", m.ProtocolVersion, MaxNameBytes); err != nil {
		return err
	}
	if m.Address.Zone() != "" {
		return &InvalidError{What: "address", Why: "has a zone"}
	}
	if m.Capabilities == nil {
		return nil
	}
	return checkJSON("capabilities", m.Capabilities)
}

func checkData(data map[string]json.RawMessage) error {
	for k, v := range data {
		if k == "" {
			return &InvalidError{What: "data key", Why: "empty"}
		}
		if err := checkText("data key", k, MaxKeyBytes); err != nil {
			return err
		}
		if err := checkJSON("data value", v); err != nil {
			return err
		}
	}
	return nil
}

func checkSealed(b []byte) error {
	if len(b) > MaxSealedBytes {
		return &BoundError{What: "sealed content", Size: len(b), Max: MaxSealedBytes}
	}
	return nil
}

// checkText refuses what not every backend can store as text.
func checkText(what, s string, limit int) error {
	switch {
	case len(s) > limit:
		return &BoundError{What: what, Size: len(s), Max: limit}
	case strings.IndexByte(s, 0) >= 0:
		return &InvalidError{What: what, Why: "contains U+0000"}
	case !utf8.ValidString(s):
		return &InvalidError{What: what, Why: "is not valid UTF-8"}
	}
	return nil
}

// CheckSize refuses a record over [MaxRecordBytes].
func CheckSize(r *Record) error {
	if n := Size(r); n > MaxRecordBytes {
		return &BoundError{What: "record", Size: n, Max: MaxRecordBytes}
	}
	return nil
}

// Size is the size of a record that the bound and the size metric speak of:
// its user, metadata and data. What a store or a wrapper adds, [Record.Sealed]
// too, does not count, so that a record fits into all stores or into none.
func Size(r *Record) int {
	n := len(r.User) + len(r.Meta.UserAgent) + len(r.Meta.ProtocolVersion) + len(r.Meta.Capabilities)
	for k, v := range r.Data {
		n += len(k) + len(v)
	}
	return n
}
