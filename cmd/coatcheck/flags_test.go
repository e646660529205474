package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs coatcheck in this process, in an empty folder.
func command(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut strings.Builder
	status = run(t.Context(), args, &out, &errOut)
	noted.Check(t, strings.Join(args, " "), out.String()+errOut.String())
	return out.String(), errOut.String(), status
}

// expectMistake checks that a mistake is answered with status 2 and one line
// that has what to write instead.
func expectMistake(t *testing.T, want string, args ...string) {
	t.Helper()
	stdout, stderr, status := command(t, args...)
	if status != exitUsage || stdout != "" {
		t.Errorf("%q: status %d, stdout %q; want status 2", args, status, stdout)
	}
	if !strings.HasPrefix(stderr, "coatcheck: ") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
		t.Errorf("%q: want one line, got %q", args, stderr)
	}
	if !strings.Contains(stderr, want) {
		t.Errorf("%q: no %q in %q", args, want, stderr)
	}
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMistakesExit2AndSayWhatToWrite(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	const ref = "0000000000000000000000000000"
	for _, c := range []struct {
		args string
		want string
	}{
		{"", `expected one of "serve", "sessions"`},
		{"serves", "serves"},
		{"serve --lissten=127.0.0.1:0", "--listen"},
		{"serve extra", "extra"},
		{"serve --listen=8080", "write HOST:PORT"},
		{"serve --listen=127.0.0.1:99999", "write HOST:PORT"},
		{"serve --admin-listen=nonsense", "write HOST:PORT"},
		{"serve --listen=0.0.0.0:0", "write --auth tokens:FILE"},
		{"serve --listen=:0", "write --auth tokens:FILE"},
		{"serve --listen=[::]:0", "write --auth tokens:FILE"},
		{"serve --admin-listen=0.0.0.0:0", "write --admin-token-file FILE"},
		{"serve --admin-listen=0.0.0.0:0 --admin-token-file=absent", "--admin-token-file"},
		{"serve --auth=tokens:", "write none, tokens:FILE or jwt:JWKS-FILE-OR-URL"},
		{"serve --auth=basic", "write none, tokens:FILE or jwt:JWKS-FILE-OR-URL"},
		{"serve --auth=jwt:", "write none, tokens:FILE or jwt:JWKS-FILE-OR-URL"},
		{"serve --auth=jwt:keys.json", "write --auth-issuer ISSUER"},
		{"serve --auth=jwt:keys.json --auth-issuer=https://id.example", "write --auth-audience AUDIENCE"},
		{"serve --auth=jwt:absent.json --auth-issuer=https://id.example --auth-audience=x", "absent.json"},
		{"serve --auth-audience=x", "go with --auth jwt:JWKS"},
		{"serve --auth-leeway=0", "write one such as 24h"},
		{"serve --profile=lax", `must be one of "default","strict"`},
		{"serve --max-new-sessions=-1", "--max-new-sessions: write"},
		{"serve --bind-address=country", "write exact, network, or network/24/64"},
		{"serve --bind-address=network/33/64", "write exact, network, or network/24/64"},
		{"serve --on-mismatch=ignore", "write refuse, end or note"},
		{"serve --listen=127.0.0.1:0 --admin-listen=127.0.0.1:0 --audit=.", "--audit"},
		{"sessions revoke --all --audit=absent/audit.log", "--audit"},
		{"doctor --id-bytes=8", "use 16 to 64"},
		{"serve --auth=tokens:absent", "absent"},
		{"serve --store=redis", "redis is at the URL in REDIS_URL, which is not set"},
		{"serve --store=postgres", "postgres is at the URL in DATABASE_URL, which is not set"},
		{"serve --store=redis:", "write redis://host:6379"},
		{"serve --store=redis://localhost/zero", "number of a database"},
		{"serve --store=redis://localhost?colour=red", "is not known"},
		{"serve --store=rediss://localhost?pool_max=x", "is not a number"},
		{"serve --store=postgres:", "write postgres://USER"},
		{"serve --store=postgres://localhost:x/y", "write postgres://USER"},
		{"serve --store=postgres://localhost/x?pool_max_conns=x", "pool_max_conns"},
		{"serve --cache=64MiB", "write l1=64MiB"},
		{"serve --cache=l1=lots", "is no size: write one such as 64MiB"},
		{"serve --cache=l1=64MiB,l2=redis://localhost?colour=red", "is not known"},
		{"serve --cache=l1=64MiB,l2=postgres://localhost/x", "in the process or in Redis"},
		{"serve --cache=l1=64MiB --cache-staleness=0", "write one such as 24h"},
		{"serve --replication=some", "write none, leader, quorum or all"},
		{"serve --listen=127.0.0.1:0 --admin-listen=127.0.0.1:0 --store=memory: --replication=quorum", "memory: keeps no copies"},
		{"serve --listen=127.0.0.1:0 --admin-listen=127.0.0.1:0 --replication=all", "keeps no copies"},
		{"serve --batch=yes", "write size=512, interval=5ms or touches=1s"},
		{"serve --batch=size=0", "write one such as size=512"},
		{"serve --batch=size=8,interval=soon", "write one such as 24h"},
		{"serve --encryption-key=absent", "there is no such file"},
		{"serve --encryption-key=.", "this is no file"},
		{"serve --key-ring=absent", "--key-ring: read key file absent"},
		{"serve --key-ring=absent --encryption-key=absent", "write one of them"},
		{"serve --store=nats://localhost?colour=red", "is not known"},
		{"serve --store=cluster:?name=a", "cluster: listen: \"\" is no address that the other nodes could know: write HOST:PORT"},
		{"serve --store=cluster:?name=a&listen=10.0.0.1:7001", "by secret-file=FILE or COATCHECK_CLUSTER_SECRET"},
		{"serve --store=mysql://root:hunter2@localhost", "write memory:, sqlite:PATH"},
		{"serve --store=sqlite://host/path", "write sqlite:PATH"},
		{"serve --store=sqlite:x.db?mode=ro", "write sqlite:PATH"},
		{"serve --store=memory:big", "write memory:, sqlite:PATH"},
		{"serve --namespace=Big", "--namespace"},
		{"serve --session-duration=forever", "write one such as 24h"},
		{"serve --session-duration=-1h", "write one such as 24h"},
		{"serve --idle-timeout=0", "write one such as 24h"},
		{"serve --cleanup-interval=soon", "write one such as 24h"},
		{"serve --session-duration=1000000h", "absolute lifetime"},
		{"serve --max-sessions-per-user=-1", "--max-sessions-per-user: write"},
		{"serve --max-sessions-per-user=many", "--max-sessions-per-user"},
		{"serve --max-sessions=-1", "--max-sessions: write"},
		{"serve --on-limit=panic", `must be one of "evict","refuse"`},
		{"serve --sample=bazaar", `must be one of "shop","conformance"`},
		{"serve --id-bytes=8", "use 16 to 64"},
		{"serve --id-bytes=65", "use 16 to 64"},
		{"serve --trusted-proxy=10.0.0.0/99", "write an address"},
		{"serve --trusted-proxy=proxy.example", "write an address"},
		{"serve --allowed-host=https://mcp.example", "write a name"},
		{"serve --allowed-origin=app.example", "write one such as https://app.example"},
		{"serve --allowed-origin=https://app.example/path", "write one such as https://app.example"},
		{"serve --tls-cert=cert.pem", "write both or neither"},
		{"serve --tls-key=key.pem", "write both or neither"},
		{"serve --tls-cert=cert.pem --tls-key=key.pem", "cert.pem"},
		{"serve --log-level=loud", "--log-level"},
		{"sessions", `expected one of "list"`},
		{"sessions list --store=memory:", "write --store sqlite:PATH"},
		{"sessions list --store=memory:", "write --admin URL"},
		{"sessions list --admin=127.0.0.1:8081", "write one such as http://127.0.0.1:8081"},
		{"sessions list --admin=http://localhost:1 --admin-token-file=absent", "--admin-token-file"},
		{"sessions list --admin=http://localhost:1 --kind=Big", "--kind"},
		{"sessions watch --kind=Big", "--kind"},
		{"sessions revoke --all --kind=Big", "--kind"},
		{"doctor --admin=nonsense", "write one such as http://127.0.0.1:8081"},
		{"sessions list --state=asleep", "--state"},
		{"sessions list --address=nowhere", "write an address"},
		{"sessions list --created-after=yesterday", "write 2026-11-23T15:04:05Z"},
		{"sessions list --max=-1", "--max: write"},
		{"sessions show", "<ref>"},
		{"sessions show short", "this is no ref"},
		{"sessions explain " + ref, "this is no ref"},
		{"sessions revoke", "write one of REF, --user USER and --all"},
		{"sessions revoke --all --user=ann", "write one of REF, --user USER and --all"},
		{"sessions revoke --user=ann --before=1h", "write --all --before TIME"},
		{"sessions revoke --user=", "--user: write a user"},
		{"store migrate", "--from"},
		{"store migrate --from=sqlite:x.db", "--to"},
		{"store migrate --from=memory: --to=sqlite:x.db", "--from: memory:"},
		{"store migrate --from=sqlite:x.db --to=memory:", "--to: memory:"},
		{"store migrate --from=sqlite:x.db --to=mysql:", "--to: --store: this is no store"},
		{"store migrate --from=sqlite:x.db --to=sqlite:x.db", "are the same namespace of the same store"},
		{"store migrate --from=sqlite:x.db --to=sqlite:y.db --to-namespace=Big", "--namespace"},
		{"store migrate --from=sqlite:x.db --to=sqlite:y.db --to-key-ring=absent", "--to: --key-ring: read key file absent"},
		{"store migrate --from=sqlite:x.db --to=sqlite:y.db --kind=Big", "--kind"},
		{"store migrate --from=sqlite:x.db --to=sqlite:y.db --interval=0", "write one such as 24h"},
		{"keys rotate", "--key-ring: write the file of the ring"},
		{"keys rotate --key-ring=absent", "--key-ring: read key file absent"},
		{"keys rotate --settle=0", "write one such as 24h"},
		{"keys rotate --pause=-1s", "write one such as 500ms"},
		{"keys revoke x", "--key-ring: write the file of the ring"},
		{"keys revoke", "<key>"},
		{"doctor --store=memory:", "write --store sqlite:PATH"},
		{"doctor --store=nats:", "write nats://HOST:4222"},
	} {
		expectMistake(t, c.want, strings.Fields(c.args)...)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("a mistake left files behind: %v, %v", entries, err)
	}
}

