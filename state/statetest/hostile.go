package statetest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func hostileChecks() []check {
	return []check{
		{"Users", hostileUsers, 0},
		{"UsersBesideEachOther", hostileUsersTogether, 0},
		{"Refs", hostileRefs, 0},
		{"Names", hostileNames, 0},
		{"Keys", hostileKeys, 0},
		{"Values", hostileValues, 0},
		{"Numbers", hostileNumbers, 0},
		{"NUL", hostileNUL, 0},
		{"JSONThatNotEveryBackendStores", hostileJSON, 0},
		{"Texts", hostileTexts, 0},
		{"LargestRecord", hostileLargest, 0},
		{"ManyKeys", hostileManyKeys, 0},
	}
}

// hostileStrings are what breaks out of quotes, patterns, templates and
// terminals. All are valid UTF-8 without U+0000.
func hostileStrings() []string {
	return []string{
		`'`, `"`, "`", `\`, `\\`, `'; DROP TABLE records; --`, `" OR ""="`, `%`, `_`, `%%`, `a%b_c`, `*`, `?`, `[a-z]`, `a*`,
		`{1}`, `${x}`, `$1`, `:name`, `@p1`, `?1`, `{{.}}`, `\x00`, `\u0000`, `\'`, `\N`, `NULL`, `null`, `nil`, `true`, `0`, `-1`, `1e9`,
		`..`, `../../etc/passwd`, `/`, `a/b`, `a.b`, `a:b`, `a>b`, `a b`, ` `, "\t", "\n", "\r\n", "a\r\nSET x y", "\x7f", "\x1b[2J",
		`return redis.call('FLUSHALL')`, `]]`, `--`, `/*`, `*/`, `#`, `;`, `,`, `=`, `&`, `|`, `<script>`, `&amp;`, "\u00a0", "\ufeff",
		"é", "e\u0301", "İ", "ı", "ß", "ſ", "K", "日本", "\u202e", "\u200b", "\u2028", "\U0001f511", "\U0010ffff", "\ufffd", "\ufffe",
	}
}

func hostileUserNames() []string {
	long := make([]byte, state.MaxUserBytes)
	for i := range long {
		long[i] = byte(i)
	}
	return append(hostileStrings(),
		"\x00", "a\x00", "a\x00b", "\xff", "\xc3\x28", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80", "\x80",
		strings.Repeat("\x00", state.MaxUserBytes), strings.Repeat("\xff", state.MaxUserBytes), string(long))
}

func hostileUsers(e *env) {
	for _, name := range hostileUserNames() {
		r := e.create(user(name))
		if r.User != name {
			e.Fatalf("user %s came back as %s", short(name), short(r.User))
		}
		if got := e.userRefs(name); got != nil && (len(got) != 1 || got[0] != r.Ref) {
			e.Fatalf("List by user %s: got %d records, want 1", short(name), len(got))
		}
		res := e.must(e.createOp(user(name), limit(state.Limit{PerUser: 1})))
		if len(res.Ended) != 1 || res.Ended[0].User != name || res.Ended[0].Key != r.Key() {
			e.Fatalf("limit of user %s: evicted %d, want that user's record", short(name), len(res.Ended))
		}
	}
	err := e.fails(e.createOp(user(strings.Repeat("u", state.MaxUserBytes+1))), state.ErrTooLarge)
	wantTyped(e, "user of 513 bytes", err)
}

// userRefs lists a user's records; nil if the store cannot filter by user.
func (e *env) userRefs(name string) []state.Ref {
	e.Helper()
	rs, err := e.listErr(state.Query{Namespace: e.ns, User: &name})
	if err != nil {
		wantError(e, "List by user", err, state.ErrUnsupported)
		return nil
	}
	return append([]state.Ref{}, refsOf(rs)...)
}

// hostileUsersTogether checks that no user is taken for another.
func hostileUsersTogether(e *env) {
	names := hostileUserNames()
	refs := map[string]state.Ref{}
	for _, name := range names {
		op := e.createOp(user(name), limit(state.Limit{PerUser: 1}))
		if n := len(e.must(op).Ended); n != 0 {
			e.Fatalf("Create for user %s evicted the record of another", short(name))
		}
		refs[name] = op.Record.Ref
	}
	for _, name := range names {
		got := e.userRefs(name)
		if got != nil && (len(got) != 1 || got[0] != refs[name]) {
			e.Fatalf("List by user %s: got %d records, want that user's one", short(name), len(got))
		}
	}
}

func hostileRefs(e *env) {
	var bytes [][17]byte
	for _, fill := range []byte{0x00, 0x01, 0x22, 0x25, 0x27, 0x2a, 0x5c, 0x5f, 0x7f, 0x80, 0xff} {
		for last := range 3 {
			var b [17]byte
			for i := range b {
				b[i] = fill
			}
			b[16] = byte(last + 1)
			bytes = append(bytes, b)
		}
	}
	made := map[state.Ref]bool{}
	for _, b := range bytes {
		ref, err := state.RefFromBytes(b[:])
		if err != nil {
			e.Fatal(err)
		}
		k := state.Key{Namespace: e.ns, Ref: ref}
		if made[ref] {
			continue
		}
		made[ref] = true
		r := e.create(at(k))
		e.update(r, `"mine"`)
		e.fails(e.createOp(at(k)), state.ErrExists)
	}
	if n := len(e.list(state.Query{Namespace: e.ns})); n != len(made) {
		e.Fatalf("List of hostile refs: got %d, want %d", n, len(made))
	}
	for ref := range made {
		e.delete(state.Key{Namespace: e.ns, Ref: ref})
	}
}

