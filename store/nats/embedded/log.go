package embedded

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// A journal takes what the server logs, and remembers the last complaints for
// the error of a start that fails.
type journal struct {
	log    *slog.Logger
	secret string // never to be seen
	fatal  chan string

	mu         sync.Mutex
	complaints []string
}

// maxComplaints are enough to tell what is wrong.
const maxComplaints = 3

func newJournal(log *slog.Logger, secret string) *journal {
	return &journal{log: log, secret: secret, fatal: make(chan string, 1)}
}

func (j *journal) text(format string, v []any) string {
	return strings.ReplaceAll(fmt.Sprintf(format, v...), j.secret, "…")
}

func (j *journal) complain(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.complaints = slices.DeleteFunc(j.complaints, func(c string) bool { return c == text })
	j.complaints = append(j.complaints, text)
	if n := len(j.complaints); n > maxComplaints {
		j.complaints = j.complaints[n-maxComplaints:]
	}
}

// last are the last complaints, for an error.
func (j *journal) last() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.complaints, "; ")
}

// Noticef is of what is normal for the server, and too much for an operator.
func (j *journal) Noticef(format string, v ...any) { j.log.Debug(j.text(format, v)) }

func (j *journal) Debugf(format string, v ...any) { j.log.Debug(j.text(format, v)) }

func (j *journal) Tracef(format string, v ...any) { j.log.Debug(j.text(format, v)) }

// plaintext is what the server warns of where a password is not hashed. Those
// here are random, and in no file.
const plaintext = "Plaintext passwords detected"

func (j *journal) Warnf(format string, v ...any) {
	text := j.text(format, v)
	if strings.HasPrefix(text, plaintext) {
		j.log.Debug(text)
		return
	}
	j.complain(text)
	j.log.Warn(text)
}

// Errorf is mostly of another node that is not there, which is no error here.
func (j *journal) Errorf(format string, v ...any) {
	text := j.text(format, v)
	j.complain(text)
	j.log.Warn(text)
}

// Fatalf does not end the process: the start fails.
func (j *journal) Fatalf(format string, v ...any) {
	text := j.text(format, v)
	j.log.Error(text)
	select {
	case j.fatal <- text:
	default: // one is enough
	}
}
