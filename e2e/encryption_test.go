package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
)

// newKey returns a key, and the name of a file with it.
func newKey(t *testing.T) (text, file string) {
	t.Helper()
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	text = base64.StdEncoding.EncodeToString(b[:])
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return text, file
}

// A session that is encrypted is served over a restart, shown to operators who
// have the key, and to nobody else.
func TestEncryptedSessionsOpenWithTheirKeyOnly(t *testing.T) {
	for name, url := range map[string]string{
		"sqlite":   "sqlite:" + filepath.Join(t.TempDir(), "coatcheck.db"),
		"redis":    "redis://" + redisserver.Start(t).Addr(),
		"postgres": postgresserver.Start(t, postgresserver.Options{}).URL("postgres"),
	} {
		t.Run(name, func(t *testing.T) {
			key, file := newKey(t)
			_, wrong := newKey(t)
			store := "--store=" + url
			s := serve(t, "", store, "--encryption-key="+file)
			id := open(t, s.url, "")
			if !put(t, s.url, id, "hat") {
				t.Fatal("the item was not acknowledged")
			}
			s.kill()

			// The variable holds the same key.
			s = startWith(t, []string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", store}, []string{"SESSION_ENCRYPTION_KEY=" + key})
			if got := basketOf(t, s.url, id); len(got) != 1 || got[0] != "hat" {
				t.Errorf("the basket has %v, want the hat", got)
			}
			if strings.Contains(s.out.String(), key) {
				t.Error("the server printed its key")
			}
			ref, _, _ := strings.Cut(id, ".")
			out, stderr, status := coatcheck(t, "sessions", "show", "--data", ref, store, "--encryption-key="+file)
			if status != 0 || !strings.Contains(out, ref) {
				t.Errorf("show with the key: status %d, %q, %q", status, out, stderr)
			}
			for what, flags := range map[string][]string{"no key": nil, "another key": {"--encryption-key=" + wrong}} {
				for _, command := range [][]string{
					{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}, {"sessions", "list"}, {"sessions", "show", "--data", ref},
				} {
					out, stderr, status := coatcheck(t, append(append(command, store), flags...)...)
					if status != 1 || out != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "key") {
						t.Errorf("%v with %s: status %d, %q, %q; want status 1 and one line about the key", command, what, status, out, stderr)
					}
				}
				out, _, status := coatcheck(t, append([]string{"doctor", store}, flags...)...)
				if status != 1 || !strings.Contains(out, "are encrypted") {
					t.Errorf("doctor with %s: status %d, %q", what, status, out)
				}
			}
			if r := ping(t, s.url, id, ""); r.status != http.StatusOK {
				t.Errorf("ping afterwards: %d %s", r.status, r.body)
			}

			// A key ring that was made of the key opens the same.
			ring := filepath.Join(t.TempDir(), "ring")
			if _, stderr, status := coatcheck(t, "keys", "generate", "--key-ring="+ring, "--encryption-key="+file); status != 0 {
				t.Fatalf("keys generate: status %d, %q", status, stderr)
			}
			s.kill()
			s = serve(t, "", store, "--key-ring="+ring)
			if got := basketOf(t, s.url, id); len(got) != 1 || got[0] != "hat" {
				t.Errorf("with the key ring the basket has %v, want the hat", got)
			}
		})
	}
}

func TestAKeyFileThatOthersCanReadIsRefused(t *testing.T) {
	_, file := newKey(t)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--encryption-key=", "--key-ring="} {
		_, stderr, status := coatcheck(t, "sessions", "list", flag+file)
		if status != 2 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "chmod 600") {
			t.Errorf("%s: status %d, %q", flag, status, stderr)
		}
	}
}
