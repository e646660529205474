package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Client is [Sessions] of a server, asked at its admin listener. Make one with
// [NewClient].
type Client struct {
	base  string
	token string
	http  *http.Client
}

var _ Sessions = (*Client)(nil)

// ClientOptions of a [Client]. The zero value is useful.
type ClientOptions struct {
	Token string       // the bearer token of the listener; empty: none
	HTTP  *http.Client // nil: http.DefaultClient. It should have no timeout, since lists stream
}

// NewClient returns a client of the admin listener at the URL, http or https.
// It does not ask the server yet.
func NewClient(base string, opts ClientOptions) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		// The text may hold what is not to be repeated.
		return nil, errors.New("this is no URL of an admin listener: write one such as http://127.0.0.1:8081")
	}
	if opts.HTTP == nil {
		opts.HTTP = http.DefaultClient
	}
	return &Client{base: strings.TrimSuffix(u.String(), "/"), token: opts.Token, http: opts.HTTP}, nil
}

// A ServerError is an error that a server answered. It is what the server's own
// error was, as far as [errors.Is] is asked for one of package state.
type ServerError struct {
	Status int
	Code   string
	Text   string
}

func (e *ServerError) Error() string { return e.Text }

// Is reports whether the server's error was target.
func (e *ServerError) Is(target error) bool {
	for _, c := range codes() {
		if c.code == e.Code && c.err == target {
			return true
		}
	}
	return false
}

// do asks and returns the answer, if it is a good one. The caller closes it.
func (c *Client) do(ctx context.Context, method, path string, params url.Values, body any) (io.ReadCloser, error) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(b)
	}
	where := c.base + path
	if len(params) > 0 {
		where += "?" + params.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, where, text)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the server at %s: %w", c.base, withoutURL(err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, c.refusal(resp)
}

// withoutURL leaves out the address, which the caller names, and parameters.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// maxError is more than an error takes.
const maxError = 16 << 10

func (c *Client) refusal(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return fmt.Errorf("ask the server at %s: %w", c.base, err)
	}
	var f failure
	if json.Unmarshal(text, &f) == nil && f.Error != "" {
		return &ServerError{resp.StatusCode, f.Code, f.Error}
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("the server at %s wants the token of its admin listener", c.base)
	case http.StatusNotFound:
		return fmt.Errorf("what answers at %s is no admin listener of a server that can do this", c.base)
	}
	return fmt.Errorf("the server at %s answers %s: %s", c.base, resp.Status, strings.TrimSpace(string(text)))
}

// one asks for one object.
func (c *Client) one(ctx context.Context, method, path string, params url.Values, body, into any) error {
	answer, err := c.do(ctx, method, path, params, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(into); err != nil {
		return fmt.Errorf("the server at %s does not answer as it should: %w", c.base, err)
	}
	return nil
}

// maxLine bounds a line of an answer: a session with all its data.
const maxLine = 4 << 20

// many yields the objects of an answer, one a line. An error comes last.
func many[T any](c *Client, answer io.ReadCloser) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		defer answer.Close()
		var zero T
		text := bufio.NewScanner(answer)
		text.Buffer(nil, maxLine)
		for text.Scan() {
			var line struct {
				failure
				value T
			}
			err := json.Unmarshal(text.Bytes(), &line.failure)
			if err == nil && line.Error != "" {
				yield(zero, &ServerError{http.StatusOK, line.Code, line.Error})
				return
			}
			if err == nil {
				err = json.Unmarshal(text.Bytes(), &line.value)
			}
			if err != nil {
				yield(zero, fmt.Errorf("the server at %s does not answer as it should: %w", c.base, err))
				return
			}
			if !yield(line.value, nil) {
				return
			}
		}
		if err := text.Err(); err != nil {
			yield(zero, fmt.Errorf("the answer of the server at %s broke off: %w", c.base, err))
		}
	}
}

// List implements [Sessions].
func (c *Client) List(ctx context.Context, q Query) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		answer, err := c.do(ctx, http.MethodGet, "/api/sessions", encodeQuery(q), nil)
		if err != nil {
			yield(Session{}, err)
			return
		}
		for s, err := range many[Session](c, answer) {
			if !yield(s, err) {
				return
			}
		}
	}
}

func pathOf(ref state.Ref) string { return "/api/sessions/" + ref.String() }

// Show implements [Sessions].
func (c *Client) Show(ctx context.Context, ref state.Ref, data bool) (d Detail, err error) {
	params := url.Values{}
	if data {
		params.Set("data", "true")
	}
	err = c.one(ctx, http.MethodGet, pathOf(ref), params, nil, &d)
	return d, err
}

// Explain implements [Sessions].
func (c *Client) Explain(ctx context.Context, ref state.Ref) (e Explanation, err error) {
	err = c.one(ctx, http.MethodGet, pathOf(ref)+"/explanation", nil, nil, &e)
	return e, err
}

// ErrServerEnded ends a watch whose server has ended.
var ErrServerEnded = errors.New("the server has ended, and the watch with it")

// Watch implements [Sessions].
func (c *Client) Watch(ctx context.Context, kind string) (iter.Seq2[Change, error], error) {
	params := url.Values{}
	if kind != "" {
		params.Set("kind", kind)
	}
	answer, err := c.do(ctx, http.MethodGet, "/api/sessions/watch", params, nil)
	if err != nil {
		return nil, err
	}
	return func(yield func(Change, error) bool) {
		for ch, err := range many[Change](c, answer) {
			if ctx.Err() != nil || !yield(ch, err) {
				return
			}
			if err != nil {
				return
			}
		}
		if ctx.Err() == nil {
			yield(Change{}, ErrServerEnded)
		}
	}, nil
}

// Revoke implements [Sessions].
func (c *Client) Revoke(ctx context.Context, ref state.Ref, by string) (bool, error) {
	var done Revoked
	err := c.one(ctx, http.MethodDelete, pathOf(ref), url.Values{"by": {by}}, nil, &done)
	return done.Revoked > 0, err
}

// RevokeMany implements [Sessions].
func (c *Client) RevokeMany(ctx context.Context, which Revocation) (int, error) {
	var done Revoked
	err := c.one(ctx, http.MethodPost, "/api/sessions/revoke", nil, which, &done)
	return done.Revoked, err
}

// Doctor has the server examine its store. An error comes last.
func (c *Client) Doctor(ctx context.Context) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		answer, err := c.do(ctx, http.MethodPost, "/api/doctor", nil, struct{}{})
		if err != nil {
			yield(Finding{}, err)
			return
		}
		for f, err := range many[Finding](c, answer) {
			if !yield(f, err) {
				return
			}
		}
	}
}
