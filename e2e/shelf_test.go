package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A shelf is one session's basket, which is filled and looked at through several
// replicas at the same time. A basket keeps the order in which it was filled, so
// it is known at the end in which order everything was done: if that is no order
// in which it may have been done, replicas did not agree.
type shelf struct {
	t        *testing.T
	session  string
	token    string
	replicas []*server
	stop     chan struct{}
	all      sync.WaitGroup

	mu    sync.Mutex // guards all below
	puts  []shelfPut
	looks []shelfLook
}

// A shelfPut is an item that was put there, perhaps: nobody knows until it was
// acknowledged.
type shelfPut struct {
	item         string
	began, ended time.Time
	acknowledged bool
}

// A shelfLook is what somebody saw.
type shelfLook struct {
	items        []string
	began, ended time.Time
}

const (
	shelfPause = 400 * time.Millisecond
	shelfRoom  = 150 // for items through each replica: a basket takes 500
)

// openShelf begins a session and fills its basket until it is judged.
func openShelf(t *testing.T, replicas []*server, token string) *shelf {
	t.Helper()
	s := &shelf{t: t, session: open(t, replicas[0].url, token), token: token, replicas: replicas, stop: make(chan struct{})}
	for i := range replicas {
		s.all.Go(func() { s.fill(i) })
	}
	t.Cleanup(s.end)
	return s
}

func (s *shelf) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.all.Wait()
}

// fill puts and looks in turn, through one of the replicas.
func (s *shelf) fill(through int) {
	for n := range 2 * shelfRoom {
		select {
		case <-s.stop:
			return
		case <-time.After(shelfPause):
		}
		began := time.Now()
		if n%2 == 0 {
			item := fmt.Sprintf("%d-%d", through, n)
			_, err := s.call(through, "add_item", fmt.Sprintf(`{"item":%q}`, item))
			s.mu.Lock()
			s.puts = append(s.puts, shelfPut{item, began, time.Now(), err == nil})
			s.mu.Unlock()
			continue
		}
		if items, err := s.call(through, "view_basket", "{}"); err == nil {
			s.mu.Lock()
			s.looks = append(s.looks, shelfLook{items, began, time.Now()})
			s.mu.Unlock()
		}
	}
}

// call calls a tool and returns the items that its answer has.
func (s *shelf) call(through int, tool, args string) ([]string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), callGives)
	defer cancel()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, tool, args)
	r, err := try(ctx, http.DefaultClient, http.MethodPost, s.replicas[through].url, body, sessionHeaders(s.session, s.token))
	if err != nil {
		return nil, err
	}
	_, list, ok := strings.Cut(r.body, `"structuredContent":{"items":[`)
	list, _, ends := strings.Cut(list, "]")
	if r.status != http.StatusOK || !ok || !ends {
		return nil, fmt.Errorf("%s: status %d: %s", tool, r.status, r.body)
	}
	if list == "" {
		return nil, nil
	}
	return strings.Split(strings.ReplaceAll(list, `"`, ""), ","), nil
}

// judge ends it, and makes sure that all agrees.
func (s *shelf) judge() {
	s.t.Helper()
	s.end()
	var last shelfLook
	eventually(s.t, "the shared basket is seen", func() bool {
		last.began = time.Now()
		var err error
		last.items, err = s.call(1, "view_basket", "{}")
		last.ended = time.Now()
		return err == nil
	})
	for _, fault := range disagreements(s.puts, append(s.looks, last)) {
		s.t.Error(fault)
	}
	acknowledged := 0
	for _, p := range s.puts {
		if p.acknowledged {
			acknowledged++
		}
	}
	s.t.Logf("the shared basket has %d items; %d of %d were acknowledged, it was seen %d times", len(last.items), acknowledged, len(s.puts), len(s.looks))
	if acknowledged == 0 || len(s.looks) == 0 {
		s.t.Error("nothing was put into the shared basket, or nobody saw it")
	}
}

// disagreements says what no order can explain in which one thing was done after
// another, each at some moment between its beginning and its end. The last look
// came after all.
func disagreements(puts []shelfPut, looks []shelfLook) (faults []string) {
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	final := looks[len(looks)-1].items
	at := map[string]int{}
	for i, item := range final {
		if _, twice := at[item]; twice {
			wrong("%s is there twice", item)
		}
		at[item] = i
	}
	for _, look := range looks {
		if len(look.items) > len(final) || !slices.Equal(look.items, final[:len(look.items)]) {
			wrong("somebody saw %v, and at the end it is %v", look.items, final)
		}
	}
	for _, p := range puts {
		place, there := at[p.item]
		if !there && p.acknowledged {
			wrong("%s was acknowledged and is lost", p.item)
		}
		for _, look := range looks {
			switch seen := there && place < len(look.items); {
			case seen && look.ended.Before(p.began):
				wrong("%s was seen before it was put there", p.item)
			case !seen && p.acknowledged && there && p.ended.Before(look.began):
				wrong("%s was acknowledged, and not seen %v later", p.item, look.began.Sub(p.ended))
			}
		}
		for _, q := range puts {
			if after, ok := at[q.item]; ok && there && p.acknowledged && p.ended.Before(q.began) && after < place {
				wrong("%s was put there after %s, and stands before it", q.item, p.item)
			}
		}
	}
	for _, a := range looks {
		for _, b := range looks {
			if a.ended.Before(b.began) && len(b.items) < len(a.items) {
				wrong("%d items were seen, and %v later %d", len(a.items), b.began.Sub(a.ended), len(b.items))
			}
		}
	}
	return faults
}

// The judge of shared baskets finds what replicas that do not agree would do.
func TestDisagreementsAreFound(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	puts := []shelfPut{{"a", at(1), at(2), true}, {"b", at(3), at(4), true}, {"c", at(3), at(9), false}}
	look := func(from, to int, items ...string) shelfLook { return shelfLook{items, at(from), at(to)} }
	for name, c := range map[string]struct {
		looks []shelfLook
		want  string
	}{
		"all is well":                  {[]shelfLook{look(3, 5, "a"), look(6, 7, "a", "b"), look(20, 21, "a", "b", "c")}, ""},
		"one in doubt is not there":    {[]shelfLook{look(20, 21, "a", "b")}, ""},
		"one in doubt came first":      {[]shelfLook{look(20, 21, "a", "c", "b")}, ""},
		"one is lost":                  {[]shelfLook{look(20, 21, "a", "c")}, "b was acknowledged and is lost"},
		"one is there twice":           {[]shelfLook{look(20, 21, "a", "b", "c", "c")}, "c is there twice"},
		"two owners saw two baskets":   {[]shelfLook{look(5, 6, "a", "c"), look(20, 21, "a", "b", "c")}, "somebody saw [a c]"},
		"an old basket was shown":      {[]shelfLook{look(5, 6, "a"), look(20, 21, "a", "b")}, "b was acknowledged, and not seen"},
		"one in doubt went away again": {[]shelfLook{look(10, 11, "a", "b", "c"), look(12, 13, "a", "b"), look(20, 21, "a", "b", "c")}, "3 items were seen, and 1s later 2"},
		"they are in a wrong order":    {[]shelfLook{look(20, 21, "b", "a")}, "b was put there after a, and stands before it"},
		"one was seen too early":       {[]shelfLook{look(1, 2, "a", "b"), look(20, 21, "a", "b")}, "b was seen before it was put there"},
	} {
		got := strings.Join(disagreements(puts, c.looks), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
