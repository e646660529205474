package redis

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// prepare turns an operation into the call of a script, or returns the error
// with which it is refused.
func (s *Store) prepare(op state.Op) (*step, error) {
	if err := state.Check(op); err != nil {
		return nil, err
	}
	key := op.Target()
	st := &step{key: key, op: op, routing: key.Ref.Routing(), level: s.opts.Writes, decode: stamped}
	tag := s.tag(key.Namespace, st.routing)
	var err error
	switch op := op.(type) {
	case state.CreateOp:
		st.others = op.Limit.Total > 0 && s.mode == rueidis.ClientModeCluster
		st.call, err = s.createCall(tag, &op)
	case state.ImportOp:
		st.call, err = s.importCall(tag, &op)
	case state.UpdateOp:
		if op.Rotate != nil {
			st.level = s.opts.Deletes
		}
		st.call, err = s.updateCall(tag, &op)
	case state.TouchOp:
		st.call = s.plainCall(s.scripts.touch, tag, key, epoch(op.Epoch), millis(op.Idle), tag)
	case state.ExtendOp:
		st.call = s.plainCall(s.scripts.extend, tag, key, epoch(op.Epoch), millis(op.For), millis(op.Max), tag)
	case state.SetOwnerOp:
		st.call = s.plainCall(s.scripts.owner, tag, key, number(op.Epoch), op.Owner)
	case state.DeleteOp:
		st.level, st.decode = s.opts.Deletes, endedOnly
		st.call = s.plainCall(s.scripts.remove, tag, key, epoch(op.Epoch), string(op.ID[:]), string(op.Reason), op.By, tag)
		m := member(key.Ref)
		st.call.keys = append(st.call.keys, orderKey(tag), kindsKey(tag), eventsKey(tag, m), tombsKey(tag))
	default:
		err = &state.InvalidError{What: "operation", Why: "give it by value"}
	}
	return st, err
}

// plainCall calls a script that needs a record and the sequence.
func (s *Store) plainCall(sc *script, tag string, key state.Key, args ...string) *call {
	return &call{
		script: sc,
		keys:   []string{recordKey(tag, member(key.Ref)), sequenceKey(tag)},
		args:   append(s.firstArgs(key), args...),
	}
}

// firstArgs are those that all scripts of one record begin with.
func (s *Store) firstArgs(key state.Key) []string {
	args := make([]string, 0, 8)
	return append(args, s.floor(key.Ref.Routing()), rueidis.BinaryString(key.Ref.Bytes()), s.channel(key.Namespace))
}

func (s *Store) createCall(tag string, op *state.CreateOp) (*call, error) {
	given := &op.Record
	p, err := partsOf(&state.Record{
		Ref: given.Ref, Kind: given.Kind, User: given.User,
		Secret: state.Secret{Hash: given.Secret.Hash},
		Meta:   given.Meta, Data: given.Data, Sealed: given.Sealed, LastOp: op.ID,
	})
	if err != nil {
		return nil, err
	}
	before, behind := s.dueAround(given.Namespace, given.Kind)
	others := "-1"
	if s.mode == rueidis.ClientModeCluster {
		others = "0" // replaced by countOthers
	}
	return &call{
		script: s.scripts.create,
		keys:   insertKeys(tag, given),
		args: append(s.firstArgs(given.Key()), given.Kind, given.User, millis(op.Idle), millis(op.Lifetime),
			rueidis.BinaryString(p.rest), strconv.Itoa(op.Limit.PerUser), flag(op.Limit.Refuse), strconv.Itoa(op.Limit.Total),
			others, rueidis.BinaryString(p.work), op.By, tag, before, behind),
	}, nil
}

// othersArg is where createCall puts the number of live records in other tags.
const othersArg = 11

// dueAround returns what stands before and behind the two digits of the
// routing byte in the names of the deadlines of a kind.
func (s *Store) dueAround(namespace, kind string) (before, behind string) {
	return s.opts.Prefix + "{" + namespace + ".", "}:" + "d:" + kind
}

