package bench

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"
)

// A Side is one of two things that are compared.
type Side struct {
	Name string
	// Run does n operations, and returns how long they took.
	Run func(n int) (time.Duration, error)
}

// A Ratio is how a measure of one side compares with that of another.
type Ratio struct {
	Mean, Low, High float64 // the mean and its 95 % interval
	Rounds          int
}

// String returns the ratio with its interval.
func (r Ratio) String() string {
	return fmt.Sprintf("%.3f (95%%: %.3f to %.3f, %d rounds)", r.Mean, r.Low, r.High, r.Rounds)
}

// Throughput compares the throughput of ours with that of theirs: above 1, ours
// is faster. Each of the rounds runs both, n operations each, in alternating
// order. A round before them is not counted.
func Throughput(ours, theirs Side, rounds, n int) (Ratio, error) {
	if rounds < 2 {
		return Ratio{}, errors.New("compare throughput: at least two rounds are needed for an interval")
	}
	logs := make([]float64, 0, rounds)
	for round := -1; round < rounds; round++ {
		a, b, err := both(ours, theirs, n, round%2 == 0)
		if err != nil {
			return Ratio{}, err
		}
		if round >= 0 {
			logs = append(logs, math.Log(float64(b)/float64(a)))
		}
	}
	return interval(logs), nil
}

// both runs the two sides, ours first or second.
func both(ours, theirs Side, n int, first bool) (a, b time.Duration, err error) {
	run := func(s Side) time.Duration {
		runtime.GC() // each pays for its own garbage
		d, runErr := s.Run(n)
		if runErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", s.Name, runErr))
		}
		return d
	}
	if first {
		a = run(ours)
		b = run(theirs)
		return a, b, err
	}
	b = run(theirs)
	a = run(ours)
	return a, b, err
}

// interval returns the geometric mean of ratios, given by their logarithms, and
// its 95 % interval by Student's t.
func interval(logs []float64) Ratio {
	n := float64(len(logs))
	var sum, squares float64
	for _, l := range logs {
		sum += l
	}
	mean := sum / n
	for _, l := range logs {
		squares += (l - mean) * (l - mean)
	}
	half := student(len(logs)-1) * math.Sqrt(squares/(n-1)/n)
	return Ratio{Mean: math.Exp(mean), Low: math.Exp(mean - half), High: math.Exp(mean + half), Rounds: len(logs)}
}

// student returns the two-sided 95 % quantile of Student's t.
func student(freedom int) float64 {
	table := []float64{
		12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
		2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
	}
	switch {
	case freedom <= len(table):
		return table[freedom-1]
	case freedom <= 30:
		return 2.086 // at 20: no smaller than the true one
	case freedom <= 60:
		return 2.042
	}
	return 2.000
}
