package cluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		fmt.Fprintln(os.Stderr, runChild(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

const namespace = "default"

// A link is how one replica reaches the store. It can be cut, so that nothing
// gets through, and stalled, so that everything waits.
type link struct {
	state.Store

	mu      sync.Mutex // guards both
	cut     bool
	stalled chan struct{} // nil, or closed when the stall ends

	writes atomic.Int64 // operations that were tried
	lists  atomic.Int64
}

var errCut = fmt.Errorf("%w: the link is cut", state.ErrUnavailable)

func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

func (l *link) setStalled(stalled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case stalled && l.stalled == nil:
		l.stalled = make(chan struct{})
	case !stalled && l.stalled != nil:
		close(l.stalled)
		l.stalled = nil
	}
}

// pass waits while the link is stalled.
func (l *link) pass(ctx context.Context) error {
	for {
		l.mu.Lock()
		cut, stalled := l.cut, l.stalled
		l.mu.Unlock()
		if cut {
			return errCut
		}
		if stalled == nil {
			return nil
		}
		select {
		case <-stalled:
		case <-ctx.Done():
			return errors.Join(state.ErrUnknownOutcome, ctx.Err())
		}
	}
}

func (l *link) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if err := l.pass(ctx); err != nil {
		return state.Record{}, err
	}
	return l.Store.Get(ctx, key)
}

func (l *link) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	l.writes.Add(int64(len(ops)))
	if err := l.pass(ctx); err != nil {
		results := make([]state.Result, len(ops))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	return l.Store.Apply(ctx, ops...)
}

func (l *link) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	l.lists.Add(1)
	if err := l.pass(ctx); err != nil {
		return func(yield func(state.Record, error) bool) { yield(state.Record{}, err) }
	}
	return l.Store.List(ctx, q)
}

// A network carries connections between replicas in memory, so that time can be
// faked around it.
type network struct {
	mu    sync.Mutex // guards hosts
	hosts map[string]*host
}

// A host accepts connections.
type host struct {
	address string
	conns   chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error   { h.once.Do(func() { close(h.done) }); return nil }
func (h *host) Addr() net.Addr { return address(h.address) }

type address string

func (a address) Network() string { return "memory" }
func (a address) String() string  { return string(a) }

func (n *network) listen(name string) *host {
	h := &host{address: name + ":80", conns: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[h.address] = h
	return h
}

func (n *network) dial(ctx context.Context, _, to string) (net.Conn, error) {
	n.mu.Lock()
	h := n.hosts[to]
	n.mu.Unlock()
	if h == nil {
		return nil, errors.New("no such host")
	}
	here, there := net.Pipe()
	select {
	case h.conns <- there:
		return here, nil
	case <-h.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A world is a store with replicas around it.
type world struct {
	t       testing.TB
	store   *memory.Store
	network network
	timeout time.Duration
	names   int
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, store: memory.New(memory.Options{}), network: network{hosts: map[string]*host{}}, timeout: DefaultTimeout}
	t.Cleanup(func() { _ = w.store.Close() })
	return w
}

// A replica is a node with its link to the store and its server.
type replica struct {
	*Node
	world *world
	link  *link
	host  *host
	web   *http.Server
	mux   *http.ServeMux
	ended sync.WaitGroup
	dead  bool
}

// join starts a replica; it leaves with the test.
func (w *world) join() *replica {
	w.t.Helper()
	w.names++
	return w.joinAs(fmt.Sprintf("replica%d", w.names))
}

func (w *world) joinAs(name string) *replica {
	w.t.Helper()
	r := &replica{world: w, link: &link{Store: w.store}, host: w.network.listen(name), mux: http.NewServeMux()}
	n, err := Join(context.Background(), r.link, Options{
		Namespace: namespace, Advertise: "http://" + name + ":80", Timeout: w.timeout, dial: w.network.dial,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	r.Node = n
	r.mux.Handle(PeerPath, n.Peers())
	r.web = &http.Server{Handler: r.mux}
	r.ended.Go(func() { _ = r.web.Serve(r.host) })
	w.t.Cleanup(r.kill)
	return r
}

// kill ends a replica as kill -9 does: nobody is told. It may be called again.
func (r *replica) kill() {
	if r.dead {
		return
	}
	r.dead = true
	r.link.setCut(true)
	r.link.setStalled(false)
	_ = r.web.Close()
	r.ended.Wait()
	_ = r.Close()
}

// leave ends a replica in an orderly way.
func (r *replica) leave() {
	r.world.t.Helper()
	if err := r.Close(); err != nil {
		r.world.t.Fatal(err)
	}
	r.kill()
}

// session makes a record as a session has it.
func (w *world) session() state.Key {
	w.t.Helper()
	ref, err := state.NewRef(1, randomness{})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = state.Do(context.Background(), w.store, state.CreateOp{
		Record: state.Record{Namespace: namespace, Kind: "session", Ref: ref}, Idle: 90 * 24 * time.Hour, Lifetime: 90 * 24 * time.Hour,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return state.Key{Namespace: namespace, Ref: ref}
}

func (w *world) record(key state.Key) state.Record {
	w.t.Helper()
	r, err := w.store.Get(context.Background(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// locate returns where a replica believes an owner to be.
func (r *replica) locate(owner string) Place {
	r.world.t.Helper()
	p, err := r.Locate(context.Background(), owner)
	if err != nil {
		r.world.t.Fatal(err)
	}
	return p
}

func (r *replica) claim(key state.Key) uint64 {
	r.world.t.Helper()
	rec := r.world.record(key)
	epoch, err := r.Claim(context.Background(), key, rec.Epoch)
	if err != nil {
		r.world.t.Fatal(err)
	}
	return epoch
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
