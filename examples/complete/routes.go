package main

import (
	"encoding/json"
	"net/http"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/web"
)

// maxForm bounds the body of a sign-in.
const maxForm = 16 << 10

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/mcp", web.Require{}.Middleware(s.mcp))
	mux.HandleFunc("GET /csrf", s.token)
	mux.HandleFunc("POST /signin", s.signIn)
	mux.HandleFunc("POST /signout", s.signOut)
	mux.Handle("POST /signout-others", web.Require{}.Middleware(http.HandlerFunc(s.signOutOthers)))
	return mux
}

// token gives a client with a cookie the token that its requests need.
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	token, err := s.csrf.Token(r.Context())
	if err != nil {
		web.Error(w, err)
		return
	}
	answer(w, map[string]any{"csrf_token": token})
}

func (s *server) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	user := r.PostFormValue("user")
	known, err := s.people.Verify(r.Context(), user, r.PostFormValue("password"))
	if err != nil {
		web.Error(w, err)
		return
	}
	if !known {
		http.Error(w, "wrong user or password", http.StatusForbidden)
		return
	}
	err = web.FromContext(r.Context()).SignIn(r.Context(), user, session.Authentication{Methods: []string{"pwd"}})
	if err != nil {
		web.Error(w, err)
		return
	}
	answer(w, map[string]any{"user": user})
}

func (s *server) signOut(w http.ResponseWriter, r *http.Request) {
	if err := web.FromContext(r.Context()).SignOut(r.Context()); err != nil {
		web.Error(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) signOutOthers(w http.ResponseWriter, r *http.Request) {
	n, err := web.FromContext(r.Context()).SignOutOthers(r.Context())
	if err != nil {
		web.Error(w, err)
		return
	}
	answer(w, map[string]any{"signed_out": n})
}

func answer(w http.ResponseWriter, v map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that has left
}