func TestMistakesDoNotRepeatSecrets(t *testing.T) {
	t.Chdir(t.TempDir())
	const password = "hunter2"
	for _, args := range [][]string{
		{"serve", "--store=mysql://root:" + password + "@localhost"},
		{"serve", "--store=redis://:" + password + "@localhost?colour=red"},
		{"serve", "--store=redis://:" + password + "@local host"},
		{"serve", "--store=redis://:" + password + "@127.0.0.1:1"},
		{"serve", "--store=postgres://ann:" + password + "@local host/x"},
		{"serve", "--store=postgres://ann:" + password + "@localhost/x?pool_max_conns=x"},
		{"serve", "--store=postgres://ann:" + password + "@127.0.0.1:1/x"},
		{"serve", "--store=postgres://127.0.0.1:1/x?user=ann&password=" + password},
		{"serve", "--cache=l1=1MiB,l2=redis://:" + password + "@localhost?colour=red"},
		{"serve", "--cache=l1=1MiB,l2=redis://:" + password + "@local host"},
		{"store", "migrate", "--from=redis://:" + password + "@127.0.0.1:1", "--to=sqlite:x.db"},
		{"store", "migrate", "--from=sqlite:x.db", "--to=redis://:" + password + "@h?colour=red"},
		{"sessions", "list", "--admin=http://ann:" + password + "@localhost"},
		{"doctor", "--admin=http://localhost?token=" + password},
		{"serve", "--encryption-key=" + password},
		{"sessions", "show", "not-a-ref." + password},
	} {
		if _, stderr, _ := command(t, args...); strings.Contains(stderr, password) {
			t.Errorf("%q: %q repeats the password", args, stderr)
		}
	}
}

