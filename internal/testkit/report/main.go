// Command report runs go test with the given arguments and prints what ran: a
// line for each package, the output of what failed, every skipped test with
// its reason, and the totals. It exits as go test does.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(stderr, "run go test:", err)
		return 1
	}
	r := newReport(stdout)
	readErr := r.read(out)
	waitErr := cmd.Wait()
	r.close()
	if readErr != nil {
		fmt.Fprintln(stderr, "read the output of go test:", readErr)
	}
	if readErr != nil || waitErr != nil || r.failed > 0 {
		return 1
	}
	return 0
}

// event is a line of go test -json; see "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

type report struct {
	w                       io.Writer
	passed, failed, skipped int
	output                  map[string][]string // of running tests and packages
	tests                   map[string]int      // of each package
	skips                   map[string][]string // names by reason
}

func newReport(w io.Writer) *report {
	return &report{w: w, output: map[string][]string{}, tests: map[string]int{}, skips: map[string][]string{}}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(r.w, "%s", line)
			} else {
				r.add(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	key := e.Package + " " + e.Test
	switch {
	case e.Action == "build-output":
		fmt.Fprint(r.w, e.Output)
	case e.Action == "output":
		r.output[key] = append(r.output[key], e.Output)
	case e.Test == "":
		r.endPackage(e, key)
	default:
		r.endTest(e, key)
	}
}

func (r *report) endTest(e event, key string) {
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		fmt.Fprint(r.w, strings.Join(r.output[key], ""))
	case "skip":
		r.skipped++
		why := reason(r.output[key])
		r.skips[why] = append(r.skips[why], path.Base(e.Package)+"."+e.Test)
	default:
		return
	}
	r.tests[e.Package]++
	delete(r.output, key)
}

func (r *report) endPackage(e event, key string) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.w, "ok  \t%s\t%.3fs\t%d tests\n", e.Package, e.Elapsed, r.tests[e.Package])
	case "fail":
		// A package can fail without a test that did: it does not build, or
		// it left the process.
		if r.failed == 0 {
			r.failed++
		}
		r.unfinished(e.Package)
		fmt.Fprint(r.w, strings.Join(r.output[key], ""))
	case "skip":
		fmt.Fprintf(r.w, "?   \t%s\t[no test files]\n", e.Package)
	default:
		return
	}
	delete(r.output, key)
}

// unfinished prints what tests said that were running when their package ended:
// go test says of them neither that they passed nor that they failed, and one
// of them has the panic, or the goroutines if a signal ended the process.
func (r *report) unfinished(pkg string) {
	for _, key := range slices.Sorted(maps.Keys(r.output)) {
		if test, ok := strings.CutPrefix(key, pkg+" "); ok && test != "" {
			fmt.Fprintf(r.w, "--- UNFINISHED: %s\n%s", test, strings.Join(r.output[key], ""))
			delete(r.output, key)
		}
	}
}

// place is where in the source a test said something.
var place = regexp.MustCompile(`^\S+\.go:\d+: `)

// reason is what a test said when it skipped.
func reason(output []string) string {
	said := slices.DeleteFunc(slices.Clone(output), func(s string) bool {
		s = strings.TrimSpace(s)
		return strings.HasPrefix(s, "=== ") || strings.HasPrefix(s, "--- ")
	})
	return place.ReplaceAllString(strings.Join(strings.Fields(strings.Join(said, " ")), " "), "")
}

func (r *report) close() {
	if len(r.skips) > 0 {
		fmt.Fprintln(r.w, "\nskipped:")
		for _, why := range slices.Sorted(maps.Keys(r.skips)) {
			fmt.Fprintf(r.w, "  %s:\n    %s\n", why, strings.Join(r.skips[why], " "))
		}
	}
	fmt.Fprintf(r.w, "\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}
