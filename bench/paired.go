package bench

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"syscall"
	"time"
)

// A Side is one of two things that are compared.
type Side struct {
	Name string
	// Run does n operations, and returns how long they took.
	Run func(n int) (time.Duration, error)
	// Served returns the processor time that a server has used so far, which
	// counts as this process's own does. Nil: there is none.
	Served func() time.Duration
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

// A Comparison says how ours compares with theirs. Above 1, ours is better.
type Comparison struct {
	// Throughput is theirs' time over ours.
	Throughput Ratio
	// CPU is theirs' processor time over ours, of the whole process with its
	// callers, and of the server where [Side.Served] tells it. On a machine
	// with other work it is what can be trusted.
	CPU Ratio
}

// Compare runs both sides in each of the rounds, n operations each, in
// alternating order. A round before them is not counted.
func Compare(ours, theirs Side, rounds, n int) (Comparison, error) {
	if rounds < 2 {
		return Comparison{}, errors.New("compare: at least two rounds are needed for an interval")
	}
	var wall, cpu []float64
	for round := -1; round < rounds; round++ {
		a, b, err := both(ours, theirs, n, round%2 == 0)
		if err != nil {
			return Comparison{}, err
		}
		if round >= 0 {
			wall = append(wall, math.Log(float64(b.wall)/float64(a.wall)))
			cpu = append(cpu, math.Log(float64(b.cpu)/float64(a.cpu)))
		}
	}
	return Comparison{Throughput: interval(wall), CPU: interval(cpu)}, nil
}

type spent struct{ wall, cpu time.Duration }

// both runs the two sides, ours first or second.
func both(ours, theirs Side, n int, first bool) (a, b spent, err error) {
	run := func(s Side) spent {
		runtime.GC() // each pays for its own garbage
		before := s.processorTime()
		d, runErr := s.Run(n)
		if runErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", s.Name, runErr))
		}
		return spent{wall: d, cpu: max(s.processorTime()-before, 1)}
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

func (s *Side) processorTime() time.Duration {
	used := processorTime()
	if s.Served != nil {
		used += s.Served()
	}
	return used
}

// processorTime returns what this process has used, in and out of the kernel.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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