// plain takes out of the environment what would steer coatcheck.
func plain(t *testing.T) {
	t.Helper()
	for _, name := range []string{"SESSION_STORE", "REDIS_URL", "DATABASE_URL", guideKey} {
		t.Setenv(name, "") // so that it is put back
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEnvironmentStandsInForFlags(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	for _, c := range []struct{ name, value, want string }{
		{"COATCHECK_STORE", "nats:", "write nats://HOST:4222"},
		{"SESSION_STORE", "redis", "REDIS_URL, which is not set"},
		{"SESSION_STORE", "postgres", "DATABASE_URL, which is not set"},
		{"SESSION_STORE", "nonsense", "write memory:, sqlite:PATH"},
		{"SESSION_ENCRYPTION_KEY", "c2VjcmV0", "32 random bytes in base64"},
		{"SESSION_ENCRYPTION_KEY", "", "32 random bytes in base64"},
		{"COATCHECK_ENCRYPTION_KEY", "absent", "--encryption-key: there is no such file"},
		{"COATCHECK_KEY_RING", "absent", "--key-ring: read key file absent"},
		{"COATCHECK_CACHE", "l1=lots", "--cache: l1:"},
		{"COATCHECK_REPLICATION", "some", "write none, leader, quorum or all"},
		{"COATCHECK_BATCH", "yes", "--batch:"},
		{"COATCHECK_CACHE_STALENESS", "soon", "write one such as 24h"},
		{"COATCHECK_LISTEN", "0.0.0.0:0", "write --auth tokens:FILE"},
		{"COATCHECK_ADMIN_LISTEN", "0.0.0.0:0", "write --admin-token-file FILE"},
		{"COATCHECK_IDLE_TIMEOUT", "soon", "write one such as 24h"},
		{"COATCHECK_ID_BYTES", "8", "use 16 to 64"},
		{"COATCHECK_MAX_SESSIONS_PER_USER", "-1", "--max-sessions-per-user"},
		{"COATCHECK_TLS_CERT", "cert.pem", "write both or neither"},
		{"COATCHECK_AUTH", "basic", "write none, tokens:FILE or jwt:JWKS-FILE-OR-URL"},
		{"COATCHECK_NAMESPACE", "Big", "--namespace"},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			expectMistake(t, c.want, "serve")
		})
	}
	t.Run("a URL of another store", func(t *testing.T) {
		t.Setenv("REDIS_URL", "postgres://ann:hunter2@localhost/x")
		t.Setenv("DATABASE_URL", "redis://localhost")
		expectMistake(t, "REDIS_URL is of another store", "serve", "--store=redis")
		expectMistake(t, "DATABASE_URL is of another store", "serve", "--store=postgres")
	})
	t.Run("a URL with a mistake", func(t *testing.T) {
		t.Setenv("REDIS_URL", "redis://localhost?colour=red")
		t.Setenv("DATABASE_URL", "localhost")
		expectMistake(t, "REDIS_URL: redis store", "serve", "--store=redis")
		expectMistake(t, "DATABASE_URL: this is no store", "serve", "--store=postgres")
	})
	t.Run("flags win", func(t *testing.T) {
		t.Setenv("COATCHECK_STORE", "nats:")
		expectMistake(t, "write --store sqlite:PATH", "doctor", "--store=memory:")
	})
	t.Run("our names win over the guide's", func(t *testing.T) {
		t.Setenv("COATCHECK_STORE", "memory:")
		t.Setenv("SESSION_STORE", "redis")
		expectMistake(t, "write --store sqlite:PATH", "doctor")
	})
	t.Run("a server to ask", func(t *testing.T) {
		t.Setenv("COATCHECK_ADMIN", "nonsense")
		expectMistake(t, "--admin: this is no URL", "doctor", "--store=memory:")
		expectMistake(t, "--admin: this is no URL", "sessions", "list")
	})
	t.Run("nothing is revoked because of a variable", func(t *testing.T) {
		t.Setenv("COATCHECK_ALL", "true")
		t.Setenv("COATCHECK_USER", "ann")
		expectMistake(t, "write one of REF", "sessions", "revoke")
	})
}

