package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// bodyTimeout is how long a client may take to send a body.
const bodyTimeout = 30 * time.Second

// withBodyTimeout cuts off clients that send their body too slowly. The
// server's own ReadTimeout would cut off answers, too: those stream for hours.
func withBodyTimeout(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.ContentLength == 0 || rc.SetReadDeadline(time.Now().Add(timeout)) != nil {
			next.ServeHTTP(w, r)
			return
		}
		r.Body = &timedBody{ReadCloser: r.Body, rc: rc, left: r.ContentLength}
		next.ServeHTTP(w, r)
	})
}

// timedBody lifts the deadline once it was read to its end. A body that is not
// keeps it: the server reads on when the handler is done, and must not wait
// for ever either.
type timedBody struct {
	io.ReadCloser
	rc   *http.ResponseController
	left int64 // negative: not known
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err == io.EOF || b.left == 0 {
		// The error says that the connection is gone, which the next
		// read or write will find, too.
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.New("the body was sent too slowly")
	}
	return n, err
}
