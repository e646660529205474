package keyring

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how a ring is kept. The zero value is useful.
type Options struct {
	Master Master           // wraps the keys in the file; nil: they stand there as they are
	Clock  func() time.Time // nil: time.Now
	Rand   io.Reader        // nil: crypto/rand.Reader
}

func (o Options) defaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}

// A Ring holds keys. It is safe for concurrent use; readers never wait.
type Ring struct {
	opts Options
	path string // empty: not kept in a file
	// fixed: made from one key that stands elsewhere, and so not to be
	// changed: the change would be lost with the process.
	fixed bool

	mu  sync.Mutex // held while keys are replaced
	now atomic.Pointer[keys]
}

// keys are the keys of a ring at one time; never changed once they are in use.
type keys struct {
	root   *material
	list   []*Key // in the order of their creation
	byID   map[string]*Key
	active *Key
}

func (r *Ring) use(k *keys) {
	k.byID = make(map[string]*Key, len(k.list))
	for _, key := range k.list {
		k.byID[key.info.ID] = key
		if key.info.State == Active {
			k.active = key
		}
	}
	r.now.Store(k)
}

// New returns a ring in memory with one new key, which is active.
func New(opts Options) (*Ring, error) {
	r := &Ring{opts: opts.defaults()}
	root, err := newSecret(r.opts.Rand)
	if err != nil {
		return nil, err
	}
	first, err := r.newKey(Active)
	if err != nil {
		return nil, err
	}
	r.use(&keys{root: &material{secret: root}, list: []*Key{first}})
	return r, nil
}

// FromKey returns a ring of the one key that text is in base64, standard or
// URL-safe, padded or not: the form of SESSION_ENCRYPTION_KEY. Surrounding
// white space does not matter. The same key makes the same ring, its root and
// the key's ID included. Anything else is [ErrMalformedKey], which does not
// repeat the text.
func FromKey(text string) (*Ring, error) {
	secret, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	id := "one-" + hex.EncodeToString(secret.derive("id").reveal()[:4])
	r := &Ring{opts: Options{}.defaults(), fixed: true}
	r.use(&keys{
		root: &material{secret: secret.derive("root")},
		list: []*Key{{info: Info{ID: id, State: Active}, material: &material{secret: secret}}},
	})
	return r, nil
}

func parseKey(text string) (Secret, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		encoding = base64.RawURLEncoding
	}
	b, err := encoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return Secret{}, ErrMalformedKey
	}
	return SecretFromBytes(b)
}

// Active returns the key to seal with.
func (r *Ring) Active() *Key { return r.now.Load().active }

// Find returns the key that sealed something, to open it. The error is a
// [*KeyError]: [ErrUnknownKey] or [ErrRevokedKey].
func (r *Ring) Find(id string) (*Key, error) {
	k := r.now.Load().byID[id]
	switch {
	case k == nil && !validID(id):
		return nil, &KeyError{ID: "(malformed)", Err: ErrUnknownKey}
	case k == nil:
		return nil, &KeyError{ID: id, Err: ErrUnknownKey}
	case k.info.State == Revoked:
		return nil, &KeyError{ID: id, Err: ErrRevokedKey}
	}
	return k, nil
}

// Keys returns what may be known of all keys, oldest first.
func (r *Ring) Keys() []Info {
	list := r.now.Load().list
	infos := make([]Info, len(list))
	for i, k := range list {
		infos[i] = k.info
	}
	return infos
}

// Stable returns a secret that does not change with rotations: it is the same
// as long as the ring exists.
func (r *Ring) Stable(p Purpose) Secret {
	return r.now.Load().root.secret.derive("stable/" + string(p))
}

// String says how many keys there are and which is active.
func (r *Ring) String() string {
	k := r.now.Load()
	return fmt.Sprintf("key ring of %d, active %s", len(k.list), k.active.info.ID)
}

// Format implements [fmt.Formatter] for every verb.
func (r *Ring) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue implements [slog.LogValuer].
func (r *Ring) LogValue() slog.Value { return slog.StringValue(r.String()) }

// newKey makes a key whose name begins with the day, for people.
func (r *Ring) newKey(s State) (*Key, error) {
	secret, err := newSecret(r.opts.Rand)
	if err != nil {
		return nil, err
	}
	var b [4]byte
	if _, err := io.ReadFull(r.opts.Rand, b[:]); err != nil {
		return nil, fmt.Errorf("read random bytes for the name of a key: %w", err)
	}
	now := r.opts.Clock().UTC().Truncate(time.Second)
	id := now.Format("20060102") + "-" + hex.EncodeToString(b[:])
	return &Key{info: Info{ID: id, State: s, Created: now, Changed: now}, material: &material{secret: secret}}, nil
}

// clone returns keys that may be changed.
func (k *keys) clone() *keys {
	c := &keys{root: k.root, list: slices.Clone(k.list)}
	for i, key := range c.list {
		copied := *key
		c.list[i] = &copied
	}
	return c
}

func (k *keys) find(id string) (*Key, error) {
	for _, key := range k.list {
		if key.info.ID == id {
			return key, nil
		}
	}
	if !validID(id) {
		id = "(malformed)"
	}
	return nil, &KeyError{ID: id, Err: ErrUnknownKey}
}

// Run reads the file again every so often until ctx ends, so that keys that
// were made elsewhere are known here, and then returns nil. What goes wrong is
// given to report, if that is not nil, and the keys stay as they are.
func (r *Ring) Run(ctx context.Context, every time.Duration, report func(error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if _, err := r.Reload(ctx); err != nil && report != nil && ctx.Err() == nil {
			report(err)
		}
	}
}