func TestAWholeIDIsNotTakenForARef(t *testing.T) {
	const ref, secret = "0g1k7v2d9e4b8c3a5f6h0j1m2n3o", "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"
	_, stderr, status := command(t, "sessions", "show", ref+"."+secret)
	if status != exitUsage || strings.Contains(stderr, secret) {
		t.Errorf("status %d, %q", status, stderr)
	}
}

func TestWhatTheWorldRefusesExits1AndIsNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := writeFile(t, "plain", "not a database, but long enough to be taken for one")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"port in use":           {[]string{"serve", "--listen=" + taken.Addr().String(), "--admin-listen=127.0.0.1:0"}, taken.Addr().String()},
		"admin port in use":     {[]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=" + taken.Addr().String()}, taken.Addr().String()},
		"store below a file":    {[]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=sqlite:" + file + "/x.db"}, file},
		"store is no database":  {[]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=sqlite:" + file}, file},
		"no redis":              {[]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=redis://ann:x@" + nobody(t)}, "redis://127.0.0.1:"},
		"no cache":              {[]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=memory:", "--cache=l1=1MiB,l2=redis://ann:hunter2@" + nobody(t)}, "open cache l2=redis://127.0.0.1:"},
		"no postgres":           {[]string{"doctor", "--store=postgres://ann:x@" + nobody(t) + "/x"}, "see above"},
		"no server to ask":      {[]string{"sessions", "list", "--admin=http://" + nobody(t)}, "ask the server at http://127.0.0.1:"},
		"no store to copy":      {[]string{"store", "migrate", "--from=sqlite:absent.db", "--to=sqlite:new.db"}, "absent.db"},
		"no store to look into": {[]string{"sessions", "list", "--store=sqlite:absent.db"}, "absent.db"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, status := command(t, c.args...)
			if status != exitError || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("status %d, %q; want status 1 and one line with %q", status, stderr, c.want)
			}
		})
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("files were left behind: %v, %v", entries, err)
	}
}

// nobody returns an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"sessions", "revoke", "--help"}, {"version"}} {
		stdout, stderr, status := command(t, args...)
		if status != exitOK || stdout == "" || stderr != "" {
			t.Errorf("%q: status %d, stdout %q, stderr %q", args, status, stdout, stderr)
		}
	}
}
