package main

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// The types below are flags that say what to write when they are wrong.

// span is a positive duration.
type span time.Duration

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is no positive duration: write one such as 24h, 15m or 500ms", text)
	}
	*s = span(d)
	return nil
}

// wait is a duration that may be zero.
type wait time.Duration

func (w *wait) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no duration: write one such as 500ms, or 0s for none", text)
	}
	*w = wait(d)
	return nil
}

// level is a level of replication.
type level state.Replication

func (l *level) UnmarshalText(text []byte) error {
	r, err := state.ParseReplication(string(text))
	if err != nil {
		return fmt.Errorf("%q is no level: write none, leader, quorum or all", text)
	}
	*l = level(r)
	return nil
}

// prefix is a network or a single address.
type prefix netip.Prefix

func (p *prefix) UnmarshalText(text []byte) error {
	if parsed, err := netip.ParsePrefix(string(text)); err == nil {
		*p = prefix(parsed.Masked())
		return nil
	}
	addr, err := netip.ParseAddr(string(text))
	if err != nil || addr.Zone() != "" {
		return fmt.Errorf("%q is no network: write an address such as 10.0.0.7 or a network such as 10.0.0.0/8", text)
	}
	addr = addr.Unmap()
	*p = prefix(netip.PrefixFrom(addr, addr.BitLen()))
	return nil
}

// moment is a point in time, or how long ago it was.
type moment time.Time

func (m *moment) UnmarshalText(text []byte) error {
	if d, err := time.ParseDuration(string(text)); err == nil && d >= 0 {
		*m = moment(time.Now().Add(-d))
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			*m = moment(t)
			return nil
		}
	}
	return fmt.Errorf("%q is no time: write 2026-11-23T15:04:05Z, 2026-11-23, or how long ago, such as 2h", text)
}

// listenAddr is HOST:PORT.
type listenAddr string

func (l *listenAddr) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("%q is no address to listen on: write HOST:PORT such as 127.0.0.1:8080", text)
	}
	*l = listenAddr(text)
	return nil
}

// loopback reports whether only this machine can reach the address.
func (l listenAddr) loopback() bool {
	host, _, err := net.SplitHostPort(string(l))
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
