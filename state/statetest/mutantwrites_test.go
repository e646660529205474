package statetest

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

type oneOp = func(ctx context.Context, s state.Store, op state.Op) state.Result

func plain(ctx context.Context, s state.Store, op state.Op) state.Result { return s.Apply(ctx, op)[0] }

func byOne(name string, one oneOp, caught ...string) mutation {
	return mutation{name, func() *mutant { return &mutant{one: one} }, caught}
}

// writeMutations are stores that break what is promised of writes.
func writeMutations() []mutation {
	return []mutation{
		{"Upserts", upserts, []string{
			"Update/NeverCreates", "Update/NeverRevivesDeleted", "Update/NeverRevivesExpired", "Race/DeletedStaysGone", "History/IsLinearizable",
			"Model/RandomOperations",
		}},
		byOne("LastWriterWins", lastWriterWins, "Update/ComparesAndSwaps", "Race/UpdatesAreNeverLost", "History/IsLinearizable", "Model/RandomOperations"),
		byOne("ComparesThenSwaps", comparesThenSwaps, "Race/UpdatesAreNeverLost"),
		byOne("TouchSaysYesToExpired", touchSaysYes, "Touch/NeverRevives", "Touch/NeverRevivesAtTheDeadline", "Model/RandomOperations"),
		byOne("TouchRaisesVersion", touchUpdates, "Touch/ChangesNoDataAndNoVersion", "Model/RandomOperations"),
		byOne("TouchIgnoresAbsoluteDeadline", touchUncapped, "Touch/StopsAtTheAbsoluteDeadline"),
		byOne("IgnoresEpochs", ignoresEpochs, "SetOwner/FencesLateWrites", "Touch/RefusesStaleEpoch", "Race/FencedWriterStops", "Model/RandomOperations"),
		byOne("OwnerIsNotCompared", ownerUncompared, "SetOwner/ComparesTheEpoch", "Race/SetOwnerHasOneWinner", "History/IsLinearizable"),
		byOne("DeleteAlwaysEnds", deleteAlwaysEnds, "Delete/IsIdempotent", "Delete/OfMissingSucceeds", "Race/DeleteHasOneWinner", "Race/EndingIsCountedOnce"),
		byOne("DeleteOfMissingFails", deleteOfMissingFails, "Delete/OfMissingSucceeds", "Delete/IsIdempotent"),
		byOne("DeleteForgetsBy", func(ctx context.Context, s state.Store, op state.Op) state.Result {
			if d, ok := op.(state.DeleteOp); ok {
				d.By = ""
				op = d
			}
			return plain(ctx, s, op)
		}, "Delete/SaysWhatItEnded", "Hostile/Texts", "Model/RandomOperations"),
		byOne("CreateOverwritesDeleted", createOverwrites, "Create/RefusesDeletedRef", "Delete/LeavesATombstoneForADay", "Race/CreateAndImportOfOneRefHaveOneWinner"),
		byOne("RevisionStandsStill", revisionStands, "Update/RaisesRevision", "Model/RandomOperations", "History/IsLinearizable"),
		byOne("ForgetsOpIDs", forgetsOpIDs, "Create/LeavesOpID", "Update/LeavesOpID", "Delete/SaysWhatItEnded"),
		byOne("LocalTimes", localTimes, "Create/ComputesTheStamp", "Touch/MovesForward"),
		byOne("ImportsAnew", importsAnew, "Import/KeepsWhatItIsGiven", "Model/RandomOperations"),
		byOne("FloatNumbers", floatNumbers, "Hostile/Numbers"),
		byOne("CutsUsersAtNUL", cutsUsers, "Hostile/Users", "Hostile/UsersBesideEachOther", "Limit/SeparatesUsers"),
		byOne("AcceptsAnything", acceptsAnything, "Hostile/NUL", "Hostile/LargestRecord", "Create/RefusesInvalid", "Update/RefusesTooLarge"),
		byOne("AcknowledgesBeforeWriting", acknowledgesEarly, "Update/RaisesRevision"),
		byOne("DropsSealed", dropsSealed, "Sealed/IsKeptByCreate", "Sealed/GoesWithData", "Sealed/DoesNotCountInSize"),
		byOne("CountsSealed", countsSealed, "Sealed/DoesNotCountInSize"),
		{"ReversesBatches", func() *mutant { return &mutant{apply: reversesBatches} },
			[]string{"Apply/KeepsTheOrderOnARef", "Apply/KeepsTheOrderOnInterleavedRefs", "Model/RandomOperations"}},
		{"StopsAtTheFirstError", func() *mutant { return &mutant{apply: stopsAtFirstError} }, []string{"Apply/FailuresSpoilNoOther"}},
		{"SpoilsTheGroupOfACancelledCaller", spoilsGroups, []string{"Context/CancelledMeanwhileSpoilsNoOther"}},
	}
}

