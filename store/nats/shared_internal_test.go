package nats

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestAQuestionIsSharedByThoseWhoCameBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &Store{ctx: ctx}
		var sh shared[int]
		asked, answers := make(chan bool, 3), make(chan int)
		got := make(chan int, 8)
		ask := func(ctx context.Context) (int, error) {
			asked <- true
			select {
			case n := <-answers:
				return n, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		call := func() {
			n, err := sh.get(t.Context(), s, ask)
			if err != nil {
				n = -1
			}
			got <- n
		}
		go call()
		synctest.Wait()
		for range 4 {
			go call()
		}
		gone, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := sh.get(gone, s, ask)
			left <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		if len(asked) != 1 {
			t.Fatalf("asked %d times at once", len(asked))
		}
		answers <- 1
		if n := <-got; n != 1 {
			t.Errorf("the first got %d", n)
		}
		synctest.Wait()
		answers <- 2
		for range 4 {
			if n := <-got; n != 2 {
				t.Errorf("who came while it was asked got %d, want the answer to the next question", n)
			}
		}
		synctest.Wait()
		if len(asked) != 2 || sh.asked {
			t.Errorf("asked %d times, and still asks: %v", len(asked), sh.asked)
		}
		go call()
		synctest.Wait()
		stop()
		if n := <-got; n != -1 {
			t.Errorf("when the store was closed a caller got %d", n)
		}
		s.pumps.Wait()
	})
}
