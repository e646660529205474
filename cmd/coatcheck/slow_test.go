package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSlowBodiesAreCutOff(t *testing.T) {
	read := make(chan error, 1)
	srv := httptest.NewServer(withBodyTimeout(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	}), 20*time.Millisecond))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
	if err := <-read; err == nil || !strings.Contains(err.Error(), "too slowly") {
		t.Errorf("the body: %v", err)
	}
}

// An answer may take longer than the body was allowed to.
func TestAnswersOutliveTheBodyTimeout(t *testing.T) {
	const timeout = 500 * time.Millisecond
	srv := httptest.NewServer(withBodyTimeout(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
		select {
		case <-r.Context().Done():
			t.Error("the request was cancelled")
		case <-time.After(timeout + timeout/2):
		}
		fmt.Fprint(w, "done")
	}), timeout))
	defer srv.Close()
	for _, body := range []io.Reader{strings.NewReader("{}"), io.MultiReader(strings.NewReader("{"), strings.NewReader("}")), http.NoBody} {
		resp, err := http.Post(srv.URL, "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(text) != "done" {
			t.Errorf("answered %q, %v", text, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
