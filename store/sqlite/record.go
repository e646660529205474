package sqlite

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// recordColumns are read by scanRecord, in this order. The stamp comes first so
// that statements that need no more can read a prefix.
const (
	stampColumns = `id, sweep_at, version, revision, epoch, owner,
		created_at, last_accessed_at, idle_deadline, absolute_deadline, kind, user`
	metaColumns = `, ref, secret_hash, previous_hash, previous_until, last_op,
		address, user_agent, protocol_version, capabilities`
	headColumns   = stampColumns + metaColumns
	recordColumns = headColumns + `, data, sealed`

	dataColumn   = 21
	sealedColumn = 22
)

// A stored record is a record and what only the database knows of it.
type stored struct {
	state.Record
	id      int64
	sweepAt int64
}

// scanStamp reads stampColumns.
func scanStamp(r row, namespace string) stored {
	s := stored{id: r.int64(0), sweepAt: r.int64(1)}
	s.Namespace = namespace
	s.Version, s.Revision, s.Epoch = r.uint64(2), r.uint64(3), r.uint64(4)
	s.Owner = r.text(5)
	s.Created, s.LastAccessed = fromMillis(r.int64(6)), fromMillis(r.int64(7))
	s.IdleDeadline, s.AbsoluteDeadline = fromMillis(r.int64(8)), fromMillis(r.int64(9))
	s.Kind, s.User = r.text(10), r.text(11)
	return s
}

// scanHead reads headColumns.
func scanHead(r row, namespace string) (stored, error) {
	s := scanStamp(r, namespace)
	ref, err := state.ParseRef(r.text(12))
	if err != nil {
		return s, corrupt("ref", err)
	}
	s.Ref = ref
	if err := scanBytes(r, 13, s.Secret.Hash[:], "secret_hash"); err != nil {
		return s, err
	}
	if err := scanBytes(r, 14, s.Secret.Previous[:], "previous_hash"); err != nil {
		return s, err
	}
	if !r.isNull(15) {
		s.Secret.PreviousUntil = fromMillis(r.int64(15))
	}
	if err := scanBytes(r, 16, s.LastOp[:], "last_op"); err != nil {
		return s, err
	}
	if text := r.text(17); text != "" {
		if s.Meta.Address, err = netip.ParseAddr(text); err != nil {
			return s, corrupt("address", err)
		}
	}
	s.Meta.UserAgent, s.Meta.ProtocolVersion = r.text(18), r.text(19)
	s.Meta.Capabilities = r.blob(20)
	return s, nil
}

// scanRecord reads recordColumns.
func scanRecord(r row, namespace string) (stored, error) {
	s, err := scanHead(r, namespace)
	if err != nil {
		return s, err
	}
	s.Sealed = r.blob(sealedColumn)
	s.Data, err = decodeData(r.raw(dataColumn))
	return s, err
}

// scanBytes fills into, or leaves it zero for NULL.
func scanBytes(r row, i int, into []byte, name string) error {
	b := r.raw(i)
	if b == nil {
		return nil
	}
	if len(b) != len(into) {
		return corrupt(name, fmt.Errorf("%d bytes", len(b)))
	}
	copy(into, b)
	return nil
}

func corrupt(column string, err error) error {
	return fmt.Errorf("%w: column %s: %w", state.ErrCorrupt, column, err)
}

func (q *query) key(k state.Key) *query { return q.text(k.Namespace).text(k.Ref.String()) }

func (q *query) uint64(v uint64) *query { return q.int64(int64(v)) }

func (q *query) time(t time.Time) *query { return q.int64(toMillis(t)) }

// user binds a user as text, so that people can compare it in SQL, unless it is
// no text. Equal users are always bound alike.
func (q *query) user(user string) *query {
	if utf8.ValidString(user) && strings.IndexByte(user, 0) < 0 {
		return q.text(user)
	}
	return q.blob([]byte(user))
}

// bytes binds what scanBytes reads: NULL if all are zero.
func (q *query) bytes(b []byte) *query {
	for _, c := range b {
		if c != 0 {
			return q.blob(b)
		}
	}
	return q.null()
}

func (q *query) secret(s state.Secret) *query {
	q.bytes(s.Hash[:]).bytes(s.Previous[:])
	if s.Previous.IsZero() {
		return q.null()
	}
	return q.time(s.PreviousUntil)
}

func (q *query) meta(m *state.Metadata) *query {
	if m.Address.IsValid() {
		q.text(m.Address.String())
	} else {
		q.null()
	}
	return q.text(m.UserAgent).text(m.ProtocolVersion).raw(m.Capabilities)
}
