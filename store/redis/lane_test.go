package redis

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// A station is a lane whose round trips end when the test says so.
type station struct {
	lane    lane[int, int]
	pumps   sync.WaitGroup
	callers sync.WaitGroup

	mu    sync.Mutex // guards trips
	trips []trip     // under way, in the order of their departure
}

type trip struct {
	seats int
	end   chan struct{}
}

func newStation(queued bool) *station {
	s := &station{}
	s.lane = lane[int, int]{
		fly: s.fly, weigh: func(int) int { return 0 }, atOnce: 2, most: 8, queued: queued, pumps: &s.pumps,
	}
	return s
}

func (s *station) fly(_ context.Context, questions []int) []int {
	t := trip{seats: len(questions), end: make(chan struct{})}
	s.mu.Lock()
	s.trips = append(s.trips, t)
	s.mu.Unlock()
	<-t.end
	return questions
}

// come has callers ask.
func (s *station) come(t *testing.T, callers int) {
	for i := range callers {
		s.callers.Go(func() {
			if answer, _, err := s.lane.ask(t.Context(), i); err != nil || answer != i {
				t.Errorf("caller %d was answered %d, %v", i, answer, err)
			}
		})
	}
	synctest.Wait()
}

// end lets one of the round trips under way end.
func (s *station) end(i int) {
	s.mu.Lock()
	close(s.trips[i].end)
	s.trips = slices.Delete(s.trips, i, i+1)
	s.mu.Unlock()
	synctest.Wait()
}

func (s *station) want(t *testing.T, when string, seats ...int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var have []int
	for _, trip := range s.trips {
		have = append(have, trip.seats)
	}
	if !slices.Equal(have, seats) {
		t.Fatalf("%s, round trips for %v callers are under way, want %v", when, have, seats)
	}
}

// crowd has two callers leave alone, and so many others after both have landed.
func (s *station) crowd(t *testing.T, callers int) {
	s.come(t, 1)
	s.come(t, 1)
	s.come(t, callers)
	s.end(0)
	s.end(0)
}

func (s *station) finish() {
	for len(s.trips) > 0 {
		s.end(0)
	}
	s.callers.Wait()
	s.pumps.Wait()
}

func TestWhoeverComesWhileManyAreUnderWayGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(true)
		s.come(t, 1)
		s.come(t, 1)
		s.want(t, "with two callers", 1, 1)
		s.come(t, 4)
		s.want(t, "with four more", 1, 1)
		s.end(0)
		s.want(t, "after one has landed", 1, 4)
		s.end(0)
		s.come(t, 1)
		s.want(t, "when one comes after the other", 4, 1)
		s.end(0)
		s.come(t, 3)
		s.want(t, "when three of four have come back", 1)
		s.come(t, 1)
		s.want(t, "when all have", 1, 4)
		s.end(1)
		s.come(t, 2)
		s.want(t, "when two of them have come back", 1)
		s.end(0)
		s.want(t, "when none is under way but they", 2)
		s.finish()
	})
}

func TestNobodyGathersWhereRoundTripsDoNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(false)
		s.crowd(t, 4)
		s.want(t, "after four callers had gathered", 4)
		s.come(t, 1)
		s.end(0)
		s.come(t, 1)
		s.want(t, "with two who come alone", 1, 1)
		s.finish()
	})
}

func TestMoreThanFitIntoOneRoundTripTakeTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(true)
		s.crowd(t, 19)
		s.want(t, "with 19 callers who had to wait", 8, 8)
		s.end(0)
		s.want(t, "after one has landed", 8)
		s.end(0)
		s.want(t, "after both have", 3)
		s.finish()
	})
}
