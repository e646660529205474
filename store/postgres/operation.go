package postgres

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// What the column p_op of coatcheck_apply_v1 means.
const (
	opCreate int16 = iota + 1
	opImport
	opUpdate
	opTouch
	opExtend
	opSetOwner
	opDelete
)

// An operation is a [state.Op] as it is sent: a copy, since the group that has
// it may outlive its caller, save for bytes that nobody may change. What an
// operation does not have is zero or nil.
type operation struct {
	key      state.Key
	id       string
	code     int16
	result   *state.Result
	answered bool    // it has its result
	locks    []int64 // keys of the advisory locks that it needs, of a create with a limit

	epoch, version, idle, life int64
	opID                       []byte

	data, opaque   object
	sealed         []byte
	size           opt[int32] // of data
	rotate         bool
	secret         []byte
	grace          int64
	meta           *metadata
	kind           opt[string]
	user           opt[string]
	userSize       int32
	limit          state.Limit
	by, why, owner string

	times         [4]int64 // of an import: created, accessed, idle and absolute deadline
	previous      []byte
	previousUntil opt[int64]
}

type metadata struct {
	address, capabilities opt[string]
	agent, protocol       string
	size                  int32
}

func compareKeys(a, b *operation) int {
	if c := strings.Compare(a.key.Namespace, b.key.Namespace); c != 0 {
		return c
	}
	return a.key.Ref.Compare(b.key.Ref)
}

// encode checks an operation and returns how it is sent.
func (s *Store) encode(op state.Op) (*operation, error) {
	if err := state.Check(op); err != nil {
		return nil, err
	}
	key := op.Target()
	o := &operation{key: key, id: key.Ref.String()}
	switch op := op.(type) {
	case state.CreateOp:
		o.code, o.idle, o.life = opCreate, millis(op.Idle), millis(op.Lifetime)
		o.opID, o.by, o.limit = nonzero(op.ID[:]), op.By, op.Limit
		o.locks = s.locks(&op)
		o.content(&op.Record)
	case state.ImportOp:
		o.imported(&op.Record)
	case state.UpdateOp:
		o.update(&op)
	case state.TouchOp:
		o.code, o.idle, o.epoch = opTouch, millis(op.Idle), int64(op.Epoch)
	case state.ExtendOp:
		o.code, o.idle, o.life, o.epoch = opExtend, millis(op.For), millis(op.Max), int64(op.Epoch)
	case state.SetOwnerOp:
		o.code, o.owner, o.epoch = opSetOwner, op.Owner, int64(op.Epoch)
	case state.DeleteOp:
		o.code, o.why, o.by, o.epoch = opDelete, string(op.Reason), op.By, int64(op.Epoch)
		o.opID = nonzero(op.ID[:])
	default:
		return nil, &state.InvalidError{What: "operation", Why: fmt.Sprintf("%T, which is not given by value", op)}
	}
	return o, nil
}

// content takes what a new record holds.
func (o *operation) content(r *state.Record) {
	o.user, o.kind, o.userSize = some(EscapeUser(r.User)), some(r.Kind), int32(len(r.User))
	o.secret = nonzero(r.Secret.Hash[:])
	o.takeMeta(&r.Meta)
	o.size = some(int32(dataSize(r.Data)))
	o.sealed = given(r.Sealed)
	o.data, o.opaque = splitData(r.Data)
}

func (o *operation) imported(r *state.Record) {
	o.code, o.version, o.opID = opImport, int64(r.Version), nonzero(r.LastOp[:])
	for i, t := range []time.Time{r.Created, r.LastAccessed, r.IdleDeadline, r.AbsoluteDeadline} {
		o.times[i] = state.Cut(t).UnixMilli()
	}
	if !r.Secret.Previous.IsZero() {
		until := max(state.Cut(r.Secret.PreviousUntil).UnixMilli(), 0) // long past, if it is not set
		o.previous, o.previousUntil = nonzero(r.Secret.Previous[:]), some(until)
	}
	o.content(r)
}

func (o *operation) update(op *state.UpdateOp) {
	o.code, o.version, o.epoch, o.opID = opUpdate, int64(op.Version), int64(op.Epoch), nonzero(op.ID[:])
	if op.Meta != nil {
		o.takeMeta(op.Meta)
	}
	if op.Rotate != nil {
		o.rotate, o.secret, o.grace = true, nonzero(op.Rotate.Hash[:]), millis(max(op.Rotate.Grace, 0))
	}
	if op.Data == nil {
		return
	}
	o.sealed = given(op.Sealed)
	size := dataSize(op.Data)
	o.size = some(int32(min(size, 1<<30)))
	if size > state.MaxRecordBytes {
		o.data = object{} // it will be refused, though perhaps for something else
		return
	}
	o.data, o.opaque = splitData(op.Data)
}

func (o *operation) takeMeta(m *state.Metadata) {
	o.meta = &metadata{agent: m.UserAgent, protocol: m.ProtocolVersion, size: int32(metaSize(m))}
	if m.Address.IsValid() {
		o.meta.address = some(m.Address.Unmap().String())
	}
	if m.Capabilities != nil {
		o.meta.capabilities = some(string(m.Capabilities))
	}
}

// locks returns the keys of the advisory locks under which a create with a
// limit counts: of its user, and of its kind if the total is limited.
func (s *Store) locks(op *state.CreateOp) (keys []int64) {
	r := &op.Record
	if op.Limit.PerUser > 0 && r.User != "" {
		keys = append(keys, lockKey(s.channel, r.Namespace, r.Kind, "user", r.User))
	}
	if op.Limit.Total > 0 {
		keys = append(keys, lockKey(s.channel, r.Namespace, r.Kind, "total"))
	}
	return keys
}

func lockKey(parts ...string) int64 {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

// lockKeys returns the keys of all operations, sorted; nil for none.
func lockKeys(ops []*operation) (keys []int64) {
	for _, o := range ops {
		keys = append(keys, o.locks...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// millis cuts a duration as the store cuts times.
func millis(d time.Duration) int64 { return int64(d / state.Precision) }

// nonzero returns a copy of b; nil if it is all zeros.
func nonzero(b []byte) []byte {
	for _, c := range b {
		if c != 0 {
			return append([]byte(nil), b...)
		}
	}
	return nil
}

func placeholder(n int) string { return "$" + strconv.Itoa(n) }

// given returns sealed content as it is sent: none as NULL. Nobody may change
// its bytes, so they need not be copied.
func given(sealed []byte) []byte {
	if len(sealed) == 0 {
		return nil
	}
	return sealed
}
