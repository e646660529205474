package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// silence is how long a server must not answer before it is taken for lost.
const silence = 12 * time.Second

// A Promotion says what becomes of a stream and its mirrors.
type Promotion struct {
	Stream string
	// Lost says that its server does not answer.
	Lost bool
	// Mirror is the one that takes its place, and Server who has it. Both are
	// empty if no mirror answers: then nothing can be done.
	Mirror, Server string
	// Messages is how many it has, Last the number of the last one, and Written
	// when that was. What came after it is lost.
	Messages, Last uint64
	Written        time.Time
	// Silent are mirrors whose servers do not answer. Others are made, if there
	// are servers for them.
	Silent []string
}

// Promote puts a mirror in the place of each stream whose only server does not
// answer, and is lost for good: that which has the most. What had not been
// mirrored is lost, and so is what a server acknowledges from now on that was not
// lost but cut off; when it comes back its streams are removed from it. Stores
// that are open go on by themselves, and tell their watchers of a Gap.
//
// If dry is set it changes nothing, and says what it would do. If it was ended in
// between it may be called again. It needs a majority of the servers.
func Promote(ctx context.Context, conn *natsgo.Conn, opts Options, dry bool) ([]Promotion, error) {
	opts.Level, opts.Replicas = state.ReplicateLeader, 1
	opts = opts.defaults()
	if err := opts.check(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("promote mirrors: %w", err)
	}
	s := newStore(conn, js, opts)
	defer s.cancel()
	r, err := s.callRoll(ctx)
	if err != nil {
		return nil, err
	}
	promotions, errs := make([]Promotion, opts.Streams), make([]error, opts.Streams)
	var wg sync.WaitGroup
	for i := range promotions {
		var heir *jetstream.StreamInfo
		promotions[i], heir = s.promotion(i, r)
		if dry {
			continue
		}
		wg.Go(func() { errs[i] = s.promote(ctx, i, &promotions[i], heir) })
	}
	wg.Wait()
	return promotions, errors.Join(errs...)
}

// A roll says what is there: the names of all streams, and of those that are this
// store's what their servers answered.
type roll struct {
	names []string
	infos map[string]*jetstream.StreamInfo
}

// callRoll gives each server time to answer. The leader of the servers has to be
// there before and after: without it silence says nothing.
func (s *Store) callRoll(ctx context.Context) (*roll, error) {
	all, err := s.allNames(ctx)
	if err != nil {
		return nil, err
	}
	r := &roll{infos: make(map[string]*jetstream.StreamInfo)}
	var mu sync.Mutex // guards r.infos
	var wg sync.WaitGroup
	for i := range s.opts.Streams {
		name, err := s.resolve(ctx, i)
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, fmt.Errorf("promote mirrors: %w", err)
		}
		for _, name := range append(s.listMirrors(i, all), name) {
			wg.Go(func() {
				info := s.listen(ctx, name)
				mu.Lock()
				defer mu.Unlock()
				r.infos[name] = info
			})
		}
	}
	wg.Wait()
	r.names, err = s.allNames(ctx)
	return r, errors.Join(err, ctx.Err())
}

// listen waits for the server of a stream. Nil: it does not answer, or there is no
// such stream.
func (s *Store) listen(ctx context.Context, name string) *jetstream.StreamInfo {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	for name != "" {
		info, err := s.mirrorInfo(ctx, name)
		if err == nil {
			return info
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) || !pause(ctx, 100*time.Millisecond) {
			break
		}
	}
	return nil
}

// promotion decides on a stream: the mirror that has the most takes its place. A
// stream that is there no more was taken away by a promotion that was ended.
func (s *Store) promotion(i int, r *roll) (p Promotion, heir *jetstream.StreamInfo) {
	p = Promotion{Stream: s.called(i), Lost: r.infos[s.called(i)] == nil}
	gone := !slices.Contains(r.names, p.Stream)
	for _, k := range s.mirrorNumbers(i, r.names) {
		info := r.infos[s.mirrorName(i, k)]
		if info == nil {
			p.Silent = append(p.Silent, s.mirrorName(i, k))
			continue
		}
		follows := info.Config.Mirror != nil && (gone || info.Config.Mirror.Name == p.Stream)
		if p.Lost && follows && (heir == nil || info.State.LastSeq > heir.State.LastSeq) {
			heir = info
		}
	}
	if heir != nil {
		p.Mirror, p.Server = heir.Config.Name, leaderName(heir)
		p.Messages, p.Last, p.Written = heir.State.Msgs, heir.State.LastSeq, heir.State.LastTime
	}
	return p, heir
}

// promote does what was decided.
func (s *Store) promote(ctx context.Context, i int, p *Promotion, heir *jetstream.StreamInfo) error {
	if p.Lost && heir == nil {
		return fmt.Errorf("promote a mirror of %s: %w: none answers", p.Stream, state.ErrUnavailable)
	}
	if p.Lost {
		if err := s.succeed(ctx, i, heir); err != nil {
			return err
		}
	}
	for _, name := range p.Silent {
		if err := s.remove(ctx, name); err != nil {
			return err
		}
	}
	return s.mirror(ctx, i) // the other mirrors follow what is no more
}

// succeed takes a stream away and puts its mirror in its place. Between the two
// nothing has its subjects, so that nobody takes what is not there for deleted.
func (s *Store) succeed(ctx context.Context, i int, heir *jetstream.StreamInfo) error {
	config := s.config(i, 1)
	if have := heir.Config.Metadata[streamsKey]; have != config.Metadata[streamsKey] {
		return invalid("streams", fmt.Sprintf("the store %s has %s streams, not %d: say so", s.opts.Name, have, s.opts.Streams))
	}
	if err := s.remove(ctx, heir.Config.Mirror.Name); err != nil {
		return err
	}
	config.Name = heir.Config.Name
	if _, err := s.js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("promote %s: %w", config.Name, err)
	}
	s.name(i, config.Name)
	return nil
}

// remove takes a stream away whose server may not answer any more. Then nobody
// says that it is done.
func (s *Store) remove(ctx context.Context, name string) error {
	for {
		try, cancel := context.WithTimeout(ctx, mirrorWait)
		err := s.js.DeleteStream(try, name)
		cancel()
		if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if all, err := s.allNames(ctx); err == nil && !slices.Contains(all, name) {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("take away %s: %w", name, errors.Join(err, ctx.Err()))
		}
	}
}

// notLost refuses to make a stream that is gone while mirrors of it are there:
// it would be empty, and what was in it would look as if it had never been.
func (s *Store) notLost(ctx context.Context, i int) error {
	all, err := s.allNames(ctx)
	if err != nil {
		return err
	}
	if ks := s.mirrorNumbers(i, all); len(ks) > 0 {
		return fmt.Errorf("%s is gone, and its mirror %s is there: have it promoted, with coatcheck store promote", s.streamName(i), s.mirrorName(i, ks[0]))
	}
	return nil
}