// dropsSealed is a store that does not know of sealed content.
func dropsSealed(ctx context.Context, s state.Store, op state.Op) state.Result {
	switch o := op.(type) {
	case state.CreateOp:
		o.Record.Sealed = nil
		op = o
	case state.UpdateOp:
		o.Sealed = nil
		op = o
	}
	return plain(ctx, s, op)
}

func countsSealed(ctx context.Context, s state.Store, op state.Op) state.Result {
	if o, ok := op.(state.CreateOp); ok && state.Size(&o.Record)+len(o.Record.Sealed) > state.MaxRecordBytes {
		return state.Result{Err: &state.BoundError{What: "record", Size: len(o.Record.Sealed), Max: state.MaxRecordBytes}}
	}
	return plain(ctx, s, op)
}

// upserts keeps in a map of its own what was updated without being there.
func upserts() *mutant {
	var mu sync.Mutex
	ghosts := map[state.Key]state.Record{}
	return &mutant{
		one: func(ctx context.Context, s state.Store, op state.Op) state.Result {
			res := plain(ctx, s, op)
			u, ok := op.(state.UpdateOp)
			if !ok || !errors.Is(res.Err, state.ErrNotFound) {
				return res
			}
			now := state.Cut(time.Now())
			r := state.Record{Namespace: u.Key.Namespace, Kind: kind, Ref: u.Key.Ref, Data: u.Data}
			r.Stamp = state.Stamp{
				Version: u.Version + 1, Revision: 1, Created: now, LastAccessed: now,
				IdleDeadline: now.Add(longLife), AbsoluteDeadline: now.Add(longLife), Remaining: longLife,
			}
			mu.Lock()
			defer mu.Unlock()
			ghosts[u.Key] = r
			return state.Result{Stamp: r.Stamp}
		},
		get: func(ctx context.Context, s state.Store, k state.Key) (state.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			if r, ok := ghosts[k]; ok {
				return r.Clone(), nil
			}
			return s.Get(ctx, k)
		},
	}
}

func lastWriterWins(ctx context.Context, s state.Store, op state.Op) state.Result {
	for {
		res := plain(ctx, s, op)
		var c *state.ConflictError
		if u, ok := op.(state.UpdateOp); ok && errors.As(res.Err, &c) {
			u.Version = c.Have
			op = u
			continue
		}
		return res
	}
}

// comparesThenSwaps is two steps where one is needed.
func comparesThenSwaps(ctx context.Context, s state.Store, op state.Op) state.Result {
	u, ok := op.(state.UpdateOp)
	if !ok {
		return plain(ctx, s, op)
	}
	if r, err := s.Get(ctx, u.Key); err == nil && r.Version != u.Version {
		return plain(ctx, s, op)
	}
	for range 20 {
		runtime.Gosched()
	}
	return lastWriterWins(ctx, s, op)
}

func touchSaysYes(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	if _, ok := op.(state.TouchOp); ok && errors.Is(res.Err, state.ErrNotFound) {
		return state.Result{Stamp: state.Stamp{Version: 1, Revision: 9}}
	}
	return res
}

func touchUpdates(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	if t, ok := op.(state.TouchOp); ok && res.Err == nil {
		return plain(ctx, s, state.UpdateOp{Key: t.Key, Version: res.Stamp.Version})
	}
	return res
}

func touchUncapped(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	if t, ok := op.(state.TouchOp); ok && res.Err == nil {
		res.Stamp.IdleDeadline = res.Stamp.LastAccessed.Add(t.Idle)
	}
	return res
}

func ignoresEpochs(ctx context.Context, s state.Store, op state.Op) state.Result {
	switch o := op.(type) {
	case state.UpdateOp:
		o.Epoch = 0
		op = o
	case state.TouchOp:
		o.Epoch = 0
		op = o
	case state.ExtendOp:
		o.Epoch = 0
		op = o
	case state.DeleteOp:
		o.Epoch = 0
		op = o
	}
	return plain(ctx, s, op)
}

func ownerUncompared(ctx context.Context, s state.Store, op state.Op) state.Result {
	for {
		res := plain(ctx, s, op)
		var f *state.FencedError
		if o, ok := op.(state.SetOwnerOp); ok && errors.As(res.Err, &f) {
			o.Epoch = f.Have
			op = o
			continue
		}
		return res
	}
}

