package embedded

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// nodesName resolves to three addresses of the loopback interface.
const nodesName = "nodes.test"

// resolveNodes has this process resolve nodesName, as the name server of a
// deployment would, and nothing else that is not an address.
func resolveNodes() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		// A connection without packets speaks as DNS over TCP does.
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			answerDNS(server)
		}()
		return client, nil
	}}
}

// answerDNS answers one question: RFC 1035, section 4.
func answerDNS(conn net.Conn) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil || len(query) < 12 {
		return
	}
	end, labels := 12, []string(nil)
	for end < len(query) && query[end] != 0 {
		n := int(query[end])
		labels = append(labels, string(query[end+1:end+1+n]))
		end += 1 + n
	}
	question := query[12 : end+5]
	isA := binary.BigEndian.Uint16(query[end+1:]) == 1
	answer := append([]byte{}, query[:2]...)
	ours := strings.Join(labels, ".") == nodesName
	code, records := byte(3), 0 // no such name
	if ours {
		code = 0
	}
	if ours && isA {
		records = 3
	}
	answer = append(answer, 0x81, 0x80|code, 0, 1, 0, byte(records), 0, 0, 0, 0)
	answer = append(answer, question...)
	for i := range records {
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, byte(i+1))
	}
	_, _ = conn.Write(binary.BigEndian.AppendUint16(nil, uint16(len(answer)))) // whoever asked may be gone
	_, _ = conn.Write(answer)
}

func TestNodesFindOneAnotherByName(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(testkit.Addresses(t, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	var all []Options
	for i, name := range []string{"a", "b", "c"} {
		all = append(all, Options{
			Name: name, Listen: net.JoinHostPort(net.IPv4(127, 0, 0, byte(i+1)).String(), port),
			Peers: []string{dnsPrefix + nodesName + ":" + port}, Nodes: 3, Dir: t.TempDir(),
		})
	}
	for _, s := range startAll(t, all) {
		eventually(t, "a node has found the others", func() bool {
			members, err := s.Members(t.Context())
			return err == nil && len(members) == 3 && members[0].Connected && members[1].Connected && members[2].Connected
		})
	}
}
