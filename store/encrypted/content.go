package encrypted

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A binding is what a record's message is bound to, besides its envelope. All
// of it stands in clear in the inner record.
type binding struct {
	key     state.Key
	kind    string
	version uint64
	token   string // in place of the user
	hash    state.Hash
}

func bindingOf(r *state.Record) binding {
	return binding{key: r.Key(), kind: r.Kind, version: r.Version, token: r.User, hash: r.Secret.Hash}
}

// additional appends the envelope and the binding.
func (b *binding) additional(dst, head []byte) []byte {
	dst = append(dst, head...)
	dst = appendBound(dst, b.key.Namespace)
	dst = appendBound(dst, b.kind)
	dst, _ = b.key.Ref.AppendBinary(dst)
	dst = binary.BigEndian.AppendUint64(dst, b.version)
	dst = appendBound(dst, b.token)
	return append(dst, b.hash[:]...)
}

// content is what is sealed of a record: User, Meta, Data and Sealed (if
// another wrapper stands above this one), and Secret.Previous.
type content = state.Record

// seal returns the message of a record. Of c only what is content counts.
func (s *Store) seal(b *binding, created time.Time, exact bool, c *content) ([]byte, error) {
	plain := state.Record{Ref: b.key.Ref, User: c.User, Meta: c.Meta, Data: c.Data, Sealed: c.Sealed}
	plain.Secret.Previous = c.Secret.Previous
	mem := scratches.Get().(*scratch)
	defer mem.release()
	form, err := state.AppendRecord(mem.plain[:0], &plain)
	if err != nil {
		return nil, fmt.Errorf("seal record %v: %w", b.key, err)
	}
	mem.plain = form
	key := s.ring.Active()
	e := envelope{created: created.UnixMilli(), exact: exact, keyID: key.ID()}
	out := e.append(make([]byte, 0, overhead+len(form)))
	mem.bound = b.additional(mem.bound[:0], out)
	return key.Cipher(keyring.Records).Seal(out, form, mem.bound), nil
}

// A refusalCause is why a message is not opened.
type refusalCause struct {
	err   error
	why   string
	keyID string
}

func tampered(why, keyID string) *refusalCause {
	return &refusalCause{err: ErrTampered, why: why, keyID: keyID}
}

// unseal opens the message of an inner record, whatever it has to do with what
// this process remembers.
func (s *Store) unseal(r *state.Record) (content, *refusalCause) {
	e, head, message, err := parseEnvelope(r.Sealed)
	if err != nil {
		return content{}, tampered(err.Error(), "")
	}
	key, err := s.ring.Find(e.keyID)
	if err != nil {
		return content{}, keyCause(err)
	}
	mem := scratches.Get().(*scratch)
	defer mem.release()
	b := bindingOf(r)
	mem.bound = b.additional(mem.bound[:0], head)
	form, err := key.Cipher(keyring.Records).Open(nil, message, mem.bound)
	if err != nil {
		return content{}, tampered("", e.keyID)
	}
	c, err := state.DecodeOwnRecord(form)
	if err != nil {
		return content{}, tampered("what was sealed is no record of this release", e.keyID)
	}
	if why := s.contradiction(r, &c, &e); why != "" {
		return content{}, tampered(why, e.keyID)
	}
	return c, nil
}

// contradiction says in what the clear part of a record cannot be true, or
// nothing.
func (s *Store) contradiction(r *state.Record, c *content, e *envelope) string {
	if !r.Secret.Previous.IsZero() && r.Secret.Previous != c.Secret.Previous {
		return "the previous secret is another"
	}
	created := r.Created.UnixMilli()
	if e.exact && created != e.created {
		return "the time of creation is another"
	}
	if s.opts.MaxLifetime == 0 {
		return ""
	}
	if off := time.Duration(created-e.created) * time.Millisecond; off.Abs() > s.opts.ClockTolerance {
		return fmt.Sprintf("the time of creation is more than %v from that of who sealed it", s.opts.ClockTolerance)
	}
	if r.AbsoluteDeadline.Sub(r.Created) > s.opts.MaxLifetime {
		return fmt.Sprintf("the lifetime is over %v", s.opts.MaxLifetime)
	}
	return ""
}

func keyCause(err error) *refusalCause {
	cause := &refusalCause{err: ErrUnknownKey}
	if ke, ok := err.(*keyring.KeyError); ok {
		cause.err, cause.keyID = ke.Err, ke.ID
	}
	return cause
}

// open makes of an inner record what it was before it was sealed, in place.
// asked is a time before the inner store was asked for it.
func (s *Store) open(ctx context.Context, r *state.Record, asked time.Time) error {
	cause := s.openContent(r)
	if cause == nil && s.seen.olderThanSeen(r.Key(), r.Version, asked) {
		cause = &refusalCause{err: ErrRolledBack}
	}
	if cause == nil {
		s.seen.saw(r.Key(), r.Version)
		return nil
	}
	err := s.refuse(ctx, Refusal{Key: r.Key(), Version: r.Version, KeyID: cause.keyID, Err: cause.err, Why: cause.why})
	if cause.err == ErrRolledBack && s.opts.ServeRolledBack {
		return nil
	}
	*r = state.Record{}
	return err
}

func (s *Store) openContent(r *state.Record) *refusalCause {
	if len(r.Sealed) == 0 {
		if !s.opts.AcceptPlain {
			return &refusalCause{err: ErrNotSealed}
		}
		return nil
	}
	c, cause := s.unseal(r)
	if cause != nil {
		return cause
	}
	r.User, r.Meta, r.Data, r.Sealed = c.User, c.Meta, c.Data, c.Sealed
	return nil
}
