package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrKeysUnavailable: the keys could not be read for so long that those known
// are not trusted any more. It says nothing about the token.
var ErrKeysUnavailable = errors.New("the issuer's keys cannot be read")

// KeysOptions of [OpenKeys]. The zero value is that of a server.
type KeysOptions struct {
	// Refresh is how often Run reads the keys again; zero: 10 min, or 5 s for
	// a file.
	Refresh time.Duration
	// MinRefetch is the least time between two reads that unknown key ids
	// cause, however many tokens name them; zero: 10 s, or 1 s for a file.
	MinRefetch time.Duration
	// MaxStale is how long keys are trusted that cannot be read again; zero:
	// 24 h.
	MaxStale time.Duration
	// Client fetches a URL; nil: one with a timeout of 10 s, which follows
	// redirects to https alone.
	Client *http.Client
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged
}

func (o KeysOptions) defaults(file bool) KeysOptions {
	refresh, refetch := 10*time.Minute, 10*time.Second
	if file {
		refresh, refetch = 5*time.Second, time.Second
	}
	fill(&o.Refresh, refresh)
	fill(&o.MinRefetch, refetch)
	fill(&o.MaxStale, 24*time.Hour)
	if o.Client == nil {
		o.Client = &http.Client{Timeout: fetchTimeout, CheckRedirect: checkRedirect}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

const (
	fetchTimeout = 10 * time.Second
	maxRedirects = 5
)

// Keys are the public keys of an issuer, from a JWKS file or URL. They are read
// again by [Keys.Run], and when a token names a key that is not there: so new
// keys count at once, and withdrawn ones stop to within [KeysOptions.Refresh].
// Keys is safe for concurrent use.
type Keys struct {
	source string
	file   bool
	opts   KeysOptions
	set    atomic.Pointer[reading]

	mu      sync.Mutex    // guards what follows
	tried   time.Time     // when the last read began
	running chan struct{} // closed when the read under way is over; nil without one
}

// A reading is what was read, and when.
type reading struct {
	*keySet
	at time.Time
}

// OpenKeys reads the keys from a file, or from a URL: https, or http to a
// loopback address.
func OpenKeys(ctx context.Context, source string, opts KeysOptions) (*Keys, error) {
	file := !strings.Contains(source, "://")
	k := &Keys{source: source, file: file, opts: opts.defaults(file)}
	if !file {
		u, err := url.Parse(source)
		if err != nil {
			return nil, errors.New("the URL of the key set is malformed")
		}
		if err := checkURL(u); err != nil {
			return nil, err
		}
	}
	if err := k.Refresh(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// checkURL refuses to take keys from where somebody else could change them.
func checkURL(u *url.URL) error {
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	loopback := host == "localhost" || err == nil && ip.Unmap().IsLoopback()
	switch {
	case u.Host == "" || u.User != nil:
		return errors.New("the URL of the key set must name a host and no user")
	case u.Scheme == "https", u.Scheme == "http" && loopback:
		return nil
	}
	return errors.New("the key set must come over https, or from a loopback address")
}

func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errors.New("too many redirects")
	}
	return checkURL(r.URL)
}

// Run reads the keys again and again until ctx ends. What could not be read is
// logged, and the keys known stay in use.
func (k *Keys) Run(ctx context.Context) error {
	tick := time.NewTicker(k.opts.Refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			k.refreshLogged(ctx)
		}
	}
}

func (k *Keys) refreshLogged(ctx context.Context) {
	if err := k.Refresh(ctx); err != nil && ctx.Err() == nil {
		k.opts.Logger.WarnContext(ctx, "could not read the keys of an issuer; those known stay in use", "error", err)
	}
}

// Refresh reads the keys now. After an error those known stay in use.
func (k *Keys) Refresh(ctx context.Context) error {
	done := k.begin(0)
	if done == nil {
		return k.wait(ctx)
	}
	return k.read(ctx, done)
}

// current returns the keys, or ErrKeysUnavailable.
func (k *Keys) current() (*keySet, error) {
	r := k.set.Load()
	if k.opts.Clock().Sub(r.at) > k.opts.MaxStale {
		return nil, ErrKeysUnavailable
	}
	return r.keySet, nil
}

// find returns the keys for a token's header. If it names one that is not
// there, the keys are read again, at most once per MinRefetch.
func (k *Keys) find(ctx context.Context, kid, alg string) (*keySet, error) {
	set, err := k.current()
	if err == nil && (kid == "" || set.has(kid)) {
		return set, nil
	}
	if done := k.begin(k.opts.MinRefetch); done != nil {
		// Others wait for this read, so it does not end with ctx.
		k.refetch(context.WithoutCancel(ctx), done)
	} else if err := k.wait(ctx); err != nil {
		return nil, err
	}
	return k.current()
}

func (k *Keys) refetch(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if err := k.read(ctx, done); err != nil {
		k.opts.Logger.WarnContext(ctx, "could not read the keys of an issuer; those known stay in use", "error", err)
	}
}

// begin makes the caller the one who reads, unless somebody does already or did
// within the interval.
func (k *Keys) begin(interval time.Duration) chan struct{} {
	now := k.opts.Clock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running != nil || interval > 0 && now.Sub(k.tried) < interval {
		return nil
	}
	k.tried, k.running = now, make(chan struct{})
	return k.running
}

// wait waits for the read under way, if there is one.
func (k *Keys) wait(ctx context.Context) error {
	k.mu.Lock()
	running := k.running
	k.mu.Unlock()
	if running == nil {
		return nil
	}
	select {
	case <-running:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read reads the keys, and lets those go on who wait for it.
func (k *Keys) read(ctx context.Context, done chan struct{}) error {
	defer func() {
		k.mu.Lock()
		k.running = nil
		k.mu.Unlock()
		close(done)
	}()
	at := k.opts.Clock()
	text, err := k.load(ctx)
	if err != nil {
		return fmt.Errorf("read key set %s: %w", k.name(), err)
	}
	set, err := parseKeySet(text)
	if err != nil {
		return fmt.Errorf("read key set %s: %w", k.name(), err)
	}
	k.set.Store(&reading{keySet: set, at: at})
	return nil
}

// name is what messages call the source: a URL without its query, which may
// hold a secret.
func (k *Keys) name() string {
	if u, err := url.Parse(k.source); !k.file && err == nil {
		return u.Scheme + "://" + u.Host + u.EscapedPath()
	}
	return k.source
}

func (k *Keys) load(ctx context.Context) ([]byte, error) {
	if k.file {
		f, err := os.Open(k.source)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, errors.New("not a regular file")
		}
		return io.ReadAll(io.LimitReader(f, MaxKeySetBytes+1))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.source, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := k.opts.Client.Do(r)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, MaxKeySetBytes+1))
}

// withoutURL takes the URL, query and all, out of an error of the client.
func withoutURL(err error) error {
	var fetch *url.Error
	if errors.As(err, &fetch) {
		err = fetch.Err
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	return err
}
