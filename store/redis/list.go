package redis

import (
	"context"
	"iter"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// pageRecords and pageBytes bound what one server sends of one tag at
	// once; the last record of a page may go over the bytes.
	pageRecords = 128
	pageBytes   = 1 << 20
	// pageTags bounds how many tags are asked at once.
	pageTags = 16
)

// List implements [state.Store]. It goes through the tags in the order of
// their routing bytes and in each through an index in the order of refs. A
// query for a user goes by the user's own index, in all tags, since nothing
// tells the store which routing byte a caller gave the user.
func (s *Store) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		l := lister{s: s, ctx: ctx, q: &q, yield: yield}
		if err := l.list(); err != nil {
			yield(state.Record{}, err)
		}
	}
}

// A lister is one iteration of a List.
type lister struct {
	s       *Store
	ctx     context.Context
	q       *state.Query
	yield   func(state.Record, error) bool
	yielded int
	stopped bool // the caller wants no more, or there is enough
}

func (l *lister) list() error {
	if err := state.CheckQuery(*l.q); err != nil {
		return err
	}
	if refs, ok, err := l.refsOfUser(); err != nil || ok {
		if err != nil {
			return err
		}
		return l.fetch(refs)
	}
	return l.scan()
}

// guarded does one round trip as an operation of its own, so that a caller who
// stays within an iteration does not keep the store from closing.
func (l *lister) guarded(fn func() error) error {
	if err := l.s.enter(l.ctx); err != nil {
		return err
	}
	defer l.s.leave()
	return fn()
}

// offer yields a record if it is selected.
func (l *lister) offer(routing byte, member string, b []byte, now time.Time) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	ref, err := refOf(routing, member)
	if err != nil {
		return corrupt(state.Key{Namespace: l.q.Namespace}, "index")
	}
	if len(b) == 0 || b[0] == 't' {
		return nil // gone meanwhile
	}
	r, err := parseRecord(state.Key{Namespace: l.q.Namespace, Ref: ref}, b, now)
	if err != nil {
		return err
	}
	if !l.q.Match(&r, now) {
		return nil
	}
	l.yielded++
	l.stopped = !l.yield(r, nil) || l.yielded == l.q.Max
	return nil
}

// scan looks at all records behind q.After.
func (l *lister) scan() error {
	var sizes []tagSize
	if err := l.guarded(func() (err error) { sizes, err = l.sizes(); return err }); err != nil {
		return err
	}
	for len(sizes) > 0 && !l.stopped {
		n, records := 0, int64(0)
		for n < len(sizes) && n < pageTags && (n == 0 || records+sizes[n].n <= pageRecords) {
			records += sizes[n].n
			n++
		}
		if err := l.scanTags(sizes[:n]); err != nil {
			return err
		}
		sizes = sizes[n:]
	}
	return nil
}

// A tagSize is how many records a tag has.
type tagSize struct {
	routing byte
	n       int64
}

// sizes returns the tags from q.After on that have records, in order.
func (l *lister) sizes() ([]tagSize, error) {
	first := int(l.q.After.Routing())
	cmds := make([]rueidis.Completed, 0, 256)
	for routing := first; routing < 256; routing++ {
		cmds = append(cmds, l.s.client.B().Zcard().Key(orderKey(l.s.tag(l.q.Namespace, byte(routing)))).Build())
	}
	var sizes []tagSize
	for i, r := range l.s.client.DoMulti(l.ctx, cmds...) {
		n, err := r.AsInt64()
		if err != nil {
			return nil, readError(err)
		}
		if n > 0 {
			sizes = append(sizes, tagSize{byte(first + i), n})
		}
	}
	return sizes, nil
}

// scanTags takes the first page of several tags at once, and the others of
// each in turn.
func (l *lister) scanTags(tags []tagSize) error {
	var pages []rueidis.RedisResult
	err := l.guarded(func() error {
		calls := make([]*call, len(tags))
		for i, t := range tags {
			calls[i] = l.page(t.routing, l.start(t.routing))
		}
		pages = l.s.run(l.ctx, calls)
		return nil
	})
	if err != nil {
		return err
	}
	for i, t := range tags {
		next, err := l.readPage(t.routing, pages[i])
		for err == nil && next != "" && !l.stopped {
			var page rueidis.RedisResult
			err = l.guarded(func() error {
				page = l.s.run(l.ctx, []*call{l.page(t.routing, next)})[0]
				return nil
			})
			if err == nil {
				next, err = l.readPage(t.routing, page)
			}
		}
		if err != nil || l.stopped {
			return err
		}
	}
	return nil
}

// start is from where a tag is read, as ZRANGE BYLEX has it.
func (l *lister) start(routing byte) string {
	if !l.q.After.IsZero() && l.q.After.Routing() == routing {
		return "(" + member(l.q.After)
	}
	return "-"
}

func (l *lister) page(routing byte, from string) *call {
	tag := l.s.tag(l.q.Namespace, routing)
	return &call{
		script: l.s.scripts.page,
		keys:   []string{orderKey(tag)},
		args: []string{
			l.s.floor(routing), recordKey(tag, ""), from, strconv.Itoa(pageRecords), strconv.Itoa(pageBytes),
		},
	}
}

// readPage offers the records of a page and returns where the next starts;
// empty if there is none.
func (l *lister) readPage(routing byte, answer rueidis.RedisResult) (next string, err error) {
	parts, err := answer.ToArray()
	if err != nil {
		return "", readError(err)
	}
	texts := make([]string, len(parts))
	for i := range parts {
		if texts[i], err = parts[i].ToString(); err != nil {
			return "", readError(err)
		}
	}
	if len(texts) < 3 || len(texts[0]) != 8 || len(texts)%2 == 0 {
		return "", corrupt(state.Key{Namespace: l.q.Namespace}, "page")
	}
	now := l.s.observe(routing, milli([]byte(texts[0])).UnixMilli())
	for i := 3; i < len(texts) && !l.stopped; i += 2 {
		if err := l.offer(routing, texts[i], []byte(texts[i+1]), now); err != nil {
			return "", err
		}
	}
	if texts[2] == "" || texts[1] == "" {
		return "", nil
	}
	return "(" + texts[1], nil
}
