package cluster

import (
	"fmt"
	"slices"
	"sync"
)

// Bounds of what is published.
const (
	// MaxPayload bounds the payload of a message, in bytes.
	MaxPayload = 64 << 10
	// MaxTopic bounds the name of a topic, in bytes.
	MaxTopic = 128

	// outboxMessages and outboxBytes bound what waits for a member. Over
	// them the oldest is dropped.
	outboxMessages = 4096
	outboxBytes    = 4 << 20
)

// A Message is one of another member.
type Message struct {
	From    string // the member's name
	Topic   string
	Payload []byte // nobody may change it
	// Missed: messages of this member before this one did not arrive,
	// whatever their topic.
	Missed bool
}

// Publish tells all other members. It does not wait for them. Messages arrive in
// the order in which one node published them, each once at most: a member that
// cannot be reached gets them later, until it lapses or too many wait for it,
// and then sees at the next one that it has missed some. Members that join
// later get nothing of what was published before. This node's own subscribers
// are not told.
func (n *Node) Publish(topic string, payload []byte) error {
	if topic == "" || len(topic) > MaxTopic || len(payload) > MaxPayload {
		return fmt.Errorf("publish: %w: a topic has 1 to %d bytes, a payload at most %d", ErrTooLarge, MaxTopic, MaxPayload)
	}
	if n.now.Load() == nil {
		return ErrClosed
	}
	m := letter{topic: topic, payload: slices.Clone(payload)}
	n.stats.published.Add(1)
	for _, p := range n.view.all() {
		p.outbox.add(m)
	}
	return nil
}

// Subscribe lets f have the messages of a topic that other members publish,
// until cancel is called. Those of one member come one after the other, in
// order; f is called by a request of that member and must return soon: what it
// publishes meanwhile waits. After cancel has returned f may still be running.
func (n *Node) Subscribe(topic string, f func(Message)) (cancel func()) {
	return n.topics.add(topic, f)
}

// topics are who is subscribed to what.
type topics struct {
	mu   sync.Mutex // guards subs and the numbers
	last uint64
	subs map[string][]subscription // slices are replaced, never changed
}

type subscription struct {
	id uint64
	f  func(Message)
}

func (t *topics) add(topic string, f func(Message)) (cancel func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	id := t.last
	if t.subs == nil {
		t.subs = map[string][]subscription{}
	}
	t.subs[topic] = append(slices.Clone(t.subs[topic]), subscription{id, f})
	return func() { t.remove(topic, id) }
}

func (t *topics) remove(topic string, id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(t.subs[topic]), func(s subscription) bool { return s.id == id })
	if len(kept) == 0 {
		delete(t.subs, topic)
		return
	}
	t.subs[topic] = kept
}

// tell calls the subscribers of a message.
func (t *topics) tell(m Message) {
	t.mu.Lock()
	subs := t.subs[m.Topic]
	t.mu.Unlock()
	for _, s := range subs {
		s.f(m)
	}
}
