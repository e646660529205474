package embedded

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestURLsAreRead(t *testing.T) {
	t.Setenv(SecretVariable, "")
	for text, want := range map[string]Options{
		"cluster:?name=a&listen=127.0.0.1:7001": {
			Name: "a", Listen: "127.0.0.1:7001", Peers: []string{"127.0.0.1:7001"}, Nodes: 1, Replicas: 3,
			Dir: filepath.Join("coatcheck-data", "a"),
		},
		"cluster:?name=a&listen=127.0.0.1:7001&peers=127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003&dir=/d&sync=interval&replicas=1&secret-file=s": {
			Name: "a", Listen: "127.0.0.1:7001", Peers: []string{"127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003"},
			Nodes: 3, Replicas: 1, Dir: "/d", NoSync: true, SecretFile: "s",
		},
		"cluster:?name=a&listen=0.0.0.0:7001&peers=dns:n.example:7001&nodes=3&secret-file=s&sync=always&tls-cert=c&tls-key=k&tls-ca=x": {
			Name: "a", Listen: "0.0.0.0:7001", Peers: []string{"dns:n.example:7001"}, Nodes: 3, Replicas: 3,
			Dir: filepath.Join("coatcheck-data", "a"), SecretFile: "s", TLS: &TLS{Cert: "c", Key: "k", CA: "x"},
		},
	} {
		got, err := ParseURL(text)
		got.Logger, got.syncEvery = nil, 0
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestURLsThatCannotWorkAreExplained(t *testing.T) {
	t.Setenv(SecretVariable, "")
	const good = "cluster:?name=a&listen=127.0.0.1:7001"
	for text, want := range map[string]string{
		"cluster:":                             "write cluster:?name=NODE",
		"cluster://h:1?name=a":                 "write cluster:?name=NODE",
		"cluster:?name=%zz":                    "write % as %25",
		"cluster:?name=a":                      "listen: ",
		good + "&secret=hunter2":               `"secret" is not known: those of cluster: are dir,`,
		good + "&name=b":                       "name is there twice",
		good + "&dir=":                         "dir is empty",
		good + "&nodes=x":                      "is no number of nodes",
		good + "&replicas=0":                   "is no number of nodes",
		good + "&sync=never":                   "write always or interval",
		good + "&tls-cert=c":                   "write all three or none",
		"cluster:?name=a&listen=10.0.0.1:7001": "by secret-file=FILE or COATCHECK_CLUSTER_SECRET",
		"cluster:?name=a&listen=0.0.0.0:7001&peers=dns:n.example:70": "write nodes=3",
	} {
		_, err := ParseURL(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestSecretComesFromAFileOrTheEnvironment(t *testing.T) {
	t.Setenv(SecretVariable, secret)
	if opts, err := ParseURL("cluster:?name=a&listen=0.0.0.0:7001"); err != nil || opts.Secret != secret {
		t.Errorf("from the environment: %q, %v", opts.Secret, err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string // of the error
	}{
		{secret + "\n", 0o600, ""},
		{secret, 0o640, "chmod 600 it"},
		{"short", 0o600, "can be guessed"},
		{"\n", 0o600, "is empty"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		opts, err := ParseURL("cluster:?name=a&listen=0.0.0.0:7001&secret-file=" + file)
		if err != nil || opts.Secret != "" {
			t.Fatalf("parsed: %q, %v", opts.Secret, err)
		}
		err = opts.readSecret()
		if c.want == "" && (err != nil || opts.Secret != secret) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q, %v: %q, %v", c.text, c.mode, opts.Secret, err)
		}
	}
	missing := Options{SecretFile: file + "?"}
	if err := missing.readSecret(); err == nil {
		t.Error("a file that is not there was read")
	}
}
