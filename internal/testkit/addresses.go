package testkit

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Addresses returns so many on the loopback interface that nobody uses. They
// are below those that the system gives to connections, since a server that is
// down for a while has to find its own again.
func Addresses(t testing.TB, n int) []string {
	t.Helper()
	var all []string
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		defer l.Close() // when all are found, so that they differ
		if all = append(all, address); len(all) == n {
			return all
		}
	}
	t.Fatal("no free ports")
	return nil
}

// Port returns the port of one of them.
func Port(t testing.TB) int {
	t.Helper()
	_, text, err := net.SplitHostPort(Addresses(t, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