// insertKeys are the keys of a record to be inserted.
func insertKeys(tag string, r *state.Record) []string {
	keys := []string{
		recordKey(tag, member(r.Ref)), sequenceKey(tag), orderKey(tag), dueKey(tag, r.Kind), kindsKey(tag),
	}
	if r.User != "" {
		keys = append(keys, userKey(tag, r.Kind, r.User))
	}
	return keys
}

func (s *Store) importCall(tag string, op *state.ImportOp) (*call, error) {
	r := op.Record
	r.Revision, r.Epoch, r.Owner = 1, 0, ""
	r.Created, r.LastAccessed = state.Cut(r.Created), state.Cut(r.LastAccessed)
	r.IdleDeadline, r.AbsoluteDeadline = state.Cut(r.IdleDeadline), state.Cut(r.AbsoluteDeadline)
	until := ""
	if !r.Secret.PreviousUntil.IsZero() {
		r.Secret.PreviousUntil = state.Cut(r.Secret.PreviousUntil)
	}
	if !r.Secret.Previous.IsZero() {
		until = unixMilli(r.Secret.PreviousUntil)
	}
	p, err := partsOf(&r)
	if err != nil {
		return nil, err
	}
	return &call{
		script: s.scripts.importing,
		keys:   insertKeys(tag, &r),
		args: append(s.firstArgs(r.Key()), r.Kind, rueidis.BinaryString(p.whole(&r.Stamp)),
			unixMilli(r.Created), unixMilli(r.Expires()), until),
	}, nil
}

func (s *Store) updateCall(tag string, op *state.UpdateOp) (*call, error) {
	size, metasize := dataSize(op.Data), 0
	if op.Meta != nil {
		metasize = metaSize(op.Meta)
	}
	var meta, data []byte
	// What is too large by itself is not sent, only its size: what else is
	// wrong is said first.
	if size+metasize <= state.MaxRecordBytes {
		var err error
		if op.Meta != nil {
			if meta, err = encodeMeta(op.Key.Ref, op.Meta); err != nil {
				return nil, err
			}
		}
		if data, err = encodeData(op.Key.Ref, op.Data, op.Sealed, size); err != nil {
			return nil, err
		}
	}
	change := make([]byte, 0, 128)
	change = binary.BigEndian.AppendUint64(change, op.Version)
	change = binary.BigEndian.AppendUint64(change, op.Version+1)
	change = appendWork(change, op.ID, len(data), size)
	change = append(change, bit(op.Meta != nil), bit(op.Data != nil), bit(op.Rotate != nil))
	change = binary.BigEndian.AppendUint32(change, uint32(metasize))
	change = append(change, op.Key.Ref.Bytes()...)
	change = append(change, bit(op.Epoch != 0))
	change = binary.BigEndian.AppendUint64(change, op.Epoch)
	if op.Rotate != nil {
		change = binary.BigEndian.AppendUint64(change, uint64(max(op.Rotate.Grace, 0).Milliseconds()))
		change = append(change, op.Rotate.Hash[:]...)
	}
	return &call{
		script: s.scripts.update,
		keys:   []string{recordKey(tag, member(op.Key.Ref)), sequenceKey(tag)},
		args: []string{s.floor(op.Key.Ref.Routing()), s.channel(op.Key.Namespace),
			rueidis.BinaryString(change), rueidis.BinaryString(data), rueidis.BinaryString(meta)},
	}, nil
}

func bit(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// number writes a number as records have it.
func number(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return string(b[:])
}

// epoch is empty for an epoch that is not compared.
func epoch(n uint64) string {
	if n == 0 {
		return ""
	}
	return number(n)
}

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

// millis cuts a duration to what a record keeps.
func millis(d time.Duration) string { return strconv.FormatInt(max(d, 0).Milliseconds(), 10) }

func unixMilli(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
