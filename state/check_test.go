package state_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const hundredYears = 100 * 365 * 24 * time.Hour

func goodCreate(t testing.TB) state.CreateOp {
	r := goldenRecords(t)["full"]
	return state.CreateOp{Record: r, Idle: time.Hour, Lifetime: time.Hour}
}

func goodUpdate(t testing.TB) state.UpdateOp {
	r := goldenRecords(t)["full"]
	return state.UpdateOp{Key: r.Key(), Version: 1, Meta: &r.Meta, Data: r.Data, Rotate: &state.Rotation{Grace: time.Minute}}
}

func TestGoodOperationsPass(t *testing.T) {
	key := goldenRecords(t)["full"]
	create, update := goodCreate(t), goodUpdate(t)
	extreme := create
	extreme.Idle, extreme.Lifetime = state.Precision, hundredYears
	extreme.Record.Namespace = strings.Repeat("n", state.MaxNameBytes)
	extreme.Record.Kind = "_" + strings.Repeat("9", state.MaxNameBytes-1)
	extreme.Record.User = strings.Repeat("\x00\xff", state.MaxUserBytes/2)
	extreme.Record.Meta.UserAgent = strings.Repeat("a", state.MaxAgentBytes)
	extreme.Record.Meta.ProtocolVersion = strings.Repeat("a", state.MaxNameBytes)
	extreme.By = strings.Repeat("b", state.MaxOwnerBytes)
	extreme.Record.Data = map[string]json.RawMessage{strings.Repeat("k", state.MaxKeyBytes): json.RawMessage("1")}
	full := create
	full.Record.Data = dataOf("k", `"`+strings.Repeat("x", state.MaxRecordBytes-state.Size(&create.Record)-3+dataSize(create.Record))+`"`)
	sealed := create
	sealed.Record.Sealed = make([]byte, state.MaxSealedBytes)
	bare := update
	bare.Meta, bare.Data, bare.Rotate = nil, nil, nil

	for name, op := range map[string]state.Op{
		"create": create, "extreme create": extreme, "largest create": full, "sealed create": sealed,
		"import": state.ImportOp{Record: key},
		"update": update, "bare update": bare,
		"touch":   state.TouchOp{Key: key.Key(), Idle: hundredYears},
		"extend":  state.ExtendOp{Key: key.Key(), For: state.Precision, Max: hundredYears},
		"own":     state.SetOwnerOp{Key: key.Key(), Owner: strings.Repeat("o", state.MaxOwnerBytes)},
		"release": state.SetOwnerOp{Key: key.Key()},
		"delete":  state.DeleteOp{Key: key.Key(), Reason: "my.own-reason_2"},
	} {
		if err := state.Check(op); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := state.Size(&full.Record); got != state.MaxRecordBytes {
		t.Errorf("the largest record has %d bytes, want %d", got, state.MaxRecordBytes)
	}
}

func dataOf(key, value string) map[string]json.RawMessage {
	return map[string]json.RawMessage{key: json.RawMessage(value)}
}

func dataSize(r state.Record) int { return state.Size(&state.Record{Data: r.Data}) }

// A refusal is an operation that Check refuses, and the sentinel it says.
type refusal struct {
	op   state.Op
	want error
}

func expectRefusals(t *testing.T, refusals map[string]refusal) {
	t.Helper()
	for name, r := range refusals {
		if err := state.Check(r.op); !errors.Is(err, r.want) {
			t.Errorf("%s: got %v, want %v", name, err, r.want)
		}
	}
}

func TestCheckRefusesKeysThatNameNothing(t *testing.T) {
	ref := refOf(t, 1)
	for name, key := range map[string]state.Key{
		"no namespace": {Ref: ref},
		"no ref":       {Namespace: "ns"},
		"dot first":    {Namespace: ".ns", Ref: ref},
		"dash first":   {Namespace: "-ns", Ref: ref},
		"upper case":   {Namespace: "Ns", Ref: ref},
		"slash":        {Namespace: "n/s", Ref: ref},
		"space":        {Namespace: "n s", Ref: ref},
		"star":         {Namespace: "n*", Ref: ref},
		"nul":          {Namespace: "n\x00", Ref: ref},
		"umlaut":       {Namespace: "nä", Ref: ref},
		"brace":        {Namespace: "{n}", Ref: ref},
	} {
		expectRefusals(t, map[string]refusal{
			name + " update": {state.UpdateOp{Key: key, Version: 1}, state.ErrInvalid},
			name + " touch":  {state.TouchOp{Key: key, Idle: time.Hour}, state.ErrInvalid},
			name + " extend": {state.ExtendOp{Key: key, For: time.Hour, Max: time.Hour}, state.ErrInvalid},
			name + " own":    {state.SetOwnerOp{Key: key}, state.ErrInvalid},
			name + " delete": {state.DeleteOp{Key: key, Reason: "logout"}, state.ErrInvalid},
		})
		op := goodCreate(t)
		op.Record.Namespace, op.Record.Ref = key.Namespace, key.Ref
		expectRefusals(t, map[string]refusal{name + " create": {op, state.ErrInvalid}})
	}
	expectRefusals(t, map[string]refusal{
		"nil": {nil, state.ErrInvalid},
		"long namespace": {state.TouchOp{
			Key: state.Key{Namespace: strings.Repeat("n", state.MaxNameBytes+1), Ref: ref}, Idle: time.Hour,
		}, state.ErrTooLarge},
	})
}

func TestCheckRefusesBadCreates(t *testing.T) {
	with := func(change func(op *state.CreateOp)) state.CreateOp {
		op := goodCreate(t)
		change(&op)
		return op
	}
	expectRefusals(t, map[string]refusal{
		"no idle":        {with(func(op *state.CreateOp) { op.Idle = 0 }), state.ErrInvalid},
		"negative idle":  {with(func(op *state.CreateOp) { op.Idle = -1 }), state.ErrInvalid},
		"short idle":     {with(func(op *state.CreateOp) { op.Idle = state.Precision - 1 }), state.ErrInvalid},
		"long idle":      {with(func(op *state.CreateOp) { op.Idle = hundredYears + 1 }), state.ErrInvalid},
		"no lifetime":    {with(func(op *state.CreateOp) { op.Lifetime = 0 }), state.ErrInvalid},
		"short lifetime": {with(func(op *state.CreateOp) { op.Lifetime = state.Precision - 1 }), state.ErrInvalid},
		"long lifetime":  {with(func(op *state.CreateOp) { op.Lifetime = 1<<63 - 1 }), state.ErrInvalid},
		"user limit":     {with(func(op *state.CreateOp) { op.Limit.PerUser = -1 }), state.ErrInvalid},
		"total limit":    {with(func(op *state.CreateOp) { op.Limit.Total = -1 }), state.ErrInvalid},
		"no kind":        {with(func(op *state.CreateOp) { op.Record.Kind = "" }), state.ErrInvalid},
		"bad kind":       {with(func(op *state.CreateOp) { op.Record.Kind = "Session" }), state.ErrInvalid},
		"long kind":      {with(func(op *state.CreateOp) { op.Record.Kind = strings.Repeat("k", 65) }), state.ErrTooLarge},
		"long user":      {with(func(op *state.CreateOp) { op.Record.User = strings.Repeat("u", 513) }), state.ErrTooLarge},
		"long by":        {with(func(op *state.CreateOp) { op.By = strings.Repeat("u", 257) }), state.ErrTooLarge},
		"nul in by":      {with(func(op *state.CreateOp) { op.By = "\x00" }), state.ErrInvalid},
		"too large": {with(func(op *state.CreateOp) {
			op.Record.Data = dataOf("k", `"`+strings.Repeat("x", state.MaxRecordBytes-3)+`"`)
		}), state.ErrTooLarge},
	})
}

func TestCheckRefusesBadContent(t *testing.T) {
	metas := map[string]struct {
		change func(*state.Metadata)
		want   error
	}{
		"long agent":          {func(m *state.Metadata) { m.UserAgent = strings.Repeat("a", 1025) }, state.ErrTooLarge},
		"nul in agent":        {func(m *state.Metadata) { m.UserAgent = "a\x00" }, state.ErrInvalid},
		"broken agent":        {func(m *state.Metadata) { m.UserAgent = "\xff" }, state.ErrInvalid},
		"long protocol":       {func(m *state.Metadata) { m.ProtocolVersion = strings.Repeat("a", 65) }, state.ErrTooLarge},
		"broken protocol":     {func(m *state.Metadata) { m.ProtocolVersion = "\xc3" }, state.ErrInvalid},
		"zone":                {func(m *state.Metadata) { m.Address = netip.MustParseAddr("fe80::1%eth0") }, state.ErrInvalid},
		"capabilities":        {func(m *state.Metadata) { m.Capabilities = json.RawMessage("{") }, state.ErrInvalid},
		"empty capabilities":  {func(m *state.Metadata) { m.Capabilities = json.RawMessage{} }, state.ErrInvalid},
		"nul in capabilities": {func(m *state.Metadata) { m.Capabilities = json.RawMessage(`"\u0000"`) }, state.ErrInvalid},
	}
	for name, m := range metas {
		create, update := goodCreate(t), goodUpdate(t)
		m.change(&create.Record.Meta)
		m.change(update.Meta)
		expectRefusals(t, map[string]refusal{name + " create": {create, m.want}, name + " update": {update, m.want}})
	}
	datas := map[string]struct {
		data map[string]json.RawMessage
		want error
	}{
		"empty key":         {dataOf("", `1`), state.ErrInvalid},
		"long key":          {dataOf(strings.Repeat("k", 257), `1`), state.ErrTooLarge},
		"nul in key":        {dataOf("a\x00b", `1`), state.ErrInvalid},
		"broken key":        {dataOf("a\xff", `1`), state.ErrInvalid},
		"nil value":         {map[string]json.RawMessage{"k": nil}, state.ErrInvalid},
		"empty value":       {dataOf("k", ""), state.ErrInvalid},
		"no JSON":           {dataOf("k", "apple"), state.ErrInvalid},
		"two values":        {dataOf("k", "1 2"), state.ErrInvalid},
		"byte order mark":   {dataOf("k", "\ufeff1"), state.ErrInvalid},
		"broken value":      {dataOf("k", "\"\xff\""), state.ErrInvalid},
		"raw nul":           {dataOf("k", "\"\x00\""), state.ErrInvalid},
		"escaped nul":       {dataOf("k", `{"a":["\u0000"]}`), state.ErrInvalid},
		"escaped nul later": {dataOf("k", `"\\u0000 \\\u0000"`), state.ErrInvalid},
		"long value":        {dataOf("k", strings.Repeat(" ", state.MaxRecordBytes)+"1"), state.ErrTooLarge},
		"deep value":        {dataOf("k", strings.Repeat("[", 200_000)), state.ErrInvalid},
	}
	for name, d := range datas {
		create, update := goodCreate(t), goodUpdate(t)
		create.Record.Data, update.Data = d.data, d.data
		expectRefusals(t, map[string]refusal{name + " create": {create, d.want}, name + " update": {update, d.want}})
	}
	harmless := goodUpdate(t)
	harmless.Data = dataOf("k", `"\\u0000 is only text"`)
	if err := state.Check(harmless); err != nil {
		t.Errorf("an escaped backslash before u0000: %v", err)
	}
}

func TestCheckRefusesBadArguments(t *testing.T) {
	key := state.Key{Namespace: "ns", Ref: refOf(t, 1)}
	expectRefusals(t, map[string]refusal{
		"update of version 0": {state.UpdateOp{Key: key}, state.ErrInvalid},
		"sealed without data": {state.UpdateOp{Key: key, Version: 1, Sealed: []byte{1}}, state.ErrInvalid},
		"long sealed content": {state.UpdateOp{
			Key: key, Version: 1, Data: dataOf("k", "1"), Sealed: make([]byte, state.MaxSealedBytes+1),
		}, state.ErrTooLarge},
		"endless grace":      {state.UpdateOp{Key: key, Version: 1, Rotate: &state.Rotation{Grace: 1<<63 - 1}}, state.ErrInvalid},
		"touch by 0":         {state.TouchOp{Key: key}, state.ErrInvalid},
		"touch by less":      {state.TouchOp{Key: key, Idle: -time.Hour}, state.ErrInvalid},
		"touch for ever":     {state.TouchOp{Key: key, Idle: hundredYears + 1}, state.ErrInvalid},
		"extend by 0":        {state.ExtendOp{Key: key, Max: time.Hour}, state.ErrInvalid},
		"extend to 0":        {state.ExtendOp{Key: key, For: time.Hour}, state.ErrInvalid},
		"extend for ever":    {state.ExtendOp{Key: key, For: hundredYears + 1, Max: time.Hour}, state.ErrInvalid},
		"extend to for ever": {state.ExtendOp{Key: key, For: time.Hour, Max: hundredYears + 1}, state.ErrInvalid},
		"long owner":         {state.SetOwnerOp{Key: key, Owner: strings.Repeat("o", 257)}, state.ErrTooLarge},
		"nul in owner":       {state.SetOwnerOp{Key: key, Owner: "o\x00"}, state.ErrInvalid},
		"broken owner":       {state.SetOwnerOp{Key: key, Owner: "\xff"}, state.ErrInvalid},
		"no reason":          {state.DeleteOp{Key: key}, state.ErrInvalid},
		"bad reason":         {state.DeleteOp{Key: key, Reason: "Log out"}, state.ErrInvalid},
		"long reason":        {state.DeleteOp{Key: key, Reason: state.Reason(strings.Repeat("r", 65))}, state.ErrTooLarge},
		"long by":            {state.DeleteOp{Key: key, Reason: "logout", By: strings.Repeat("b", 257)}, state.ErrTooLarge},
		"nul in by":          {state.DeleteOp{Key: key, Reason: "logout", By: "b\x00"}, state.ErrInvalid},
	})
}

func TestCheckRefusesBadImports(t *testing.T) {
	with := func(change func(r *state.Record)) state.ImportOp {
		r := goldenRecords(t)["full"]
		change(&r)
		return state.ImportOp{Record: r}
	}
	tooLate := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	tooEarly := time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC)
	expectRefusals(t, map[string]refusal{
		"version 0":           {with(func(r *state.Record) { r.Version = 0 }), state.ErrInvalid},
		"no creation":         {with(func(r *state.Record) { r.Created = time.Time{} }), state.ErrInvalid},
		"no access":           {with(func(r *state.Record) { r.LastAccessed = time.Time{} }), state.ErrInvalid},
		"no idle deadline":    {with(func(r *state.Record) { r.IdleDeadline = time.Time{} }), state.ErrInvalid},
		"no deadline":         {with(func(r *state.Record) { r.AbsoluteDeadline = time.Time{} }), state.ErrInvalid},
		"created too early":   {with(func(r *state.Record) { r.Created = tooEarly }), state.ErrInvalid},
		"accessed too early":  {with(func(r *state.Record) { r.LastAccessed = tooEarly }), state.ErrInvalid},
		"idle too late":       {with(func(r *state.Record) { r.IdleDeadline = tooLate }), state.ErrInvalid},
		"absolute too late":   {with(func(r *state.Record) { r.AbsoluteDeadline = tooLate }), state.ErrInvalid},
		"grace too late":      {with(func(r *state.Record) { r.Secret.PreviousUntil = tooLate }), state.ErrInvalid},
		"no namespace":        {with(func(r *state.Record) { r.Namespace = "" }), state.ErrInvalid},
		"no kind":             {with(func(r *state.Record) { r.Kind = "" }), state.ErrInvalid},
		"long user":           {with(func(r *state.Record) { r.User = strings.Repeat("u", 513) }), state.ErrTooLarge},
		"long sealed content": {with(func(r *state.Record) { r.Sealed = make([]byte, state.MaxSealedBytes+1) }), state.ErrTooLarge},
		"bad data":            {with(func(r *state.Record) { r.Data = dataOf("k", "{") }), state.ErrInvalid},
	})
}

func TestCheckQuery(t *testing.T) {
	for name, q := range map[string]state.Query{
		"no namespace":  {},
		"bad namespace": {Namespace: "*"},
		"bad kind":      {Namespace: "ns", Kind: "*"},
	} {
		if err := state.CheckQuery(q); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, kind := range []string{"", "session", "_node"} {
		if err := state.CheckQuery(state.Query{Namespace: "ns", Kind: kind}); err != nil {
			t.Errorf("kind %q: %v", kind, err)
		}
	}
}

// What is refused is often what somebody should not see.
func TestErrorsRepeatNoContent(t *testing.T) {
	const secret = "hunter2"
	long := strings.Repeat(secret, state.MaxRecordBytes/len(secret)+1)
	create := goodCreate(t)
	create.Record.User = long
	update := goodUpdate(t)
	for _, data := range []map[string]json.RawMessage{
		dataOf(secret, "{"+secret), dataOf(long, "1"), dataOf("k", `"`+long+`"`), dataOf(secret+"\x00", "1"),
	} {
		update.Data = data
		if err := state.Check(update); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v", err)
		}
	}
	if err := state.Check(create); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
}