func deleteAlwaysEnds(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	if d, ok := op.(state.DeleteOp); ok && res.Err == nil && len(res.Ended) == 0 {
		res.Ended = []state.End{{Key: d.Key, Reason: d.Reason, By: d.By}}
	}
	return res
}

func deleteOfMissingFails(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	if _, ok := op.(state.DeleteOp); ok && res.Err == nil && len(res.Ended) == 0 {
		res.Err = state.ErrNotFound
	}
	return res
}

func createOverwrites(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	c, ok := op.(state.CreateOp)
	if !ok || !errors.Is(res.Err, state.ErrExists) {
		return res
	}
	if _, err := s.Get(ctx, op.Target()); errors.Is(err, state.ErrNotFound) {
		return state.Result{Stamp: c.Stamp(time.Now())}
	}
	return res
}

func revisionStands(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	if res.Stamp.Revision > 1 {
		res.Stamp.Revision = 1
	}
	return res
}

func forgetsOpIDs(ctx context.Context, s state.Store, op state.Op) state.Result {
	switch o := op.(type) {
	case state.CreateOp:
		o.ID = state.OpID{}
		op = o
	case state.UpdateOp:
		o.ID = state.OpID{}
		op = o
	case state.DeleteOp:
		o.ID = state.OpID{}
		op = o
	}
	return plain(ctx, s, op)
}

func localTimes(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	res.Stamp.Created = res.Stamp.Created.In(time.FixedZone("here", 3600))
	return res
}

func importsAnew(ctx context.Context, s state.Store, op state.Op) state.Result {
	if i, ok := op.(state.ImportOp); ok && i.Record.Version > 1 {
		i.Record.Version = 1
		op = i
	}
	return plain(ctx, s, op)
}

// floatNumbers stores JSON as a decoder without UseNumber leaves it.
func floatNumbers(ctx context.Context, s state.Store, op state.Op) state.Result {
	through := func(d map[string]json.RawMessage) map[string]json.RawMessage {
		out := map[string]json.RawMessage{}
		for k, v := range d {
			var x any
			if json.Unmarshal(v, &x) != nil {
				return d
			}
			b, err := json.Marshal(x)
			if err != nil {
				return d
			}
			out[k] = b
		}
		return out
	}
	switch o := op.(type) {
	case state.CreateOp:
		o.Record.Data = through(o.Record.Data)
		op = o
	case state.UpdateOp:
		if o.Data != nil {
			o.Data = through(o.Data)
			op = o
		}
	}
	return plain(ctx, s, op)
}

func cutsUsers(ctx context.Context, s state.Store, op state.Op) state.Result {
	if c, ok := op.(state.CreateOp); ok {
		c.Record.User, _, _ = strings.Cut(c.Record.User, "\x00")
		op = c
	}
	return plain(ctx, s, op)
}

func acceptsAnything(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	if errors.Is(res.Err, state.ErrInvalid) || errors.Is(res.Err, state.ErrTooLarge) {
		return state.Result{Stamp: state.Stamp{Version: 1, Revision: 1}}
	}
	return res
}

// acknowledgesEarly writes touches later, and so not at all.
func acknowledgesEarly(ctx context.Context, s state.Store, op state.Op) state.Result {
	if t, ok := op.(state.TouchOp); ok {
		r, err := s.Get(ctx, t.Key)
		if err != nil {
			return state.Result{Err: err}
		}
		r.Stamp.Revision++
		return state.Result{Stamp: t.Apply(r.Stamp, r.LastAccessed)}
	}
	return plain(ctx, s, op)
}

func reversesBatches(ctx context.Context, s state.Store, ops []state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	for i := len(ops) - 1; i >= 0; i-- {
		results[i] = plain(ctx, s, ops[i])
	}
	return results
}

func stopsAtFirstError(ctx context.Context, s state.Store, ops []state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	for i, op := range ops {
		if i > 0 && results[i-1].Err != nil {
			results[i].Err = results[i-1].Err
			continue
		}
		results[i] = plain(ctx, s, op)
	}
	return results
}

// spoilsGroups writes everything under the context of whoever came first.
func spoilsGroups() *mutant {
	var mu sync.Mutex
	var leader context.Context
	return &mutant{apply: func(ctx context.Context, s state.Store, ops []state.Op) []state.Result {
		mu.Lock()
		defer mu.Unlock()
		results := s.Apply(ctx, ops...)
		if leader != nil && leader.Err() != nil && ctx.Err() == nil {
			for i := range results {
				results[i].Err = leader.Err()
			}
		}
		if ctx.Done() != nil && ctx.Err() == nil {
			leader = ctx
		}
		return results
	}}
}
