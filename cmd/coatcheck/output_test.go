package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestWhatClientsChoseCannotSteerTheTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"ann":            "ann",
		"ann@mail":       "ann@mail",
		"Ünal":           "Ünal",
		"":               "-",
		"a\tb":           `"a\tb"`,
		"a\nb":           `"a\nb"`,
		"\x1b[2Jcleared": `"\x1b[2Jcleared"`,
		"\xff":           `"\xff"`,
		"a\u202eb":       `"a\u202eb"`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %s, want %s", in, got, want)
		}
	}
	var out strings.Builder
	p := newPrinter(&out, false)
	for _, cells := range [][]string{{"HEAD", "TAIL"}, {"a\tb\n", ""}} {
		if err := p.header(cells...); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	if want := "HEAD      TAIL\n\"a\\tb\\n\"  -\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestMoments(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-11-23T15:04:05Z":      time.Date(2026, 11, 23, 15, 4, 5, 0, time.UTC),
		"2026-11-23T15:04:05+02:00": time.Date(2026, 11, 23, 13, 4, 5, 0, time.UTC),
		"2026-11-23":                time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
	} {
		var m moment
		if err := m.UnmarshalText([]byte(text)); err != nil || !time.Time(m).Equal(want) {
			t.Errorf("%s = %v, %v; want %v", text, time.Time(m), err, want)
		}
	}
	var m moment
	before := time.Now()
	if err := m.UnmarshalText([]byte("2h")); err != nil {
		t.Fatal(err)
	}
	if got := time.Time(m); got.Before(before.Add(-2*time.Hour)) || got.After(time.Now().Add(-2*time.Hour)) {
		t.Errorf("2h = %v, asked at %v", got, before)
	}
	for _, text := range []string{"", "-2h", "yesterday", "2026-13-01"} {
		if err := m.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for a time", text)
		}
	}
}

func TestPrefixes(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.7": "10.0.0.7/32", "10.1.2.3/8": "10.0.0.0/8", "::1": "::1/128", "::ffff:10.0.0.7": "10.0.0.7/32", "fd00::/8": "fd00::/8",
	} {
		var p prefix
		if err := p.UnmarshalText([]byte(text)); err != nil || netip.Prefix(p).String() != want {
			t.Errorf("%s = %s, %v; want %s", text, netip.Prefix(p).String(), err, want)
		}
	}
}

func TestLoopbackAddresses(t *testing.T) {
	for addr, want := range map[listenAddr]bool{
		"127.0.0.1:80": true, "127.9.9.9:80": true, "[::1]:80": true, "localhost:80": true, "[::ffff:127.0.0.1]:80": true,
		":80": false, "0.0.0.0:80": false, "[::]:80": false, "10.0.0.1:80": false, "example.com:80": false,
	} {
		if got := addr.loopback(); got != want {
			t.Errorf("%s: loopback %v, want %v", addr, got, want)
		}
	}
}
