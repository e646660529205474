package streamable

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// DefaultMaxBody bounds a request body where nothing else is said: 4 MiB.
const DefaultMaxBody = 4 << 20

// ReadBody reads the whole body, at most limit bytes; a negative limit means
// no bound, zero means [DefaultMaxBody]. Over the bound the refusal is 413,
// however the body was framed. An empty body is refused with 400.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if limit == 0 {
		limit = DefaultMaxBody
	}
	if limit > 0 && r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body := r.Body
	if limit > 0 {
		body = http.MaxBytesReader(w, body, limit)
	}
	data, err := readAll(body, r.ContentLength, limit)
	if over := new(http.MaxBytesError); errors.As(err, &over) {
		return nil, tooLarge(over.Limit)
	}
	if err != nil {
		return nil, BadRequest("failed to read body")
	}
	if len(data) == 0 {
		return nil, BadRequest("POST requires a non-empty body")
	}
	return data, nil
}

func tooLarge(limit int64) *Refusal {
	return &Refusal{
		Status: http.StatusRequestEntityTooLarge,
		Text:   fmt.Sprintf("request body exceeds %d bytes", limit),
	}
}

// trustedLength is up to where a client's Content-Length is believed before
// any of the body has arrived.
const trustedLength = 64 << 10

// readAll reads a body of known length into one buffer of that size.
func readAll(body io.Reader, length, limit int64) ([]byte, error) {
	if length <= 0 || length > trustedLength || limit > 0 && length > limit {
		return io.ReadAll(body)
	}
	// One byte more, to see the end: a body may say only there that it is not
	// what it should be.
	data := make([]byte, length+1)
	n, err := io.ReadFull(body, data)
	switch {
	case err == io.ErrUnexpectedEOF && int64(n) == length:
		return data[:n], nil
	case err == nil:
		return nil, errors.New("the body is longer than announced")
	}
	return nil, err
}
