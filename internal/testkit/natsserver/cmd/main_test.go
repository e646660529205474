package main

import (
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

func TestTLSIsUsedWithACertificateOnly(t *testing.T) {
	plain := &server.Options{}
	if err := useTLS(plain); err != nil || plain.TLS {
		t.Errorf("without a certificate: TLS is %v, %v", plain.TLS, err)
	}
	missing := filepath.Join(t.TempDir(), "missing.pem")
	if err := useTLS(&server.Options{TLSCert: missing, TLSKey: missing}); err == nil {
		t.Error("a certificate that is not there is taken")
	}
}
