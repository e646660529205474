package bench

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestCompareRunsInAlternatingOrder(t *testing.T) {
	var order []string
	side := func(name string, d time.Duration) Side {
		return Side{Name: name, Run: func(int) (time.Duration, error) {
			order = append(order, name)
			return d, nil
		}}
	}
	c, err := Compare(side("a", 10*time.Millisecond), side("b", 20*time.Millisecond), 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Throughput
	if math.Abs(r.Mean-2) > 1e-9 || math.Abs(r.Low-2) > 1e-9 || r.Rounds != 4 {
		t.Errorf("got %v", r)
	}
	var got string
	for _, name := range order {
		got += name
	}
	if got != "ba"+"ab"+"ba"+"ab"+"ba" {
		t.Errorf("order %s", got)
	}
}

func TestIntervalIsWiderForNoisierRounds(t *testing.T) {
	quiet := interval([]float64{0, 0.01, -0.01, 0})
	noisy := interval([]float64{0, 0.5, -0.5, 0})
	if noisy.High-noisy.Low <= quiet.High-quiet.Low || !(quiet.Low < 1 && 1 < quiet.High) {
		t.Errorf("quiet %v, noisy %v", quiet, noisy)
	}
}

func TestCompareReportsWhoFailed(t *testing.T) {
	broken := errors.New("broken")
	s := Side{Name: "x", Run: func(int) (time.Duration, error) { return time.Second, broken }}
	if _, err := Compare(s, s, 2, 1); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := Compare(s, s, 1, 1); err == nil {
		t.Error("one round has no interval")
	}
}