func hostileNames(e *env) {
	names := []string{"a", "0", "_", "a.", "a-", "a_", "a.b", "a-b", "a_b", "ab", "a..b", "_a", "__", "x" + longText(state.MaxNameBytes-1)}
	ref := newRef(e, 3)
	for i, name := range names {
		k := state.Key{Namespace: name, Ref: ref}
		inNamespace := e.on(e.store)
		inNamespace.ns = name
		r := inNamespace.create(at(k), user("u"), limit(state.Limit{PerUser: 1, Total: 1}), func(op *state.CreateOp) { op.Record.Data = data("i", fmt.Sprint(i)) })
		if r.Namespace != name {
			e.Fatalf("namespace %q came back as %q", name, r.Namespace)
		}
	}
	for i, name := range names {
		inNamespace := e.on(e.store)
		inNamespace.ns = name
		rs := inNamespace.list(state.Query{Namespace: name})
		if len(rs) != 1 || diff2JSON(rs[0].Data["i"], fmt.Sprint(i)) != "" {
			e.Fatalf("List of namespace %q beside similar ones: got %d records, want its one", name, len(rs))
		}
		inNamespace.delete(state.Key{Namespace: name, Ref: ref})
	}
	for _, kind := range append(names, "session") {
		r := e.create(ofKind(kind))
		got := e.list(state.Query{Namespace: e.ns, Kind: kind})
		if len(got) != 1 || got[0].Ref != r.Ref || got[0].Kind != kind {
			e.Fatalf("List of kind %q beside similar ones: got %d records, want its one", kind, len(got))
		}
	}
}

func hostileKeys(e *env) {
	all := map[string]json.RawMessage{}
	for i, k := range append(hostileStrings(), "__proto__", "constructor", "$ref", "$set", "a.b.c", "0", "[0]", "coatcheck:x", longText(state.MaxKeyBytes)) {
		all[k] = json.RawMessage(fmt.Sprint(i))
		r := e.create(lean, func(op *state.CreateOp) { op.Record.Data = data(k, `1`) })
		want := r.Clone()
		want.Data = data(k, `1`)
		if d := diff(r, want); d != "" {
			e.Fatalf("data key %s: %s", short(k), d)
		}
	}
	r := e.create(lean, func(op *state.CreateOp) { op.Record.Data = all })
	want := r.Clone()
	want.Data = all
	if d := diff(r, want); d != "" {
		e.Fatalf("all data keys together: %s", d)
	}
	for k, wantErr := range map[string]error{
		"": state.ErrInvalid, "\x00": state.ErrInvalid, "a\x00b": state.ErrInvalid, "\xff": state.ErrInvalid,
		longText(state.MaxKeyBytes + 1): state.ErrTooLarge,
	} {
		e.fails(e.createOp(func(op *state.CreateOp) { op.Record.Data = data(k, `1`) }), wantErr)
		e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Data: data(k, `1`)}, wantErr)
	}
}

func (e *env) keeps(values ...string) {
	e.Helper()
	all := map[string]json.RawMessage{}
	for i, v := range values {
		all[fmt.Sprint(i)] = json.RawMessage(v)
	}
	r := e.create(lean, func(op *state.CreateOp) { op.Record.Data = all })
	want := r.Clone()
	want.Data = all
	if d := diff(r, want); d != "" {
		e.Fatalf("Get after Create: %s", d)
	}
	for i, v := range values {
		r = e.live(r.Key())
		e.must(state.UpdateOp{Key: r.Key(), Version: r.Version, Data: data("v", v)})
		if d := diff2JSON(e.live(r.Key()).Data["v"], v); d != "" {
			e.Fatalf("Get after Update to value %d: %s", i, d)
		}
	}
}

