package session

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A generator makes ids and operation ids.
type generator struct {
	rand        io.Reader
	routingKey  []byte
	secretBytes int
}

func newGenerator(opts Options) *generator {
	g := &generator{rand: rand.Reader, routingKey: opts.RoutingKey, secretBytes: opts.Policy.SecretBytes}
	if opts.Rand != nil {
		g.rand = &lockedReader{r: opts.Rand}
	}
	if g.routingKey == nil {
		// Spread, not secrecy: everybody can compute this key.
		sum := sha256.Sum256([]byte("coatcheck routing byte\x00" + opts.Namespace))
		g.routingKey = sum[:]
	}
	return g
}

// id makes an id for a new record of the user.
func (g *generator) id(user string) (ID, error) {
	routing, err := g.routing(user)
	if err != nil {
		return ID{}, err
	}
	ref, err := state.NewRef(routing, g.rand)
	if err != nil {
		return ID{}, err
	}
	return g.secretFor(ref)
}

// secretFor makes a new id for an existing record.
func (g *generator) secretFor(ref state.Ref) (ID, error) {
	raw := make([]byte, g.secretBytes)
	if err := g.read(raw); err != nil {
		return ID{}, err
	}
	return newID(ref, raw), nil
}

// routing returns the byte that a user's refs share; without a user it is
// random. It is a keyed hash, so that a ref tells nothing of its user to whoever lacks
// the key.
func (g *generator) routing(user string) (byte, error) {
	var b [1]byte
	if user == "" {
		err := g.read(b[:])
		return b[0], err
	}
	mac := hmac.New(sha256.New, g.routingKey)
	mac.Write([]byte(user))
	return mac.Sum(nil)[0], nil
}

// op makes an id for one attempt at a write.
func (g *generator) op() (state.OpID, error) {
	var id state.OpID
	err := g.read(id[:])
	return id, err
}

func (g *generator) read(b []byte) error {
	if _, err := io.ReadFull(g.rand, b); err != nil {
		return fmt.Errorf("read random bytes: %w", err)
	}
	return nil
}

// lockedReader makes an injected reader safe for concurrent use.
type lockedReader struct {
	mu sync.Mutex // guards r
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
