package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestReplicasVerifyOneAnother has two replicas with HTTPS and mutual TLS between
// them. That they know of one another shows in a session which both serve.
func TestReplicasVerifyOneAnother(t *testing.T) {
	cert, key, roots := certificate(t)
	dir := t.TempDir()
	flags := []string{
		"--advertise=https://127.0.0.1:0", "--tls-cert=" + cert, "--tls-key=" + key,
		"--peer-ca=" + cert, "--peer-cert=" + cert, "--peer-key=" + key,
	}
	one, two := serve(t, dir, flags...), serve(t, dir, flags...)
	client := &http.Client{Transport: noted.Transport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}})}
	defer client.CloseIdleConnections()
	r := sendWith(t, client, http.MethodPost, one.url, initialize, nil)
	headers := sessionHeaders(r.header.Get("Mcp-Session-Id"), "")
	sendWith(t, client, http.MethodPost, two.url, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, headers)
	for _, s := range []*server{two, one, two} {
		const whoami = `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"whoami","arguments":{}}}`
		r := sendWith(t, client, http.MethodPost, s.url, whoami, headers)
		if r.status != http.StatusOK || !strings.Contains(r.body, one.field("Replica")) {
			t.Errorf("whoami: %d %s, want the replica %s", r.status, r.body, one.field("Replica"))
		}
	}
	if status, text := two.get("/metrics"); status != http.StatusOK || !strings.Contains(text, `session_forwards_total{result="delivered"} 3`) {
		t.Errorf("/metrics: %d, %s", status, text)
	}
	// Somebody else's word is not taken for a replica's.
	headers["Coatcheck-Forward"] = "AQAA"
	if r := sendWith(t, client, http.MethodPost, one.url, `{"jsonrpc":"2.0","id":7,"method":"ping"}`, headers); r.status != http.StatusForbidden {
		t.Errorf("a forged header: %d %s", r.status, r.body)
	}
}

func TestReplicasNeedAStoreThatTheyShare(t *testing.T) {
	_, stderr, status := coatcheck(t, "serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=memory:", "--advertise=http://127.0.0.1:0")
	if status != 2 || !strings.Contains(stderr, "share") {
		t.Errorf("status %d: %s", status, stderr)
	}
	for _, flags := range [][]string{
		{"--advertise=nonsense"}, {"--advertise=http://a:b@127.0.0.1:1"}, {"--advertise=http://127.0.0.1:1/path"},
		{"--peer-ca=x"}, {"--advertise=http://127.0.0.1:0", "--peer-cert=x"},
	} {
		args := append([]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=sqlite:" + t.TempDir() + "/c.db"}, flags...)
		if _, stderr, status := coatcheck(t, args...); status != 2 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d: %s", fmt.Sprint(flags), status, stderr)
		}
	}
}

func TestDoctorSaysWhatWouldHappenIfAReplicaDied(t *testing.T) {
	dir := t.TempDir()
	store := "--store=sqlite:" + dir + "/coatcheck.db"
	details := func() (found []string) {
		for _, o := range objects(t, "doctor", store) {
			if o["check"] == "replica" {
				found = append(found, fmt.Sprint(o["result"], ": ", o["detail"]))
			}
		}
		return found
	}
	one := serve(t, dir, "--advertise=http://127.0.0.1:0")
	open(t, one.url, "")
	if got := details(); len(got) != 1 || !strings.Contains(got[0], "nobody would serve") || !strings.Contains(got[0], "1 sessions live") {
		t.Errorf("one replica: %q", got)
	}
	two := serve(t, dir, "--advertise=http://127.0.0.1:0")
	got := details()
	if len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), "ok: "+two.field("Replica")) || !strings.Contains(got[0], "1 others would serve") {
		t.Errorf("two replicas: %q", got)
	}
}
