package embedded

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// An authority certifies nodes.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes a certificate and its key.
func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".crt", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", private)
	return cert, key
}

func (a *authority) write(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// node is a certificate for a node on the loopback interface.
func (a *authority) node(name string) *TLS {
	a.t.Helper()
	a.issue(name, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return &TLS{
		Cert: filepath.Join(a.dir, name+".crt"), Key: filepath.Join(a.dir, name+".key"), CA: filepath.Join(a.dir, "ca.crt"),
	}
}

func TestNodesKnowOneAnotherByCertificates(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t), newAuthority(t)
	peers := testkit.Addresses(t, 3)
	a := Options{Name: "a", Listen: peers[0], Dir: t.TempDir(), Secret: secret, TLS: ours.node("a")}
	one := start(t, a)
	b := Options{Name: "b", Listen: peers[1], Peers: peers[:2], Dir: t.TempDir(), Secret: secret, TLS: ours.node("b")}
	start(t, b)
	eventually(t, "the second node is connected", func() bool {
		members, err := one.Members(t.Context())
		return err == nil && len(members) == 2 && members[1].Connected
	})

	plain := Options{Name: "c", Listen: peers[2], Peers: peers, Dir: t.TempDir(), Secret: secret}
	foreign := plain
	foreign.TLS = others.node("c")
	for what, opts := range map[string]Options{"without TLS": plain, "of another authority": foreign} {
		opts.Dir = t.TempDir()
		fails(t, opts, futile/3, "no majority")
		if members, err := one.Members(t.Context()); err != nil || len(members) != 2 {
			t.Errorf("after a node %s: %+v, %v", what, members, err)
		}
	}
}
