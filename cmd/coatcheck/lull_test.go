package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestALullIsAwaited(t *testing.T) {
	for name, c := range map[string]struct {
		every, during time.Duration // requests that come meanwhile
		want          time.Duration
	}{
		"nobody comes":          {time.Second, 0, 500 * time.Millisecond},
		"until they notice":     {100 * time.Millisecond, 650 * time.Millisecond, 1100 * time.Millisecond},
		"they never notice":     {100 * time.Millisecond, time.Minute, 2 * time.Second},
		"now and then somebody": {450 * time.Millisecond, time.Minute, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l lull
				h := l.count(http.NotFoundHandler())
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					for began := time.Now(); ctx.Err() == nil && time.Since(began)+c.every <= c.during; {
						time.Sleep(c.every)
						h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/mcp", nil))
					}
				}()
				began := time.Now()
				l.await(ctx, 2*time.Second)
				if took := time.Since(began); took < c.want || took > c.want+50*time.Millisecond {
					t.Errorf("it took %v, want %v", took, c.want)
				}
				cancel()
				time.Sleep(time.Second) // lets the requests end
			})
		})
	}
}

func TestALullIsNotAwaitedBeyondTheDrain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var l lull
	l.await(ctx, time.Hour)
}
