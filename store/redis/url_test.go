package redis_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

func TestParseURLReadsEverything(t *testing.T) {
	o, err := redis.ParseURL("redis://ann:s%40cret@h1/3?addr=h2:7000&addr=h3&master=mine&mode=sentinel" +
		"&sentinel_username=su&sentinel_password=sp&prefix=p:&pool_max=9&pool_min_idle=2&pool_idle_timeout=7s" +
		"&pipelines=4&connect_timeout=1s&timeout=2s&replication=leader&deletes=all&writes=quorum&replicas=2&wait_timeout=300ms" +
		"&clock_error=20ms&client_name=me")
	if err != nil {
		t.Fatal(err)
	}
	want := redis.Options{
		Addresses: []string{"h1:26379", "h2:7000", "h3:26379"}, Mode: redis.Sentinel, Database: 3,
		Username: "ann", Password: "s@cret", Master: "mine", SentinelUsername: "su", SentinelPassword: "sp",
		Prefix: "p:", Pool: redis.Pool{Max: 9, MinIdle: 2, IdleTimeout: 7 * time.Second}, Pipelines: 4,
		ConnectTimeout: time.Second, Timeout: 2 * time.Second, Replication: state.ReplicateLeader, Deletes: state.ReplicateAll, Writes: state.ReplicateQuorum,
		Replicas: 2, WaitTimeout: 300 * time.Millisecond, ClockError: 20 * time.Millisecond, ClientName: "me",
	}
	if got, want := show(o), show(want); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for url, address := range map[string]string{
		"redis://h": "h:6379", "redis://h:1": "h:1", "redis://[::1]": "[::1]:6379", "redis://[::1]:5/0": "[::1]:5", "rediss://h": "h:6379",
	} {
		o, err := redis.ParseURL(url)
		if err != nil || len(o.Addresses) != 1 || o.Addresses[0] != address || (o.TLS != nil) != strings.HasPrefix(url, "rediss") {
			t.Errorf("%s: %v, %v", url, o.Addresses, err)
		}
	}
}

// show writes options without what cannot be compared.
func show(o redis.Options) string {
	o.TLS, o.Dial = nil, nil
	var b strings.Builder
	for _, f := range []any{
		o.Addresses, o.Mode, o.Database, o.Username, o.Password, o.Master, o.SentinelUsername, o.SentinelPassword, o.Prefix,
		o.Pool, o.Pipelines, o.ConnectTimeout, o.Timeout, o.Replication, o.Deletes, o.Writes, o.Replicas, o.WaitTimeout, o.ClockError, o.ClientName,
	} {
		b.WriteString(strings.TrimSpace(fmt.Sprint(f)) + "\n")
	}
	return b.String()
}

func TestParseURLRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, url := range []string{
		"", "h:6379", "http://h", "redis://", "redis://h/x", "redis://h/-1", "redis://h?pool_max=x", "redis://h?pool_max=-1",
		"redis://h?timeout=5", "redis://h?timeout=-1s", "redis://h?deletes=most", "redis://h?poolmax=3", "redis://h?prefix=a{b}",
		"redis://h?mode=ring", "redis://h?mode=sentinel", "redis://h?mode=standalone&addr=h2", "redis://h/1?mode=cluster",
		"redis://h?ca=/tmp/x", "rediss://h?ca=/does/not/exist", "rediss://h?cert=/does/not/exist", "redis://h?timeout=1s&timeout=2s",
		"redis://h?pool_max=2&pool_min_idle=3", "redis://h?pipelines=3", "redis://user:hunter2@h:port:x",
	} {
		_, err := redis.ParseURL(url)
		if !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%q: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func TestPasswordsAreUsedAndNotRepeated(t *testing.T) {
	server := redisserver.Start(t)
	server.Do("ACL", "SETUSER", "ann", "on", ">hunter2", "~*", "&*", "+@all")
	s, err := redis.OpenURL(within(t, time.Minute), "redis://ann:hunter2@"+server.Addr()+"/2?prefix=p:")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	create(t, s, "alice")
	if n := server.Do("EVAL", "redis.call('SELECT', 2) return #redis.call('KEYS', 'p:{test.07}:*')", "0"); n == "0" {
		t.Error("no keys in database 2")
	}
	_, err = redis.OpenURL(within(t, time.Minute), "redis://ann:hunter3@"+server.Addr())
	if !errors.Is(err, state.ErrUnavailable) || strings.Contains(err.Error(), "hunter3") {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestUnreachableServerIsNamed(t *testing.T) {
	_, err := redis.OpenURL(within(t, time.Minute), "redis://127.0.0.1:1?connect_timeout=1s")
	if !errors.Is(err, state.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	port := redisserver.FreePort(t)
	redisserver.Start(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	s, err := redis.OpenURL(within(t, time.Minute), "rediss://127.0.0.1:"+port+"?ca="+cert)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Get(context.Background(), create(t, s, "alice")); err != nil {
		t.Error(err)
	}
	if _, err := redis.OpenURL(within(t, time.Minute), "rediss://127.0.0.1:"+port); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("a certificate of nobody known: %v", err)
	}
	if _, err := redis.OpenURL(within(t, time.Minute), "rediss://127.0.0.1:"+port+"?server_name=other&ca="+cert); err == nil {
		t.Error("a certificate for another name was accepted")
	}
}

// certificate writes a self-signed one for the loopback address.
func certificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
