package cluster

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// PeerPath is where members reach one another beside what they forward:
// [Node.Peers] must be mounted there.
const PeerPath = "/.coatcheck/peer"

func trimSlash(url string) string { return strings.TrimSuffix(url, "/") }

// maxBatch bounds the letters of one request to the peer endpoint, in bytes. It
// has room for the largest.
const maxBatch = 256 << 10

// letterFixed is what a letter takes in a batch beside topic and payload.
const letterFixed = 1 + 4

// appendBatch appends letters in the form in which they are sent: the number of
// the first, then for each the length of its topic in a byte, the topic, the
// length of its payload in four, and the payload.
func appendBatch(b []byte, first uint64, letters []letter) []byte {
	b = binary.BigEndian.AppendUint64(b, first)
	for _, l := range letters {
		b = append(b, byte(len(l.topic)))
		b = append(b, l.topic...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(l.payload)))
		b = append(b, l.payload...)
	}
	return b
}

var errBatch = errors.New("malformed messages")

// parseBatch is the reverse of appendBatch.
func parseBatch(b []byte) (first uint64, letters []letter, err error) {
	if len(b) < 8 {
		return 0, nil, errBatch
	}
	first, b = binary.BigEndian.Uint64(b), b[8:]
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || n > MaxTopic || len(b) < 1+n+4 {
			return 0, nil, errBatch
		}
		topic := string(b[1 : 1+n])
		size := binary.BigEndian.Uint32(b[1+n:])
		b = b[1+n+4:]
		if size > MaxPayload || int(size) > len(b) {
			return 0, nil, errBatch
		}
		letters = append(letters, letter{topic: topic, payload: b[:size:size]})
		b = b[size:]
	}
	return first, letters, nil
}

// Peers returns the handler of what members say to one another. Mount it at
// [PeerPath] on the listener that Options.Advertise leads to. It accepts
// nothing but what a member has signed.
func (n *Node) Peers() http.Handler { return http.HandlerFunc(n.servePeer) }

func (n *Node) servePeer(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	_, p, err := n.accept(r, messaging)
	if err != nil {
		n.stats.refused.Add(1)
		Refuse(w, err)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBatch+8))
	if err != nil {
		http.Error(w, "cannot read the messages", http.StatusBadRequest)
		return
	}
	first, letters, err := parseBatch(body)
	if err != nil {
		http.Error(w, "malformed messages", http.StatusBadRequest)
		return
	}
	p.inbox.receive(n, p.name, first, letters)
	w.WriteHeader(http.StatusNoContent)
}

// An inbox knows which messages of a sender have come.
type inbox struct {
	mu    sync.Mutex // held while subscribers are called, so that they see the order
	begun bool
	next  uint64 // the number expected
}

// receive tells the subscribers what is new.
func (b *inbox) receive(n *Node, from string, first uint64, letters []letter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.begun {
		b.begun, b.next = true, first
	}
	missed := first > b.next
	for i, l := range letters {
		number := first + uint64(i)
		if number < b.next {
			continue
		}
		b.next = number + 1
		n.stats.received.Add(1)
		n.topics.tell(Message{From: from, Topic: l.topic, Payload: l.payload, Missed: missed})
		missed = false
	}
}
