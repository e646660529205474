package statetest

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// limitMutations are stores that break what is promised of limits.
func limitMutations() []mutation {
	return []mutation{
		byOne("CountsThenInserts", countsThenInserts, "LimitRace/EvictsExactly", "LimitRace/SingleSession"),
		byOne("IgnoresLimits", ignoresLimits, "Limit/EvictsTheOldest", "Limit/Refuses", "Limit/BoundsTheTotal", "LimitRace/EvictsExactly", "LimitRace/RefusesExactly", "LimitRace/TotalIsNeverExceeded"),
		byOne("EvictsTheNewest", evictsBy(func(a, b state.Record) int { return b.Created.Compare(a.Created) }), "Limit/EvictsTheOldest", "Limit/EvictsSeveral", "Model/RandomOperations"),
		byOne("EvictsByAccess", evictsBy(func(a, b state.Record) int { return a.LastAccessed.Compare(b.LastAccessed) }), "Limit/EvictsByCreatedNotByAccess"),
		byOne("EvictsThenFails", evictsThenFails, "Limit/FailedCreateEvictsNothing"),
		byOne("CountsExpired", countsExpired, "Limit/ExpiredDoNotCount"),
		byOne("LimitsAnonymous", limitsAnonymous, "Limit/DoesNotApplyWithoutAUser"),
		byOne("FoldsUsers", foldsUsers, "Limit/SeparatesUsers", "Hostile/UsersBesideEachOther"),
		byOne("LimitsImports", limitsImports, "Import/KnowsNoLimit"),
		byOne("HidesEvictions", func(ctx context.Context, s state.Store, op state.Op) state.Result {
			res := plain(ctx, s, op)
			if _, ok := op.(state.CreateOp); ok {
				res.Ended = nil
			}
			return res
		}, "Limit/EndsWhatItEvicts", "LimitRace/EvictsExactly", "Race/EndingIsCountedOnce", "LimitRace/CountsWhileOthersEnd"),
	}
}

// mine returns the user's records of the kind, oldest first.
func mine(ctx context.Context, s state.Store, c state.CreateOp) []state.Record {
	var rs []state.Record
	for r, err := range s.List(ctx, state.Query{Namespace: c.Record.Namespace, Kind: c.Record.Kind, User: &c.Record.User}) {
		if err == nil {
			rs = append(rs, r)
		}
	}
	oldestFirst(rs)
	return rs
}

// evict deletes all but n-1 of the records and returns their ends.
func evict(ctx context.Context, s state.Store, rs []state.Record, c state.CreateOp) []state.End {
	var ended []state.End
	for i := 0; i <= len(rs)-c.Limit.PerUser; i++ {
		ended = append(ended, plain(ctx, s, state.DeleteOp{Key: rs[i].Key(), Reason: state.ReasonEvicted, By: c.By, ID: c.ID}).Ended...)
	}
	return ended
}

func limited(op state.Op) (state.CreateOp, bool) {
	c, ok := op.(state.CreateOp)
	return c, ok && c.Limit.PerUser > 0 && !c.Limit.Refuse && c.Record.User != "" && state.Check(op) == nil
}

func countsThenInserts(ctx context.Context, s state.Store, op state.Op) state.Result {
	c, ok := limited(op)
	if !ok {
		return plain(ctx, s, op)
	}
	ended := evict(ctx, s, mine(ctx, s, c), c)
	for range 20 {
		runtime.Gosched()
	}
	c.Limit.PerUser = 0
	res := plain(ctx, s, c)
	res.Ended = ended
	return res
}

func ignoresLimits(ctx context.Context, s state.Store, op state.Op) state.Result {
	if c, ok := op.(state.CreateOp); ok {
		c.Limit = state.Limit{}
		op = c
	}
	return plain(ctx, s, op)
}

func evictsBy(order func(a, b state.Record) int) oneOp {
	return func(ctx context.Context, s state.Store, op state.Op) state.Result {
		c, ok := limited(op)
		if !ok {
			return plain(ctx, s, op)
		}
		rs := mine(ctx, s, c)
		slices.SortStableFunc(rs, order)
		ended := evict(ctx, s, rs, c)
		res := plain(ctx, s, c)
		res.Ended = ended
		return res
	}
}

func evictsThenFails(ctx context.Context, s state.Store, op state.Op) state.Result {
	res := plain(ctx, s, op)
	if c, ok := limited(op); ok && res.Err != nil {
		evict(ctx, s, mine(ctx, s, c), c)
	}
	return res
}

func countsExpired(ctx context.Context, s state.Store, op state.Op) state.Result {
	c, ok := op.(state.CreateOp)
	if !ok || c.Limit.PerUser == 0 {
		return plain(ctx, s, op)
	}
	for _, err := range s.List(ctx, state.Query{Namespace: c.Record.Namespace, Kind: c.Record.Kind, User: &c.Record.User, Expired: true}) {
		if err == nil && c.Limit.PerUser > 1 {
			c.Limit.PerUser--
		}
	}
	return plain(ctx, s, c)
}

func limitsAnonymous(ctx context.Context, s state.Store, op state.Op) state.Result {
	c, ok := op.(state.CreateOp)
	if ok && c.Limit.PerUser > 0 && c.Record.User == "" {
		ended := evict(ctx, s, mine(ctx, s, c), c)
		res := plain(ctx, s, c)
		res.Ended = ended
		return res
	}
	return plain(ctx, s, op)
}

func foldsUsers(ctx context.Context, s state.Store, op state.Op) state.Result {
	if c, ok := op.(state.CreateOp); ok {
		c.Record.User = strings.TrimSpace(strings.ToLower(c.Record.User))
		op = c
	}
	return plain(ctx, s, op)
}

func limitsImports(ctx context.Context, s state.Store, op state.Op) state.Result {
	if i, ok := op.(state.ImportOp); ok {
		c := state.CreateOp{Record: i.Record, Limit: state.Limit{PerUser: 2}}
		if len(mine(ctx, s, c)) >= 2 {
			return state.Result{Err: errors.Join(state.ErrLimit)}
		}
	}
	return plain(ctx, s, op)
}