func hostileValues(e *env) {
	values := []string{
		`null`, `true`, `false`, `0`, `""`, `[]`, `{}`, ` [ 1 , 2 ] `, "{\n\t\"a\": 1\n}", `{"b":1,"a":2}`, `{"a":{"b":{"c":[[],{}]}}}`,
		`"\u0001\u001f"`, `"\\u0000"`, `"\\\\u0000"`, `"\ud83d\udd11"`, `"\u2028\u2029"`, `"</script>"`, `"\/"`, `{"":0}`,
		`{"__proto__":{"x":1}}`, `{"$where":"1"}`, `[null,[null]]`, `"` + strings.Repeat("é", 1000) + `"`,
		nested(state.MaxJSONDepth), strings.Repeat(`{"a":`, state.MaxJSONDepth) + `1` + strings.Repeat("}", state.MaxJSONDepth),
		`[` + strings.Repeat(`0,`, 20000) + `0]`,
	}
	for _, s := range hostileStrings() {
		b, err := json.Marshal(s)
		if err != nil {
			e.Fatal(err)
		}
		values = append(values, string(b))
	}
	e.keeps(values...)
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func hostileNumbers(e *env) {
	e.keeps(`9007199254740993`, `-9007199254740993`, `18446744073709551616`, `123456789012345678901234567890`, `-0`, `-0.0`, `1e2`, `1E+2`,
		`0.1`, `0.10`, `3.141592653589793238462643383279`, `1e-7`, `1e30`, `1e308`, `5e-324`, `[1.0,1,1e0]`, `0.30000000000000004`)
}

// hostileNUL checks that U+0000 is refused wherever it could hide, save in
// users, which are bytes.
func hostileNUL(e *env) {
	r := e.create()
	for _, v := range []string{`"\u0000"`, `"a\u0000b"`, `{"\u0000":1}`, `["x",{"y":"\u0000"}]`, `"\\\u0000"`} {
		e.fails(e.createOp(func(op *state.CreateOp) { op.Record.Data = data("v", v) }), state.ErrInvalid)
		e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("v", v)}, state.ErrInvalid)
		meta := state.Metadata{Capabilities: json.RawMessage(v)}
		e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Meta: &meta}, state.ErrInvalid)
		imp := e.exported()
		imp.Data = data("v", v)
		e.fails(state.ImportOp{Record: imp}, state.ErrInvalid)
	}
	e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("v", "\"\x00\"")}, state.ErrInvalid)
	e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("v", "\"\xff\"")}, state.ErrInvalid)
}

// hostileJSON checks that every store refuses the same JSON.
func hostileJSON(e *env) {
	r := e.create()
	for _, v := range []string{`"\ud800"`, `"\udc00"`, `"\ud800x"`, `"\ud83d\ud83d"`, `{"\udead":1}`, nested(state.MaxJSONDepth + 1)} {
		e.fails(e.createOp(func(op *state.CreateOp) { op.Record.Data = data("v", v) }), state.ErrInvalid)
		e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("v", v)}, state.ErrInvalid)
	}
}

// hostileTexts puts hostile texts everywhere else.
func hostileTexts(e *env) {
	for _, s := range append(hostileStrings(), longText(state.MaxOwnerBytes)) {
		r := e.create(func(op *state.CreateOp) { op.Record.Meta.UserAgent = s })
		if r.Meta.UserAgent != s {
			e.Fatalf("user agent %s came back as %s", short(s), short(r.Meta.UserAgent))
		}
		e.must(state.SetOwnerOp{Key: r.Key(), Owner: s})
		if got := e.live(r.Key()).Owner; got != s {
			e.Fatalf("owner %s came back as %s", short(s), short(got))
		}
		if rs, err := e.listErr(state.Query{Namespace: e.ns, Owner: s}); err == nil && len(rs) != 1 {
			e.Fatalf("List by owner %s: got %d records, want 1", short(s), len(rs))
		}
		e.must(state.DeleteOp{Key: r.Key(), Reason: state.ReasonRevoked, By: s})
		if got := e.ended(r.Key()).By; got != s {
			e.Fatalf("End.By %s came back as %s", short(s), short(got))
		}
	}
}

func hostileLargest(e *env) {
	r := e.createOp(lean, user(longText(state.MaxUserBytes))).Record
	room := state.MaxRecordBytes - state.Size(&r) - len("k")
	full := func(n int) func(*state.CreateOp) {
		return func(op *state.CreateOp) { op.Record.Data = data("k", bigString(n)) }
	}
	e.fails(e.createOp(lean, user(r.User), full(room+1)), state.ErrTooLarge)
	got := e.create(lean, user(r.User), full(room))
	if n := state.Size(&got); n != state.MaxRecordBytes {
		e.Fatalf("largest record: Size says %d after Get, want %d", n, state.MaxRecordBytes)
	}
	e.fails(state.UpdateOp{Key: got.Key(), Version: 1, Data: data("kk", bigString(room))}, state.ErrTooLarge)
	e.must(state.UpdateOp{Key: got.Key(), Version: 1, Data: data("k", bigString(room))})
	for _, l := range e.list(state.Query{Namespace: e.ns}) {
		if l.Ref == got.Ref && !sameJSON(l.Data["k"], []byte(bigString(room))) {
			e.Fatal("largest record: List yields other data")
		}
	}
	imp := e.exported(lean, user(r.User), full(room+1))
	e.fails(state.ImportOp{Record: imp}, state.ErrTooLarge)
}

func hostileManyKeys(e *env) {
	many := map[string]json.RawMessage{}
	for i := range 8000 {
		many[fmt.Sprintf("key-%d", i)] = json.RawMessage(fmt.Sprint(i))
	}
	r := e.create(lean, func(op *state.CreateOp) { op.Record.Data = many })
	want := r.Clone()
	want.Data = many
	if d := diff(r, want); d != "" {
		e.Fatalf("record of %d keys: %s", len(many), short(d))
	}
}
