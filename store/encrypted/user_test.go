package encrypted

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func testKeys(t testing.TB) *userKeys {
	t.Helper()
	r, err := keyring.New(keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k := newUserKeys(r.Stable(keyring.UserIndex))
	return &k
}

func TestTokensNameTheirUsers(t *testing.T) {
	k := testKeys(t)
	rapid.Check(t, func(t *rapid.T) {
		user := string(rapid.SliceOfN(rapid.Byte(), 0, state.MaxUserBytes).Draw(t, "user"))
		namespace := rapid.SampledFrom([]string{"a", "ab"}).Draw(t, "namespace")
		token := k.token(namespace, user)
		if token != k.token(namespace, user) {
			t.Fatal("a token is not the same twice")
		}
		if len(token) > state.MaxUserBytes {
			t.Fatalf("a token of %d bytes fits into no record", len(token))
		}
		if len(user) > 3 && strings.Contains(token, user[:4]) {
			t.Fatal("a token shows the user")
		}
		got, ok := k.user(namespace, token)
		if want := len(user) <= MaxNamedUser; ok != want || ok && got != user {
			t.Fatalf("user of %d bytes: got %q, %v", len(user), got, ok)
		}
		if ok == hashed(token) {
			t.Fatal("a token of a long user is not told from others")
		}
		if user == "" {
			return
		}
		if got, ok := k.user(namespace+"x", token); ok {
			t.Fatalf("read as of another namespace: %q", got)
		}
		i := rapid.IntRange(0, len(token)-1).Draw(t, "byte")
		changed := token[:i] + string(token[i]^1) + token[i+1:]
		if got, ok := k.user(namespace, changed); ok {
			t.Fatalf("a changed token names %q", got)
		}
	})
}

func TestTokensOfDifferentUsersDiffer(t *testing.T) {
	k := testKeys(t)
	tokens := map[string]string{}
	for _, namespace := range []string{"a", "ab", "b"} {
		for n := range 520 {
			for _, fill := range []string{"\x00", "\x80", "u"} {
				user := strings.Repeat(fill, n)
				if n == 0 || n > state.MaxUserBytes {
					continue
				}
				token := k.token(namespace, user)
				if other, ok := tokens[token]; ok {
					t.Fatalf("%q and %q have one token", namespace+user, other)
				}
				tokens[token] = namespace + user
			}
		}
	}
}

func TestTokensShowLengthsInSteps(t *testing.T) {
	k := testKeys(t)
	lengths := map[int]int{}
	for n := 1; n <= state.MaxUserBytes; n++ {
		lengths[len(k.token("a", strings.Repeat("u", n)))]++
	}
	if len(lengths) != 16 { // 15 steps and the hash
		t.Errorf("tokens have %d lengths: %v", len(lengths), lengths)
	}
}

func TestOtherRingsMakeOtherTokens(t *testing.T) {
	a, b := testKeys(t), testKeys(t)
	if a.token("n", "alice") == b.token("n", "alice") {
		t.Error("two rings make the same token")
	}
	if got, ok := b.user("n", a.token("n", "alice")); ok {
		t.Errorf("another ring reads %q", got)
	}
}

func FuzzUserOfToken(f *testing.F) {
	k := testKeys(f)
	f.Add("n", k.token("n", "alice"))
	f.Add("n", "alice")
	f.Add("n", strings.Repeat("\x00", 48))
	f.Fuzz(func(t *testing.T, namespace, token string) {
		user, ok := k.user(namespace, token)
		if ok && k.token(namespace, user) != token {
			t.Fatalf("%q is the token of %q, whose token is another", token, user)
		}
	})
}
