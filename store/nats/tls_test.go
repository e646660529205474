package nats_test

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

func TestServerAndClientKnowOneAnotherByCertificates(t *testing.T) {
	t.Parallel()
	ours, others := testkit.NewAuthority(t), testkit.NewAuthority(t)
	cert, key := ours.Issue("server")
	server := natsserver.Start(t, "-sync=false", "-cert", cert, "-key", key, "-ca", ours.CA())
	// at is the address of the server with certificates of the client's.
	at := func(scheme, ca, cert, key string) string {
		q := url.Values{"streams": {"1"}}
		for name, file := range map[string]string{"ca": ca, "cert": cert, "key": key} {
			if file != "" {
				q.Set(name, file)
			}
		}
		return scheme + "://" + server.Addr() + "?" + q.Encode()
	}
	cert, key = ours.Issue("client")
	s, err := nats.OpenURL(within(t, patience), at("tls", ours.CA(), cert, key))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Get(within(t, patience), create(t, s, "alice")); err != nil {
		t.Error(err)
	}
	foreign, foreignKey := others.Issue("client")
	for what, address := range map[string]string{
		"an authority that is not the server's": at("tls", others.CA(), cert, key),
		"the authorities of the system":         at("tls", "", cert, key),
		"no certificate of its own":             at("tls", ours.CA(), "", ""),
		"a certificate of another authority":    at("tls", ours.CA(), foreign, foreignKey),
		"no TLS":                                at("nats", "", "", ""),
	} {
		s, err := nats.OpenURL(within(t, 10*time.Second), address)
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, state.ErrUnavailable) {
			t.Errorf("with %s: %v", what, err)
		}
	}
}
