package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// printer prints rows as they come: as JSON lines, or as a table whose columns
// are aligned page by page, so that memory does not grow with its length.
type printer struct {
	json  *json.Encoder
	tab   *tabwriter.Writer
	lines int // printed to the table
}

// pageLines is the length of a page.
const pageLines = 1000

func newPrinter(w io.Writer, asJSON bool) *printer {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return &printer{json: enc}
	}
	return &printer{tab: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
}

// line prints a record: its JSON, or the cells of its line.
func (p *printer) line(record any, cells ...string) error {
	if p.json != nil {
		return p.json.Encode(record)
	}
	return p.cells(cells...)
}

// header prints the heads of a table; there is none in JSON.
func (p *printer) header(cells ...string) error {
	if p.json != nil {
		return nil
	}
	return p.cells(cells...)
}

func (p *printer) cells(cells ...string) error {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	if _, err := fmt.Fprintln(p.tab, strings.TrimRight(strings.Join(cells, "\t"), "\t")); err != nil {
		return err
	}
	if p.lines++; p.lines%pageLines == 0 {
		return p.tab.Flush()
	}
	return nil
}

// flush writes what the table holds back to align its columns.
func (p *printer) flush() error {
	if p.tab == nil {
		return nil
	}
	return p.tab.Flush()
}

// printable keeps what clients chose, such as user names and agents, from
// steering the terminal or the table.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	odd := func(r rune) bool { return !strconv.IsPrint(r) }
	if utf8.ValidString(s) && strings.IndexFunc(s, odd) < 0 {
		return s
	}
	return strconv.Quote(s)
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// counts prints how many there are of each kind, in the order of their names.
func counts(kinds map[string]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		parts = append(parts, fmt.Sprintf("%s %d", kind, kinds[kind]))
	}
	return strings.Join(parts, ", ")
}
